"""Scores of how well an image is known, and the threshold."""

from __future__ import annotations

import numpy as np
import pytest

from slimworks.components.calibration import known


def test_energy_is_the_log_of_the_sum() -> None:
    logits = np.array([[1.0, 2.0, 3.0], [500.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(known.energy(logits), [np.log(np.exp([1, 2, 3]).sum()), 500.0])


def test_distance_is_to_the_nearest_mean_direction() -> None:
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(40, 6))
    class_index = np.arange(40) % 3
    means = known.class_means(embeddings, class_index)
    directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    expected = [directions[class_index == index].mean(axis=0) for index in range(3)]
    np.testing.assert_allclose(means, expected, rtol=1e-5)
    naive = np.linalg.norm(directions[:, None] - np.array(expected), axis=2).min(axis=1)
    np.testing.assert_allclose(known.distance(embeddings, means), naive, atol=1e-6)


def test_length_does_not_count() -> None:
    embeddings = np.random.default_rng(0).normal(size=(10, 4))
    means = known.class_means(embeddings, np.arange(10) % 2)
    lengths = np.geomspace(0.01, 100, 10)[:, None]
    np.testing.assert_allclose(
        known.distance(embeddings * lengths, means), known.distance(embeddings, means), atol=1e-6
    )


def test_embedding_of_zeros_is_no_fault() -> None:
    means = known.class_means(np.eye(3), np.arange(3))
    assert known.distance(np.zeros((1, 3)), means) == pytest.approx([1.0])


def test_class_without_images_has_no_mean() -> None:
    assert known.class_means(np.eye(3), np.array([0, 2, 2])).shape == (2, 3)


@pytest.mark.parametrize(
    ("num_images", "rate", "num_kept"),
    [(1000, 0.99, 990), (100, 0.99, 99), (99, 0.99, 99), (20, 0.9, 18), (10, 1.0, 10), (1, 0.5, 1)],
)
def test_threshold_keeps_the_wanted_rate(num_images: int, rate: float, num_kept: int) -> None:
    scores = np.random.default_rng(1).permutation(np.linspace(-3, 5, num_images))
    assert (scores >= known.lowest_kept(scores, rate)).sum() == num_kept


def test_equal_scores_are_all_kept() -> None:
    assert (np.zeros(50) >= known.lowest_kept(np.zeros(50), 0.9)).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_does_not_drop_the_image_at_the_threshold(sign: int) -> None:
    scores = sign * np.linspace(1.0, 2.0, 50)
    threshold = known.lowest_kept(scores, 1.0)
    assert (scores - 1e-5 >= threshold).all()
    assert abs(threshold - scores.min()) < 1e-3
