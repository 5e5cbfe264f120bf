"""The TFX shell around `transform`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydantic
import pytest
import tensorflow as tf
from tfx.types import artifact_utils, channel_utils, standard_artifacts

import slimworks
from slimworks.components import contracts
from slimworks.components.transform.component import Transform
from slimworks.components.transform.config import TransformConfig, TransformSettings
from slimworks.components.transform.executor import TransformExecutor

SETTINGS = TransformSettings(family="lenet", stored_size=28, num_channels=1)


def artifact(kind: type, uri: Path) -> object:
    result = kind()
    result.uri = str(uri)
    return result


def write_examples(folder: Path) -> None:
    pixels = np.zeros((8, 8, 1), np.uint8)
    feature = {
        contracts.IMAGE_ENCODED: [tf.io.encode_png(pixels).numpy()],
        contracts.IMAGE_ID: [b"a"],
    }
    features = {
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        for key, value in feature.items()
    }
    features[contracts.CLASS_INDEX] = tf.train.Feature(int64_list=tf.train.Int64List(value=[3]))
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    for split in contracts.SPLITS:
        path = contracts.split_folder(folder, split) / "data_tfrecord-00000-of-00001"
        path.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(record)


def test_component_declares_settings_version_and_outputs() -> None:
    examples = channel_utils.as_channel([standard_artifacts.Examples()])
    node = Transform(examples=examples, settings=SETTINGS)
    assert json.loads(node.exec_properties["config"]) == SETTINGS.model_dump(mode="json")
    assert node.exec_properties["code_version"] == slimworks.__version__
    assert set(node.outputs) == {"transform_graph", "transformed_examples"}


def test_executor_fills_existing_artifact_folders_and_names_the_splits(tmp_path: Path) -> None:
    write_examples(tmp_path / "examples")
    transformed = artifact(standard_artifacts.Examples, tmp_path / "transformed")
    graph = artifact(standard_artifacts.TransformGraph, tmp_path / "graph")
    for folder in ("transformed", "graph"):  # TFX's launcher makes them before the executor runs
        (tmp_path / folder).mkdir()
    TransformExecutor().Do(
        {"examples": [artifact(standard_artifacts.Examples, tmp_path / "examples")]},
        {"transform_graph": [graph], "transformed_examples": [transformed]},
        {"config": SETTINGS.canonical_json(), "code_version": slimworks.__version__},
    )
    assert artifact_utils.decode_split_names(transformed.split_names) == ["train", "eval"]
    assert {path.name for path in (tmp_path / "transformed").iterdir()} == {
        "Split-train",
        "Split-eval",
    }
    assert (tmp_path / "graph" / "transform_fn" / "saved_model.pb").exists()


@pytest.mark.parametrize(
    "values", [{"stored_size": 4}, {"preprocessing_name": "incepton"}, {"size": 3}]
)
def test_config_refuses_wrong_values(values: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError, match=next(iter(values))):
        TransformConfig.model_validate(values)
