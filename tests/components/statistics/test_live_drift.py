"""Logged requests against the training images and the evaluation; what they may start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shadow_samples import (
    CLASS_NAMES,
    image_of,
    predict_request,
    predict_response,
    write_log,
)

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.examples import tfrecord
from slimworks.components.report.drift import drift_view
from slimworks.components.serving.request_log import prediction_log
from slimworks.components.statistics import live_drift
from slimworks.components.statistics.config import DriftConfig, RetrainConfig
from slimworks.components.statistics.drift import Comparison
from slimworks.components.statistics.live_drift import (
    NO_LOG,
    LiveDrift,
    Reference,
    jensen_shannon,
    measure,
    read_reference,
)
from slimworks.components.statistics.live_requests import LiveRequests, read_requests
from slimworks.components.statistics.spans import Spans
from slimworks.components.statistics.triggers import Drift, judge, write_drift

DARK, BRIGHT = CLASS_NAMES


def log_of(folder: Path, levels: Sequence[int]) -> Path:
    return write_log(folder / "x-1.tfrecord", [(level,) for level in levels]).parent / "x"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Of grey images of all levels, half of them bright, with sure answers, 0.9 of them known."""
    log = log_of(tmp_path_factory.mktemp("trained"), range(8, 248, 4))
    statistics = read_requests(log, 1_000).statistics()
    return Reference(statistics, 60, {DARK: 0.5, BRIGHT: 0.5}, [0] * 7 + [10] * 2 + [0] * 5 + [40])


def test_same_images_are_no_drift(reference: Reference, tmp_path: Path) -> None:
    live = measure(log_of(tmp_path, range(10, 250, 4)), reference)
    assert live.is_enough_data
    assert live.distances[contracts.IMAGE_BRIGHTNESS] < 0.1
    assert live.distances[live_drift.PREDICTED_CLASS] < 0.05
    assert contracts.CLASS_NAME not in live.distances
    assert live.above(0.35) == {}


def test_darker_images_drift_and_so_do_their_answers(reference: Reference, tmp_path: Path) -> None:
    live = measure(log_of(tmp_path, range(10, 74)), reference)
    over = live.above(0.4)
    assert next(iter(over)) == contracts.IMAGE_BRIGHTNESS
    assert over[live_drift.PREDICTED_CLASS] == pytest.approx(0.5)
    found = live.to_json()
    assert found["num_images"] == found["num_answers"] == 64
    assert found["distances"]["predicted_class"]["measure"] == "l_infinity"
    assert found["largest"]["feature"] == contracts.IMAGE_BRIGHTNESS
    assert found["versions"] == {"3": 64}


def test_few_requests_say_nothing(reference: Reference, tmp_path: Path) -> None:
    live = measure(log_of(tmp_path, range(10, 39)), reference)
    assert live.distances[contracts.IMAGE_BRIGHTNESS] > 0.5
    assert not live.is_enough_data
    assert live.above(0.1) == {}
    assert live_drift.sentence(live) == (
        "too few logged images to speak of live drift: 29 of at least 30"
    )


def test_known_images_are_compared_with_the_calibration(tmp_path: Path) -> None:
    files.write_json(
        tmp_path / "model" / contracts.MODEL_FACTS_FILE,
        {"calibration": {"is_known": {"known_rate": 0.99}}},
    )
    files.write_json(
        tmp_path / "evaluation" / contracts.EVALUATION_METRICS_FILE,
        {
            "num_images": 40,
            "classes": [
                {"class_name": DARK, "num_predicted": 30},
                {"class_name": BRIGHT, "num_predicted": 10},
            ],
            "reliability": {"bins": [{"count": 0}] * 14 + [{"count": 40}]},
        },
    )
    reference = read_reference(None, tmp_path / "evaluation", tmp_path / "model")
    assert reference.class_shares == {DARK: 0.75, BRIGHT: 0.25}
    # Levels around the model's threshold: hardly sure of any.
    live = measure(log_of(tmp_path, [126, 127, 128, 129] * 10), reference)
    assert live.known_fraction == 0.0
    assert live.distances["is_known"] == pytest.approx(0.99)
    assert live.distances["confidence"] == pytest.approx(1.0)
    assert live.inputs.distances == {}


def test_what_was_removed_is_not_compared(tmp_path: Path) -> None:
    reference = read_reference(None, tmp_path / "none", None)
    live = measure(log_of(tmp_path, range(10, 50)), reference)
    assert (live.distances, live.largest) == ({}, None)


def test_images_that_nobody_can_read_are_counted(tmp_path: Path) -> None:
    images = [image_of(90), image_of(90)[:200], b"\xff\xd8\xff junk", b"no image", b""]
    request = predict_request(images)
    response = predict_response([(DARK, 0.9)] * 5)
    spec = response.model_spec
    with open(tmp_path / "x-1.tfrecord", "wb") as stream:
        record = prediction_log("predict_log", request, response, spec, 1.0, 1)
        tfrecord.write_record(stream, record)
        stream.write(b"torn")
    found = read_requests(tmp_path / "x", 10)
    assert (len(found.images), len(found.answers), found.num_damaged) == (1, 5, 1)
    assert sum(found.rejected.values()) == 4
    assert found.rejected["not_an_image"] == 2


def test_divergence_of_histograms() -> None:
    assert jensen_shannon(np.array([5, 0]), np.array([10, 0])) == 0
    assert jensen_shannon(np.array([5, 0]), np.array([0, 3])) == 1
    found = jensen_shannon(np.array([1, 1]), np.array([1, 0]))
    assert found == pytest.approx(0.5 * (0.5 * np.log2(2 / 3) + 0.5) + 0.5 * np.log2(4 / 3))


# --- Triggers -------------------------------------------------------------------------------


def live_of(distance: float, num_images: int = 100) -> LiveDrift:
    compared = Comparison(num_images, 100, {contracts.IMAGE_BRIGHTNESS: distance})
    return LiveDrift(LiveRequests(100, 0, [], {}, [], {}), compared, Comparison())


def decided(live: LiveDrift | None, num_new: int = 12, **config: Any) -> Drift:
    compared = Comparison(num_new, 1_000, {contracts.IMAGE_BRIGHTNESS: 0.02})
    settings = DriftConfig(
        retrain=RetrainConfig(min_live_drift=0.3, request_log="logs/x", **config)
    )
    return judge(Spans(5, 4, 3), compared, compared, settings, live=live)


def test_live_drift_trains_a_new_model() -> None:
    drift = decided(live_of(0.41), min_new_images=500)
    assert (drift.retrain, drift.reasons) == (
        True,
        ["Live drift of image/brightness 0.41 reaches retrain.min_live_drift (0.3)."],
    )


@pytest.mark.parametrize(
    ("live", "reason"),
    [
        (live_of(0.2), "largest live drift 0.20 of image/brightness in 100 logged requests"),
        (live_of(0.9, 20), "too few logged images to speak of live drift: 20 of at least 30"),
        (NO_LOG, "no request is logged yet"),
    ],
)
def test_training_waits_for_live_drift(live: LiveDrift, reason: str) -> None:
    drift = decided(live)
    assert not drift.retrain
    assert drift.reasons[0] == (
        f"Nothing to do: 12 new images since span 3, the last that was trained on; {reason} "
        "(retrain.min_live_drift is 0.3)."
    )


def test_drift_without_new_images_asks_for_some() -> None:
    drift = decided(live_of(0.41), num_new=0)
    assert not drift.retrain
    assert drift.reasons[1] == (
        "Live requests drifted (image/brightness 0.41), and there is nothing new to train on: "
        "add labelled images of what is sent now."
    )
    assert len(decided(live_of(0.1), num_new=0).reasons) == 2


def test_report_shows_live_drift(reference: Reference, tmp_path: Path) -> None:
    Spans(1, None, None).write(tmp_path)
    live = measure(log_of(tmp_path, range(10, 74)), reference)
    write_drift(tmp_path, tmp_path, DriftConfig(), live=live)
    view = drift_view(files.read_json(tmp_path / contracts.DRIFT_FILE))
    assert view is not None
    (table,) = view.tables
    assert table.sentence.startswith("64 images of 64 logged requests against 60 that the model")
    assert table.rows[0].feature == "Brightness"
    assert "Predicted class" in [row.feature for row in table.rows]


# --- Settings -------------------------------------------------------------------------------


def test_live_drift_needs_a_log() -> None:
    with pytest.raises(ConfigError, match=r"min_live_drift is 0\.3, and there is no log of live"):
        RetrainConfig(min_live_drift=0.3)
    assert RetrainConfig(min_live_drift=0.3, request_log="x").has_triggers
    assert not RetrainConfig(request_log="x").has_triggers


def test_missing_log_is_explained(reference: Reference, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no closed request log"):
        measure(tmp_path / "nothing", reference)
