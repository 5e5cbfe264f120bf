"""Driver, executor and component on real artifacts."""

from pathlib import Path
from typing import Any

import pytest
from photo_folders import MakePhotos, photo_bytes
from tfx.orchestration.portable import data_types
from tfx.types import standard_artifacts

from slimworks.components.artifacts import IngestReport
from slimworks.components.artifacts import LabelMap as LabelMapArtifact
from slimworks.components.contracts import LabelMap
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.component import Ingest
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.driver import SOURCE_STATE, IngestDriver
from slimworks.components.ingest.executor import IngestExecutor


def exec_properties(source: Path, state: Path, **settings: Any) -> dict[str, Any]:
    spec = Ingest(str(source), DataConfig(**settings), str(state)).spec
    return dict(spec.exec_properties)


def drive(properties: dict[str, Any]) -> dict[str, Any]:
    output = IngestDriver(None).run(data_types.ExecutionInfo(exec_properties=properties))
    added = {name: value.string_value for name, value in output.exec_properties.items()}
    return properties | added


def execute(folder: Path, properties: dict[str, Any]) -> dict[str, list[Any]]:
    kinds = {
        "examples": standard_artifacts.Examples,
        "label_map": LabelMapArtifact,
        "report": IngestReport,
    }
    outputs: dict[str, list[Any]] = {}
    for name, kind in kinds.items():
        outputs[name] = [kind()]
        outputs[name][0].uri = str(folder / name)
    IngestExecutor().Do({}, outputs, properties)
    return outputs


def test_executor_writes_splits_and_keeps_the_label_map(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    properties = drive(exec_properties(make_photos("cats", "dogs"), tmp_path / "state"))
    outputs = execute(tmp_path / "out", properties)
    assert outputs["examples"][0].splits == ["train", "eval", "test"]
    assert LabelMap.read(tmp_path / "state").class_names == ("cats", "dogs")


def test_driver_gives_the_same_key_again_and_another_one_after_a_change(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source = make_photos("cats", "dogs")
    properties = exec_properties(source, tmp_path / "state")
    first = drive(properties)
    execute(tmp_path / "out", first)
    assert drive(properties) == first
    (source / "cats" / "000.png").touch()
    assert drive(properties) == first, "the same content at another time is no change"
    (source / "cats" / "000.png").write_bytes(photo_bytes(4_711))
    assert drive(properties)[SOURCE_STATE] != first[SOURCE_STATE]


def test_driver_gives_a_new_key_where_data_go_back_to_what_they_were(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source = make_photos("cats", "dogs")
    properties = exec_properties(source, tmp_path / "state")
    first = drive(properties)
    execute(tmp_path / "1", first)
    data = (source / "cats" / "000.png").read_bytes()
    (source / "cats" / "000.png").unlink()
    execute(tmp_path / "2", drive(properties))
    (source / "cats" / "000.png").write_bytes(data)
    assert drive(properties)[SOURCE_STATE] != first[SOURCE_STATE]


def test_driver_keeps_the_key_for_a_bound_that_the_last_result_keeps_to(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, state = make_photos("cats", "dogs"), tmp_path / "state"
    first = drive(exec_properties(source, state))
    execute(tmp_path / "1", first)
    assert drive(exec_properties(source, state, min_images_per_class=2)) == first
    stricter = drive(exec_properties(source, state, min_images_per_class=30))
    assert '"min_images_per_class":30' in stricter["config"]
    with pytest.raises(DataError, match=r"fewer than data\.min_images_per_class = 30"):
        execute(tmp_path / "2", stricter)


def test_state_below_the_source_changes_nothing(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    properties = exec_properties(source, source / "runs" / "state")
    first = drive(properties)
    execute(source / "runs" / "out", first)
    assert drive(properties) == first


def test_driver_raises_our_errors(make_photos: MakePhotos, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        drive(exec_properties(tmp_path / "nowhere", tmp_path / "state"))


def test_examples_carry_tfxs_span_and_fingerprint(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    properties = exec_properties(source, tmp_path / "state")
    first = execute(tmp_path / "1", drive(properties))["examples"][0]
    (source / "cats" / "new.png").write_bytes(photo_bytes(4_711))
    second = execute(tmp_path / "2", drive(properties))["examples"][0]
    assert (first.span, second.span) == (1, 2)
    name = "input_fingerprint"
    assert first.get_string_custom_property(name) != second.get_string_custom_property(name)
