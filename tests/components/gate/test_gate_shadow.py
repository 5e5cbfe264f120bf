"""What logged requests must show of a candidate before it is blessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gate_samples import CLASS_NAMES, metrics_of, right, write_saved_model
from shadow_samples import THRESHOLDS, save_model, write_log

from slimworks.components import contracts, files
from slimworks.components.gate.blessing import bless
from slimworks.components.gate.bounds import Bound
from slimworks.components.gate.config import GateConfig, ShadowRule
from slimworks.components.gate.shadowing import judged, shadow_bounds
from slimworks.components.serving.logged import Answer, log_state
from slimworks.components.shadow.tally import CANDIDATE, PRIMARY, ShadowResult, Tally
from slimworks.pipeline.config import load_config


def result_of(
    agreeing: int, other: int = 0, failed: int = 0, seconds: tuple[float, float] = (0.01, 0.01)
) -> ShadowResult:
    tally = Tally()
    for number in range(agreeing + other):
        answer = Answer(("a",), (1.0,))
        tally.compare([None], [answer], [answer if number < agreeing else Answer(("b",), (1.0,))])
        for side, value in zip((PRIMARY, CANDIDATE), seconds, strict=True):
            tally.add_seconds(side, value)
    for _ in range(failed):
        tally.add_error(CANDIDATE, "INTERNAL", 1)
    return tally.result()


def verdicts(result: ShadowResult, *, has_baseline: bool = True, **rule: Any) -> dict[str, str]:
    found = judged(result, ShadowRule(log="x", **rule), 0.95, has_baseline=has_baseline)
    return {bound.name.removeprefix("shadow_"): bound.verdict for bound in found}


@pytest.mark.parametrize(
    ("result", "rule", "expected"),
    [
        (result_of(200), {}, {"requests": "pass", "agreement": "pass", "latency_ratio": "pass"}),
        (result_of(99), {}, {"requests": "fail", "agreement": "pass", "latency_ratio": "pass"}),
        (
            result_of(100, 100),
            {},
            {"requests": "pass", "agreement": "fail", "latency_ratio": "pass"},
        ),
        (
            result_of(162, 38),  # 0.81 on 200 images means 0.75 to 0.86
            {},
            {"requests": "pass", "agreement": "inconclusive", "latency_ratio": "pass"},
        ),
        (
            result_of(150, failed=150),
            {},
            {"requests": "pass", "agreement": "fail", "latency_ratio": "pass"},
        ),
        (
            result_of(200, seconds=(0.2, 0.7)),
            {},
            {"requests": "pass", "agreement": "pass", "latency_ratio": "fail"},
        ),
        (
            result_of(200, seconds=(0.01, 0.1)),  # ten times as slow, and still quick
            {},
            {"requests": "pass", "agreement": "pass", "latency_ratio": "pass"},
        ),
        (result_of(0), {}, {"requests": "fail", "latency_ratio": "fail"}),
        (
            result_of(200, seconds=(0.2, 0.7)),
            {"max_latency_ratio": None, "min_requests": 300},
            {"requests": "fail", "agreement": "pass"},
        ),
    ],
)
def test_verdicts(result: ShadowResult, rule: dict[str, Any], expected: dict[str, str]) -> None:
    assert verdicts(result, **rule) == expected


def test_without_a_baseline_the_log_answers_and_no_latency_is_compared() -> None:
    found = judged(result_of(180, 20), ShadowRule(log="x"), 0.95, has_baseline=False)
    assert [bound.name for bound in found] == ["shadow_requests", "shadow_agreement"]
    assert found[1].reason == (
        "On 200 logged images the candidate agrees with the logged answers in 0.900 (0.851 to "
        "0.934); gate.require_shadow.min_agreement is 0.8."
    )


def test_failures_are_told() -> None:
    (_, agreement, _) = judged(
        result_of(10, failed=3), ShadowRule(log="x"), 0.95, has_baseline=True
    )
    assert agreement.reason.endswith("The candidate failed on 3 requests.")


# --- Real models ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model artifacts by name."""
    folder = tmp_path_factory.mktemp("models")
    for name, threshold in THRESHOLDS.items():
        save_model(folder / name / contracts.SAVED_MODEL_FOLDER, threshold)
    return {name: folder / name for name in THRESHOLDS}


def by_name(bounds: list[Bound]) -> dict[str, Bound]:
    return {bound.name: bound for bound in bounds}


@pytest.mark.slow
def test_both_artifacts_are_served_and_asked(models: dict[str, Path], tmp_path: Path) -> None:
    log = write_log(tmp_path / "log" / "x-1.tfrecord", [(20,), (90, 200), (240,)])
    rule = ShadowRule(log=str(log.parent / "x"), min_requests=3, min_agreement=0.9)
    config = GateConfig(require_shadow=rule)
    found = by_name(shadow_bounds(models["candidate"], models["primary"], tmp_path, config))
    assert found["shadow_requests"].verdict == "pass"
    assert (found["shadow_agreement"].value, found["shadow_agreement"].support) == (0.75, 4)
    assert found["shadow_agreement"].verdict == "inconclusive"
    assert found["shadow_latency_ratio"].verdict == "pass"
    written = files.read_json(tmp_path / contracts.SHADOW_FILE)
    for side, name in (("candidate", "candidate"), ("primary", "primary")):
        folder = models[name] / contracts.SAVED_MODEL_FOLDER
        assert written[side]["digest"] == files.sha256_of_tree(folder)
    assert (tmp_path / contracts.SHADOW_PAGE).is_file()


@pytest.mark.parametrize("what", ["log", "model"])
def test_shadow_that_cannot_run_is_a_refusal(
    what: str, models: dict[str, Path], tmp_path: Path
) -> None:
    log = tmp_path / "x-1.tfrecord"
    if what == "model":
        write_log(log, [(20,)])
    model = tmp_path / "broken" if what == "model" else models["candidate"]
    (tmp_path / "broken" / contracts.SAVED_MODEL_FOLDER).mkdir(parents=True)
    config = GateConfig(require_shadow=ShadowRule(log=str(tmp_path / "x")))
    (bound,) = shadow_bounds(model, None, tmp_path, config)
    assert (bound.name, bound.verdict) == ("shadow", "fail")
    expected = "There is no closed request log at" if what == "log" else "There is no SavedModel in"
    assert bound.reason.startswith(f"The shadow could not run: {expected}")


def test_decision_holds_the_bounds(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    candidate = right(300, 290)
    evaluation = tmp_path / "evaluation"
    evaluation.mkdir()
    files.write_json(evaluation / contracts.EVALUATION_METRICS_FILE, metrics_of(candidate))
    columns = {
        "image_id": candidate.image_ids.tolist(),
        "class_index": candidate.class_index,
        "predicted_index": candidate.predicted_index,
    }
    parquet.write_table(pa.table(columns), evaluation / contracts.PREDICTIONS_FILE)
    model = tmp_path / "model"
    files.write_json(model / contracts.MODEL_FACTS_FILE, {"class_names": list(CLASS_NAMES)})
    write_saved_model(model)
    labels = contracts.LabelMap(CLASS_NAMES)
    config = GateConfig(require_shadow=ShadowRule(log=str(tmp_path / "none")))
    refused = bless(evaluation, model, labels, tmp_path / "out", config)
    assert (refused.verdict, refused.blessed) == ("fail", False)
    assert refused.reasons[0].startswith("The shadow could not run: There is no closed request log")
    blessed = bless(evaluation, model, labels, tmp_path / "other", GateConfig())
    assert blessed.blessed


# --- Settings and cache ---------------------------------------------------------------------


def test_rule_is_read_from_the_configuration() -> None:
    config = load_config(None, ["gate.require_shadow={log: logs/x, min_agreement: 0.9}"], "photos")
    assert config.gate.require_shadow == ShadowRule(log="logs/x", min_agreement=0.9)
    assert load_config(None, [], "photos").gate.require_shadow is None


def test_new_requests_change_the_cache_key(tmp_path: Path) -> None:
    assert log_state(tmp_path / "x") == ""
    write_log(tmp_path / "x-1.tfrecord", [(20,)])
    first = log_state(tmp_path / "x")
    assert first == log_state(tmp_path / "x")
    (tmp_path / ".x-2.tfrecord.open").write_bytes(b"not closed")
    assert log_state(tmp_path / "x") == first
    write_log(tmp_path / "x-2.tfrecord", [(30,)])
    assert log_state(tmp_path / "x") not in ("", first)
