import json

import pyarrow as pa
import pytest
from gate_samples import CLASS_NAMES, metrics_of, pair, right, write_saved_model
from pyarrow import parquet

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.gate import table
from slimworks.components.gate.blessing import bless
from slimworks.components.gate.config import GateConfig

LABEL_MAP = contracts.LabelMap(CLASS_NAMES)


def write_model(folder):
    files.write_json(folder / contracts.MODEL_FACTS_FILE, {"class_names": list(CLASS_NAMES)})
    return write_saved_model(folder)


def write_evaluation(folder, candidate, baseline=None):
    folder.mkdir()
    files.write_json(folder / contracts.EVALUATION_METRICS_FILE, metrics_of(candidate))
    write_predictions(folder / contracts.PREDICTIONS_FILE, candidate)
    if baseline is not None:
        write_predictions(folder / contracts.BASELINE_PREDICTIONS_FILE, baseline)
    return folder


def write_predictions(path, model):
    columns = {
        "image_id": model.image_ids.tolist(),
        "class_index": model.class_index,
        "predicted_index": model.predicted_index,
    }
    parquet.write_table(pa.table(columns), path)


def test_blessing_of_a_pass(tmp_path):
    candidate, baseline = pair(300, 30, 5, 65)
    evaluation = write_evaluation(tmp_path / "evaluation", candidate, baseline)
    model = write_model(tmp_path / "model")
    decided = bless(evaluation, model, LABEL_MAP, tmp_path / "out", GateConfig(), model)
    decision = json.loads((tmp_path / "out" / "decision.json").read_text("utf-8"))
    assert decided.blessed
    assert decision["verdict"] == "pass"
    assert decision["candidate"]["num_correct"] == 330
    assert decision["baseline"]["num_correct"] == 305
    assert list(decision) == [
        "format", "verdict", "blessed", "on_inconclusive", "reasons", "bounds", "candidate",
        "baseline", "forced", "bootstrap",
    ]  # fmt: skip
    assert set(decision["bounds"][0]) == {
        "name", "metric", "slice", "class", "support", "value", "low", "high", "threshold", "sign",
        "baseline", "verdict", "reason",
    }  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "BLESSED",
        "decision.json",
    ]


def test_refusal_is_written_and_not_raised(tmp_path):
    evaluation = write_evaluation(tmp_path / "evaluation", right(90, 10))
    model = write_model(tmp_path / "model")
    assert not bless(evaluation, model, LABEL_MAP, tmp_path / "out", GateConfig()).blessed
    assert (tmp_path / "out" / "NOT_BLESSED").is_file()
    assert not (tmp_path / "out" / "BLESSED").exists()


def test_missing_baseline_predictions_fail(tmp_path):
    evaluation = write_evaluation(tmp_path / "evaluation", right(90, 80))
    model = write_model(tmp_path / "model")
    decided = bless(evaluation, model, LABEL_MAP, tmp_path / "out", GateConfig(), model)
    assert decided.verdict == "fail"
    assert decided.reasons == ["The baseline was evaluated on 0 of 90 test images."]


def test_empty_evaluation_fails(tmp_path):
    model = write_model(tmp_path / "model")
    decided = bless(tmp_path / "nothing", model, LABEL_MAP, tmp_path / "out", GateConfig())
    assert decided.verdict == "fail"


def test_model_without_class_names_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"model\.json is missing or names no classes\."):
        bless(tmp_path, tmp_path / "model", LABEL_MAP, tmp_path / "out", GateConfig())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (90, "gate.min_accuracy is 90, expected a fraction in [0, 1]. For 90 percent write 0.9."),
        (
            97.5,
            "gate.min_accuracy is 97.5, expected a fraction in [0, 1]. For 97.5 percent write "
            "0.975.",
        ),
        (-1, "gate.min_accuracy is -1, expected a fraction in [0, 1]. Write 0.9 for 90 percent."),
    ],
)
def test_percentage_is_refused_with_the_fraction_to_write(value, message):
    with pytest.raises(ConfigError) as raised:
        GateConfig(min_accuracy=value)
    assert str(raised.value) == message


@pytest.mark.parametrize("value", [0, 0.9, 1, 1.0, None])
def test_fraction_is_accepted(value):
    assert GateConfig(min_accuracy=value).min_accuracy == value


def test_nan_is_no_fraction():
    with pytest.raises(ConfigError, match=r"gate\.max_accuracy_drop is nan"):
        GateConfig(max_accuracy_drop=float("nan"))


def table_of(tmp_path, candidate, baseline=None, **config):
    evaluation = write_evaluation(tmp_path / "evaluation", candidate, baseline)
    model = write_model(tmp_path / "model")
    against = None if baseline is None else model
    bless(evaluation, model, LABEL_MAP, tmp_path / "out", GateConfig(**config), against)
    return table.format_table(files.read_json(tmp_path / "out" / contracts.DECISION_FILE))


def test_table_shows_each_bound_with_its_interval(tmp_path):
    lines = table_of(tmp_path, *pair(300, 5, 30, 65), min_accuracy=0.7).splitlines()
    assert max(map(len, lines)) <= 80
    (accuracy,) = [line for line in lines if line.startswith("accuracy ")]
    assert accuracy.split() == ["accuracy", "0.762", "0.718", "to", "0.802", ">=", "0.7", "pass"]
    (change,) = [line for line in lines if line.startswith("accuracy_change")]
    assert change.split()[1:] == ["-0.062", "-0.094", "to", "-0.036", ">=", "-0.02", "fail"]
    assert lines[-1] == "verdict: fail"


def test_table_fits_80_columns_with_long_and_wide_names():
    bound = {
        "name": "class_recall/这是一个非常长的中文类别名称这是一个非常长的名称",
        "value": 0.5,
        "low": 0.25,
        "high": 0.75,
        "threshold": 0.9,
        "verdict": "inconclusive",
        "reason": "word " * 40,
    }
    decision = {
        "verdict": "inconclusive",
        "on_inconclusive": "keep",
        "bounds": [bound],
        "reasons": [],
    }
    lines = table.format_table(decision).splitlines()
    assert all(table._columns(line) <= 80 for line in lines)
    assert "…" in lines[2]
    assert lines[2].endswith("inconclusive")
    expected = "verdict: inconclusive; the live model is kept (gate.on_inconclusive: keep)"
    assert lines[-1] == expected


def test_component_marks_the_artifact(tmp_path):
    from tfx.types import channel_utils, standard_artifacts

    from slimworks.components import artifacts
    from slimworks.components.gate.component import Gate
    from slimworks.components.gate.executor import Executor

    folders = {
        "evaluation": write_evaluation(tmp_path / "evaluation", right(90, 80)),
        "model": write_model(tmp_path / "model"),
        "label_map": tmp_path / "labels",
    }
    LABEL_MAP.write(folders["label_map"])
    inputs = {
        "evaluation": standard_artifacts.ModelEvaluation(),
        "model": standard_artifacts.Model(),
        "label_map": artifacts.LabelMap(),
    }
    for name, item in inputs.items():
        item.uri = str(folders[name])
    blessing = standard_artifacts.ModelBlessing()
    blessing.uri = str(tmp_path / "blessing")
    channels = {name: channel_utils.as_channel([item]) for name, item in inputs.items()}
    node = Gate(**channels, config=GateConfig())
    Executor().Do(
        {name: [item] for name, item in inputs.items()} | {"baseline_model": []},
        {"blessing": [blessing]},
        node.exec_properties,
    )
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_string_custom_property("verdict") == "pass"
    assert (tmp_path / "blessing" / "BLESSED").is_file()
