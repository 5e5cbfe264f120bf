"""What is fitted, what is left out and why."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from slimworks.components.calibration.fitting import Observed, Wanted, fit
from slimworks.components.calibration.known import class_means
from slimworks.components.calibration.temperature import log_loss

NAMES = ("a", "b", "c")


def observed(num_images: int = 300, scale: float = 3.0) -> Observed:
    """Logits `scale` times as large as they should be; embeddings near one axis a class."""
    generator = np.random.default_rng(4)
    class_index = np.arange(num_images) % 3
    logits = generator.normal(0, 1, (num_images, 3)) + 1.5 * np.eye(3)[class_index]
    embeddings = np.eye(3, 8)[class_index] + generator.normal(0, 0.1, (num_images, 8))
    return Observed((scale * logits).astype(np.float32), embeddings.astype(np.float32), class_index)


MEANS = class_means(observed().embeddings, observed().class_index)


def test_facts_are_those_of_the_calibration() -> None:
    images = observed()
    calibration, facts = fit(images, NAMES, Wanted(min_precision=0.6), MEANS)
    assert facts["temperature"] == calibration.temperature > 1.5
    assert (facts["split"], facts["num_images"], facts["notes"]) == ("eval", 300, [])
    assert facts["log_loss_before"] == log_loss(images.logits, images.class_index)
    assert facts["log_loss_after"] < facts["log_loss_before"]
    assert facts["ece_after"] < facts["ece_before"]
    for when in ("before", "after"):
        bins = facts[f"reliability_{when}"]["bins"]
        assert sum(bin_["count"] for bin_ in bins) == 300
    assert tuple(facts["thresholds"].values()) == calibration.thresholds
    assert list(facts["thresholds"]) == list(NAMES)
    assert calibration.known is not None
    assert facts["is_known"] == {
        "method": "distance",
        "threshold": calibration.known.threshold,
        "known_rate": 0.99,
        "kept_rate": 0.99,
    }


@pytest.mark.parametrize("method", ["probability", "energy", "distance"])
def test_threshold_is_on_the_side_of_the_method(method: str) -> None:
    calibration, facts = fit(observed(), NAMES, Wanted(known_by=method), MEANS)  # type: ignore[arg-type]
    assert calibration.known is not None
    assert calibration.known.method == method
    assert calibration.known.threshold > 0
    assert facts["is_known"]["kept_rate"] == 0.99
    assert (calibration.known.class_means is not None) == (method == "distance")


def test_nothing_wanted_changes_nothing() -> None:
    calibration, facts = fit(observed(), NAMES, Wanted(temperature=False, known_by="none"))
    assert dataclasses.astuple(calibration) == (1.0, None, None)
    assert facts["log_loss_before"] == facts["log_loss_after"]
    assert (facts["thresholds"], facts["is_known"], facts["notes"]) == (None, None, [])


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (slice(0), "0 eval images, 20 are needed"),
        (slice(19), "19 eval images, 20 are needed"),
        (slice(0, 300, 3), "all eval images are of one class"),
    ],
)
def test_images_that_tell_no_temperature(rows: slice, reason: str) -> None:
    images = Observed(*(getattr(observed(), f.name)[rows] for f in dataclasses.fields(Observed)))
    calibration, facts = fit(images, NAMES, Wanted(known_by="none"))
    assert calibration.temperature == 1.0
    assert facts["notes"] == [f"probabilities are as the network gives them: {reason}"]


def test_no_mistake_bounds_no_temperature() -> None:
    images = observed()
    right = dataclasses.replace(images, logits=np.eye(3, dtype=np.float32)[images.class_index])
    calibration, facts = fit(right, NAMES, Wanted(), MEANS)
    assert calibration.temperature == 1.0
    assert "every eval image is recognised" in facts["notes"][0]


def test_no_image_gives_facts_without_figures() -> None:
    empty = Observed(np.zeros((0, 3)), np.zeros((0, 8)), np.zeros(0, np.int64))
    calibration, facts = fit(empty, NAMES, Wanted(), MEANS)
    assert calibration.known is None
    assert (facts["log_loss_before"], facts["ece_after"]) == (None, None)
    assert facts["notes"][1] == "every image counts as known: 0 eval images, 20 are needed"


def test_images_without_numbers_are_left_out() -> None:
    images = observed()
    images.logits[7, 1] = np.nan
    images.embeddings[9, 0] = np.inf
    calibration, facts = fit(images, NAMES, Wanted(), MEANS)
    assert facts["num_images"] == 298
    assert np.isfinite(calibration.temperature)


def test_training_images_without_embeddings_leave_the_rule_out() -> None:
    calibration, facts = fit(observed(), NAMES, Wanted())
    assert calibration.known is None
    assert facts["notes"] == [
        "every image counts as known: no training image has an embedding of numbers"
    ]


def test_class_without_a_threshold_is_named(caplog: pytest.LogCaptureFixture) -> None:
    images = observed()
    never_c = dataclasses.replace(images, logits=images.logits - np.float32([0, 0, 100]))
    wanted = Wanted(temperature=False, min_precision=0.5, known_by="none")
    calibration, facts = fit(never_c, NAMES, wanted)
    assert calibration.thresholds is not None
    assert calibration.thresholds[2] is None
    assert facts["notes"] == [
        "answers c never count as known: no threshold is shown to give a precision of 0.5, "
        "which takes at least 3 eval images with that answer"
    ]
    assert facts["notes"][0] in caplog.text


def test_temperature_at_its_bound_is_said() -> None:
    images = observed()
    shuffled = dataclasses.replace(images, class_index=np.roll(images.class_index, 1))
    calibration, facts = fit(shuffled, NAMES, Wanted(known_by="none"))
    assert calibration.temperature == 20.0
    assert facts["notes"] == ["the temperature is at its bound, 20"]
