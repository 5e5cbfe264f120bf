"""What drift decides, and what it tells the user."""

from __future__ import annotations

from pathlib import Path

import pytest
from span_samples import records, write_examples

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.statistics.config import DriftConfig, RetrainConfig
from slimworks.components.statistics.drift import MIN_IMAGES, Comparison
from slimworks.components.statistics.spans import PREVIOUS, TRAINED, Spans
from slimworks.components.statistics.statistics import compute_statistics
from slimworks.components.statistics.triggers import (
    Drift,
    judge,
    require_little_drift,
    write_drift,
)

BRIGHTNESS, CLASS = contracts.IMAGE_BRIGHTNESS, contracts.CLASS_NAME


def compared(number: int = 100, **distances: float) -> Comparison:
    named = {"brightness": BRIGHTNESS, "classes": CLASS}
    values = {named[name]: value for name, value in distances.items()}
    return Comparison(number, 1_000, values or {BRIGHTNESS: 0.02, CLASS: 0.01})


def decided(
    latest: Comparison, untrained: Comparison | None = None, spans: Spans | None = None, **config
) -> Drift:
    spans = spans or Spans(5, 4, 3 if untrained else None)
    return judge(spans, latest, untrained, DriftConfig(retrain=RetrainConfig(**config)))


def test_without_triggers_every_run_trains() -> None:
    drift = decided(compared(), compared())
    assert drift.retrain
    assert drift.reasons == [
        "Span 5: 100 new images, largest drift 0.02 of image/brightness against span 4."
    ]


def test_first_span_trains_and_has_nothing_to_be_compared_with() -> None:
    drift = decided(Comparison(40), spans=Spans(1), min_drift=0.5)
    assert drift.retrain
    assert decided(Comparison(40), spans=Spans(1)).reasons == [
        "Span 1 is the first: there is nothing to compare it with."
    ]


def test_no_judged_model_needs_no_trigger() -> None:
    drift = decided(compared(5), None, min_new_images=1_000)
    assert drift.retrain
    assert drift.reasons == ["No model was trained and judged yet: no trigger is needed."]


def test_too_little_that_is_new_trains_nothing_and_says_how_much_it_was() -> None:
    drift = decided(compared(), compared(12), min_drift=0.3, min_new_images=500)
    assert not drift.retrain
    assert drift.reasons == [
        "Nothing to do: 12 new images since span 3, the last that was trained on "
        "(retrain.min_new_images is 500); largest drift 0.02 of image/brightness "
        "(retrain.min_drift is 0.3).",
        "To train all the same: --set retrain.when=always",
    ]


def test_new_images_since_the_last_training_add_up() -> None:
    drift = decided(compared(100), compared(500), min_new_images=500)
    assert drift.retrain
    assert drift.reasons == ["500 new images since span 3 reach retrain.min_new_images (500)."]
    assert not decided(compared(100), compared(499), min_new_images=500).retrain


@pytest.mark.parametrize(
    ("latest", "untrained"),
    [
        (compared(brightness=0.4, classes=0.35), compared()),
        (compared(), compared(brightness=0.4, classes=0.35)),
    ],
    ids=["newest span", "all since the last training"],
)
def test_drift_triggers_wherever_it_shows(latest: Comparison, untrained: Comparison) -> None:
    drift = decided(latest, untrained, min_drift=0.3)
    assert drift.retrain
    assert drift.reasons == [
        "Drift of image/brightness 0.40, image/class/text 0.35 reaches retrain.min_drift (0.3)."
    ]


def test_nothing_new_never_triggers() -> None:
    drift = decided(compared(brightness=0.9), Comparison(0, 1_000), min_drift=0.3)
    assert not drift.retrain
    assert drift.reasons[0] == (
        "Nothing to do: no new image since span 3, the last that was trained on."
    )


def test_handful_of_images_gives_no_verdict_on_drift() -> None:
    few = compared(MIN_IMAGES - 1, brightness=0.9)
    drift = decided(few, few, min_drift=0.3)
    assert not drift.retrain
    assert f"too few to speak of drift: {MIN_IMAGES - 1} of at least" in drift.reasons[0]
    require_little_drift(decided(few, few), DriftConfig(stop_above_drift=0.3))


@pytest.mark.parametrize("is_latest", [True, False])
def test_too_much_drift_stops_the_run_and_names_what_drifted(is_latest: bool) -> None:
    far, near = compared(brightness=0.62, classes=0.31), compared()
    drift = decided(*((far, near) if is_latest else (near, far)))
    with pytest.raises(DataError) as caught:
        require_little_drift(drift, DriftConfig(stop_above_drift=0.3))
    assert caught.value.exit_code == 3
    assert caught.value.cause == (
        "Span 5 drifted: image/brightness 0.62, image/class/text 0.31 (data.stop_above_drift is "
        "0.3; 0 is equal, 1 is nothing in common)."
    )
    assert caught.value.fix == (
        "Look at the new images; take away what does not belong, or accept them, until there is "
        "a newer span: --set data.stop_above_drift=null"
    )


def test_drift_at_the_bound_does_not_stop() -> None:
    drift = decided(compared(brightness=0.3))
    require_little_drift(drift, DriftConfig(stop_above_drift=0.3))


def test_drift_is_written_before_the_run_stops(tmp_path: Path) -> None:
    images = records(1, 60) + records(2, 40, brightness=0.1)
    examples = write_examples(tmp_path / "examples", images)
    compute_statistics(examples, str(tmp_path), spans=Spans(2, 1, 1))
    with pytest.raises(DataError, match="Span 2 drifted: image/brightness"):
        write_drift(tmp_path, tmp_path / "out", DriftConfig(stop_above_drift=0.5))
    written = files.read_json(tmp_path / "out" / contracts.DRIFT_FILE)
    assert (written["span"], written["previous_span"]) == (2, 1)
    assert (written["num_images"], written["num_previous_images"]) == (40, 60)
    assert written["largest"]["feature"] == BRIGHTNESS
    assert written["distances"][BRIGHTNESS]["measure"] == "jensen_shannon"
    assert written["distances"][CLASS]["measure"] == "l_infinity"
    assert written["is_enough_data"]
    assert written["retrain"]
    assert written["since_trained"]["trained_span"] == 1


def test_drift_stops_a_run_whose_window_has_the_newest_span_only(tmp_path: Path) -> None:
    first = write_examples(tmp_path / "1", records(1, 60))
    compute_statistics(first, str(tmp_path / "statistics1"), spans=Spans(1))
    second = write_examples(tmp_path / "2", records(2, 40, brightness=0.1))
    statistics = str(tmp_path / "statistics2")
    earlier = {group: str(tmp_path / "statistics1") for group in (PREVIOUS, TRAINED)}
    compute_statistics(second, statistics, spans=Spans(2, 1, 1), earlier=earlier)
    with pytest.raises(DataError, match="Span 2 drifted: image/brightness"):
        write_drift(statistics, tmp_path, DriftConfig(stop_above_drift=0.5))
    drift = write_drift(statistics, tmp_path, DriftConfig(retrain=RetrainConfig(min_drift=0.5)))
    assert drift.retrain
    assert drift.untrained is not None
    assert (drift.latest.num_previous_images, drift.untrained.num_previous_images) == (60, 60)


def test_statistics_of_an_earlier_run_that_are_gone_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    examples = write_examples(tmp_path / "examples", records(2, 40))
    gone = {PREVIOUS: str(tmp_path / "gone")}
    with caplog.at_level("WARNING"):
        compute_statistics(examples, str(tmp_path), spans=Spans(2, 1), earlier=gone)
    assert "gone/Span-latest/FeatureStats.pb is gone: drift is not measured" in caplog.text
    drift = write_drift(tmp_path, tmp_path, DriftConfig(stop_above_drift=0.1))
    assert drift.reasons == ["Span 2: 40 new images, too few to speak of drift: 0 of at least 30."]


def test_first_span_is_written_without_a_comparison(tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "examples", records(1, 20))
    compute_statistics(examples, str(tmp_path), spans=Spans(1))
    write_drift(
        tmp_path, tmp_path, DriftConfig(stop_above_drift=0.1, retrain=RetrainConfig(min_drift=0.1))
    )
    written = files.read_json(tmp_path / contracts.DRIFT_FILE)
    assert written["distances"] == {}
    assert (written["largest"], written["since_trained"]) == (None, None)
    assert (written["is_enough_data"], written["retrain"]) == (False, True)
