"""The temperature, against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from slimworks.components.calibration import reliability
from slimworks.components.calibration.temperature import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    fit_temperature,
    log_loss,
    softmax,
)


def drawn(num_images: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and classes drawn by softmax(logits / temperature): so sure they should be."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 4, (num_images, 5)).astype(np.float32)
    probabilities = softmax(logits, temperature)
    edges = probabilities.cumsum(axis=1)
    return logits, (generator.random((num_images, 1)) > edges[:, :-1]).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_that_classes_were_drawn_by_is_found(temperature: float) -> None:
    logits, class_index = drawn(20_000, temperature)
    assert fit_temperature(logits, class_index) == pytest.approx(temperature, rel=0.03)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    logits, class_index = drawn(50, 3.0)
    fitted = fit_temperature(logits, class_index)
    best = log_loss(logits, class_index, fitted)
    others = np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, 500)
    assert all(log_loss(logits, class_index, t) >= best - 1e-12 for t in others)


def test_same_images_give_the_same_temperature() -> None:
    logits, class_index = drawn(200, 2.0)
    assert fit_temperature(logits, class_index) == fit_temperature(logits, class_index)


def test_large_logits_do_not_overflow() -> None:
    logits, class_index = drawn(300, 1.0)
    assert fit_temperature(logits * 15, class_index) == pytest.approx(15, rel=0.2)


def test_answers_right_by_chance_end_at_the_upper_bound() -> None:
    logits = np.eye(4, dtype=np.float32)[np.arange(400) % 4] * 3
    class_index = np.arange(400) // 4 % 4
    assert fit_temperature(logits, class_index) == MAX_TEMPERATURE


def test_answers_that_are_all_right_end_at_the_lower_bound() -> None:
    logits = np.eye(4, dtype=np.float32)[np.arange(40) % 4]
    assert fit_temperature(logits, np.arange(40) % 4) == MIN_TEMPERATURE


def test_log_loss_is_the_mean_of_the_logarithms() -> None:
    logits, class_index = drawn(30, 1.0)
    of_truth = softmax(logits, 2.0)[np.arange(30), class_index]
    assert log_loss(logits, class_index, 2.0) == pytest.approx(-np.log(of_truth).mean())


def test_calibrated_probabilities_are_as_sure_as_they_are_right() -> None:
    logits, class_index = drawn(20_000, 2.5)

    def error(temperature: float) -> float | None:
        probabilities = softmax(logits, temperature)
        is_right = probabilities.argmax(axis=1) == class_index
        return reliability.expected_calibration_error(probabilities.max(axis=1), is_right)

    before, after = error(1.0), error(fit_temperature(logits, class_index))
    assert before is not None
    assert after is not None
    assert before > 0.15
    assert after < 0.01
