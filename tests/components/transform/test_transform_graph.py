"""The transform graph: what it materialises is what the attached graph computes."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from PIL import Image

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.preprocessing import families, serialization
from slimworks.components.transform import config, graph, materialize, transform
from slimworks.components.transform.attach import decode_with_transform_graph
from slimworks.components.transform.config import TransformSettings

SETTINGS = TransformSettings(family="inception", stored_size=37, num_channels=3)


def photo(number: int) -> bytes:
    """Photos of different shapes and formats; each third JPEG lies on its side."""
    generator = np.random.default_rng(number)
    shape = (30 + number, 50 - number, 3)
    image = Image.fromarray(generator.integers(0, 256, shape).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6 if number % 3 == 0 else 1
    stream = io.BytesIO()
    if number % 2:
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def example(encoded: bytes, number: int, class_index: int | None) -> bytes:
    def text(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        contracts.IMAGE_ENCODED: text(encoded),
        contracts.IMAGE_ID: text(f"id-{number}".encode()),
        contracts.IMAGE_FILENAME: text(f"roses/photo {number}.jpg".encode()),
    }
    if class_index is not None:
        features[contracts.CLASS_INDEX] = tf.train.Feature(
            int64_list=tf.train.Int64List(value=[class_index])
        )
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_split(folder: Path, split: str, shards: list[list[bytes]]) -> None:
    target = contracts.split_folder(folder, split)
    target.mkdir(parents=True)
    for shard, records in enumerate(shards):
        name = contracts.EXAMPLES_FILE_PATTERN.format(shard=shard, num_shards=len(shards))
        with tf.io.TFRecordWriter(str(target / name)) as writer:
            for record in records:
                writer.write(record)


@pytest.fixture(scope="module")
def examples_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    records = [example(photo(number), number, number % 3) for number in range(12)]
    write_split(folder, "train", [records[:5], records[5:9]])
    write_split(folder, "eval", [records[9:], []])
    return folder


@pytest.fixture(scope="module")
def outputs(examples_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    folder = tmp_path_factory.mktemp("transformed")
    result = transform.TransformOutputs(folder / "graph", folder / "examples")
    counts = transform.transform(examples_dir, result, SETTINGS)
    assert counts == {"train": 9, "eval": 3}
    return result


def read(folder: str | Path, split: str) -> list[tf.train.Example]:
    records = tf.data.TFRecordDataset(contracts.split_files(folder, split))
    return [tf.train.Example.FromString(record) for record in records.as_numpy_iterator()]


def bytes_of(record: tf.train.Example, key: str) -> bytes:
    return record.features.feature[key].bytes_list.value[0]


def stored_of(record: tf.train.Example) -> np.ndarray:
    pixels = tf.constant(bytes_of(record, contracts.IMAGE_PIXELS))
    return serialization.parse_stored(pixels, 37, 3).numpy()


def test_shards_order_ids_and_labels_are_kept(examples_dir: Path, outputs) -> None:
    for split in ("train", "eval"):
        sources = [Path(path).name for path in contracts.split_files(examples_dir, split)]
        targets = [Path(path).name for path in contracts.split_files(outputs.examples_dir, split)]
        assert targets == sources
        for key in (contracts.IMAGE_ID, contracts.CLASS_INDEX):
            before = [r.features.feature[key] for r in read(examples_dir, split)]
            after = [r.features.feature[key] for r in read(outputs.examples_dir, split)]
            assert after == before


def test_transformed_examples_hold_nothing_else(outputs) -> None:
    keys = {contracts.IMAGE_PIXELS, contracts.IMAGE_ID, contracts.CLASS_INDEX}
    assert all(set(r.features.feature) == keys for r in read(outputs.examples_dir, "train"))


def test_materialised_pixels_equal_the_attached_graph_and_the_library(
    examples_dir: Path, outputs
) -> None:
    decode = tf.function(decode_with_transform_graph(outputs.graph_dir), autograph=False)
    originals = read(examples_dir, "train")
    encoded = [bytes_of(record, contracts.IMAGE_ENCODED) for record in originals]
    stored = [stored_of(record) for record in read(outputs.examples_dir, "train")]
    np.testing.assert_array_equal(decode(tf.constant(encoded)), stored)
    np.testing.assert_array_equal(decode(tf.constant(encoded[:1])), stored[:1])
    inception = families.get_preprocessing("inception")
    for one, expected in zip(encoded, stored, strict=True):
        np.testing.assert_array_equal(inception.to_stored(tf.constant(one), 37, 3), expected)


def test_second_run_writes_the_same_bytes(examples_dir: Path, outputs, tmp_path: Path) -> None:
    again = transform.TransformOutputs(tmp_path / "graph", tmp_path / "examples")
    transform.transform(examples_dir, again, SETTINGS)
    first, second = outputs.examples_dir, again.examples_dir
    assert files.sha256_of_tree(first) == files.sha256_of_tree(second)


def test_graph_has_the_standard_layout(outputs) -> None:
    output = tft.TFTransformOutput(str(outputs.graph_dir))
    assert set(output.raw_feature_spec()) == {
        contracts.IMAGE_ENCODED, contracts.IMAGE_ID, contracts.CLASS_INDEX
    }  # fmt: skip
    spec = output.transformed_feature_spec()
    assert spec[contracts.IMAGE_PIXELS].dtype == tf.string
    transformed = output.transform_raw_features({contracts.IMAGE_ENCODED: tf.constant([photo(1)])})
    assert transformed[contracts.IMAGE_PIXELS].shape == [1]
    assert config.TRANSFORM_FN_FOLDER == tft.TFTransformOutput.TRANSFORM_FN_DIR
    assert config.read_settings(outputs.graph_dir) == SETTINGS


def test_attached_graph_answers_an_empty_batch(outputs) -> None:
    decode = tf.function(decode_with_transform_graph(outputs.graph_dir), autograph=False)
    assert decode(tf.zeros([0], tf.string)).shape == (0, 37, 37, 3)


def test_attached_graph_refuses_what_it_cannot_decode(outputs) -> None:
    decode = tf.function(decode_with_transform_graph(outputs.graph_dir), autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG, PNG, GIF or BMP image"):
        decode(tf.constant([photo(0), b"RIFF....WEBP"]))


class Exported(tf.Module):
    """As the exporter does it: the decoder is an attribute of the saved module."""

    def __init__(self, graph_dir: str | Path) -> None:
        super().__init__()
        self.decode = decode_with_transform_graph(graph_dir)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"stored": self.decode(images)}


ANSWER = """
import sys
import numpy as np
import tensorflow as tf
images = [open(path, "rb").read() for path in sys.argv[3:]]
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
np.save(sys.argv[2], serve(images=tf.constant(images))["stored"].numpy())
"""


def test_exported_graph_gives_the_same_pixels_in_another_process(outputs, tmp_path: Path) -> None:
    module = Exported(outputs.graph_dir)
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.serve)
    paths = [tmp_path / f"{number}.image" for number in range(4)]
    for number, path in enumerate(paths):
        path.write_bytes(photo(number))
    answer = tmp_path / "answer.npy"
    arguments = [str(path) for path in (tmp_path / "model", answer, *paths)]
    subprocess.run([sys.executable, "-c", ANSWER, *arguments], check=True, cwd=tmp_path)
    expected = [stored_of(record) for record in read(outputs.examples_dir, "train")[:4]]
    np.testing.assert_array_equal(np.load(answer), expected)


def test_undecodable_image_is_named_and_nothing_is_published(tmp_path: Path) -> None:
    good, bad = example(photo(1), 1, 0), example(b"<html>", 7, 0)
    write_split(tmp_path / "in", "train", [[good, good], [good, bad, good]])
    outputs = transform.TransformOutputs(tmp_path / "graph", tmp_path / "out")
    with pytest.raises(
        DataError, match=r"roses/photo 7\.jpg \(in .*00001-of-00002\) cannot"
    ) as info:
        transform.transform(tmp_path / "in", outputs, SETTINGS, splits=("train",))
    assert "not a JPEG, PNG, GIF or BMP image" in info.value.cause
    assert "{{" not in info.value.cause
    assert info.value.fix == "Delete or re-export that image, then run again."
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture(scope="module")
def example_transform(outputs) -> materialize.ExampleTransform:
    return materialize.load_example_transform(outputs.graph_dir)


def test_example_without_a_label_is_named(example_transform, tmp_path: Path) -> None:
    write_split(tmp_path, "train", [[example(photo(1), 4, None)]])
    (source,) = contracts.split_files(tmp_path, "train")
    with pytest.raises(DataError, match=r"roses/photo 4\.jpg .*image/class/label"):
        materialize.transform_shard(source, tmp_path / "target", example_transform)
    assert [path.name for path in tmp_path.iterdir()] == ["Split-train"]


def test_damaged_shard_is_named(example_transform, tmp_path: Path) -> None:
    write_split(tmp_path, "train", [[example(photo(1), 1, 0)]])
    (source,) = contracts.split_files(tmp_path, "train")
    Path(source).write_bytes(Path(source).read_bytes()[:-9])
    with pytest.raises(DataError, match=r"00000-of-00001 is damaged after example 0: .*--no-cache"):
        materialize.transform_shard(source, tmp_path / "target", example_transform)


def test_missing_split_is_an_error(tmp_path: Path) -> None:
    outputs = transform.TransformOutputs(tmp_path / "graph", tmp_path / "out")
    with pytest.raises(DataError, match="Split-train holds no TFRecord shard"):
        transform.transform(tmp_path, outputs, SETTINGS)


def test_existing_result_is_not_overwritten(examples_dir: Path, outputs, tmp_path: Path) -> None:
    again = transform.TransformOutputs(tmp_path / "graph", outputs.examples_dir)
    before = files.sha256_of_tree(outputs.examples_dir)
    with pytest.raises(FileExistsError, match="Split-train exists"):
        transform.transform(examples_dir, again, SETTINGS, splits=("train",))
    assert files.sha256_of_tree(outputs.examples_dir) == before


def test_grey_graph_of_another_family(tmp_path: Path) -> None:
    settings = TransformSettings(family="vgg", stored_size=28, num_channels=1)
    graph.build_graph(tmp_path, settings)
    decode = decode_with_transform_graph(tmp_path)
    stored = families.get_preprocessing("vgg").to_stored(tf.constant(photo(3)), 28, 1)
    np.testing.assert_array_equal(decode(tf.constant([photo(3)]))[0], stored)


def test_runner_flags_of_the_user_win() -> None:
    options = graph.pipeline_options(["--runner=FlinkRunner"]).get_all_options()
    assert options["runner"] == "FlinkRunner"


@pytest.mark.parametrize("flags", [[], ["--runner=DirectRunner"]])
def test_local_runner_is_the_one_that_downloads_nothing(flags: list[str]) -> None:
    assert graph.pipeline_options(flags).get_all_options()["runner"] == "FnApiRunner"
