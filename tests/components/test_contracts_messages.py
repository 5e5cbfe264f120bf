"""What the contracts shared by all components tell a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimworks.components import contracts, files
from slimworks.components.errors import DataError


def test_split_without_a_shard(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        contracts.split_files(tmp_path, "eval")
    assert caught.value.cause == f"{tmp_path / 'Split-eval'} holds no TFRecord shard."
    assert caught.value.fix == (
        "Give a folder written by `slimworks ingest` that has the split 'eval'."
    )


def test_label_map_of_a_newer_slimworks(tmp_path: Path) -> None:
    path = tmp_path / contracts.LABEL_MAP_FILE
    files.write_json(path, {"format": 3, "class_names": ["cats", "dogs"]})
    with pytest.raises(DataError) as caught:
        contracts.LabelMap.read(tmp_path)
    assert caught.value.cause == f"{path} has format 3, this SlimWorks reads 2."
    assert caught.value.fix == "Upgrade SlimWorks, or use another --root."


@pytest.mark.parametrize("facts", [None, {}, {"class_names": []}])
def test_model_without_class_names(tmp_path: Path, facts: dict[str, object] | None) -> None:
    path = tmp_path / contracts.MODEL_FACTS_FILE
    if facts is not None:
        files.write_json(path, facts)
    with pytest.raises(DataError) as caught:
        contracts.read_class_names(tmp_path)
    assert caught.value.cause == f"{path} is missing or names no classes."
    assert caught.value.fix == "Give a model folder written by `slimworks train`."
