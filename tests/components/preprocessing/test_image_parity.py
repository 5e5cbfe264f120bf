"""Odd images give the same pixels in training, evaluation and serving: bit for bit.

The ways: what the transform component stored from what ingest kept, the same in tf.data, by map_fn
in a tf.function and eagerly, and an exported SavedModel that is sent what the client sends. A
stand-in for the network answers its input.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from slimworks.components import contracts
from slimworks.components.examples.encoding import ImageRecord, encode_example
from slimworks.components.export.served_model import ServedModel, write_saved_model
from slimworks.components.export.source import ExportSource
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.images import CheckedImage, check_image
from slimworks.components.nets.registry import get_net
from slimworks.components.preprocessing import decoding, families, serialization
from slimworks.components.serving.image_bytes import servable
from slimworks.components.transform.attach import decode_with_transform_graph
from slimworks.components.transform.config import TransformSettings
from slimworks.components.transform.transform import TransformOutputs, transform

pytestmark = pytest.mark.shared

IMAGE_SIZE, STORED_SIZE = 28, 32
FAMILY = "inception"
EXIF_BEHIND_TABLES = "exif_behind_tables.jpg"  # made here: no file of the folder has it
NOT_OFFERED = {"Thumbs.db"}  # ingest leaves it out by its name
DATA = DataConfig()


class Awkward(NamedTuple):
    """One file that ingest accepts: what was found, and what its example holds."""

    name: str
    original: bytes
    kept: bytes
    size: tuple[int, int]  # height and width by ingest


class Outputs(NamedTuple):
    """What a network returns, as far as ServedModel looks at it."""

    logits: tf.Tensor
    end_points: dict[str, tf.Tensor]


class PixelsAsLogits(tf.Module):
    """Stands in for a network: the logits are its input."""

    def forward(self, pixels: tf.Tensor, is_training: bool) -> Outputs:
        del is_training
        flat = tf.reshape(pixels, [tf.shape(pixels)[0], IMAGE_SIZE * IMAGE_SIZE * 3])
        return Outputs(flat, {"flat": flat})

    def embedding(self, end_points: dict[str, tf.Tensor]) -> tf.Tensor:
        return end_points["flat"]


def exif_behind_tables(jpeg: bytes) -> bytes:
    """A part of a JPEG that is wider than high, EXIF orientation 6 right before its scan."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(jpeg)) as image:
        image.crop((0, 0, 60, 40)).save(stream, "JPEG")
    encoded = stream.getvalue()
    place = encoded.index(b"\xff\xda")
    block = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    return encoded[:place] + segment + encoded[place:]


@pytest.fixture(scope="module")
def accepted(shared: Path) -> list[Awkward]:
    folder = shared / "data" / "awkward"
    with open(folder / "manifest.tsv", encoding="utf-8") as stream:
        names = [row["file"] for row in csv.DictReader(stream, delimiter="\t")]
    assert len(names) == 39
    contents = {name: (folder / name).read_bytes() for name in sorted(set(names) - NOT_OFFERED)}
    contents |= {EXIF_BEHIND_TABLES: exif_behind_tables(contents["pil_hopper.jpg"])}
    files = []
    for name, data in contents.items():
        checked = check_image(data, DATA)
        if isinstance(checked, CheckedImage):
            size = (checked.height, checked.width)
            files.append(Awkward(name, data, checked.converted or data, size))
    return files


@pytest.fixture(scope="module")
def transformed(
    accepted: list[Awkward], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, np.ndarray]:
    """The transform graph, and the stored images that training reads."""
    folder = tmp_path_factory.mktemp("awkward")
    train = Path(contracts.split_folder(folder / "examples", "train"))
    train.mkdir(parents=True)
    shard = contracts.EXAMPLES_FILE_PATTERN.format(shard=0, num_shards=1)
    with tf.io.TFRecordWriter(str(train / shard)) as writer:
        for number, file in enumerate(accepted):
            writer.write(encode_example(record(file, number)))
    settings = TransformSettings(family=FAMILY, stored_size=STORED_SIZE, num_channels=3)
    outputs = TransformOutputs(folder / "graph", folder / "stored")
    transform(folder / "examples", outputs, settings, splits=["train"])
    records = tf.data.TFRecordDataset(contracts.split_files(folder / "stored", "train"))
    stored = [
        serialization.parse_stored(
            tf.constant(
                tf.train.Example.FromString(serialized)
                .features.feature[contracts.IMAGE_PIXELS]
                .bytes_list.value[0]
            ),
            STORED_SIZE,
            3,
        ).numpy()
        for serialized in records.as_numpy_iterator()
    ]
    return folder / "graph", np.stack(stored)


def record(file: Awkward, number: int) -> ImageRecord:
    """Only the bytes matter here."""
    return ImageRecord(
        encoded=file.kept, format="png", original_format="png", class_index=0, class_name="odd",
        filename=file.name, height=1, width=1, colorspace="RGB", channels=3,
        image_id=f"{number:064d}", group="", brightness=0.5, sharpness=0.1, span=1,
    )  # fmt: skip


def exported(
    folder: Path,
    decode: Callable[[tf.Tensor], tf.Tensor],
    preprocess: Callable[[tf.Tensor], tf.Tensor],
) -> Callable[[list[bytes]], np.ndarray]:
    """Writes a SavedModel, loads it, and returns what its network is given."""
    model = ServedModel(
        PixelsAsLogits(), decode, preprocess, ["a"] * (IMAGE_SIZE * IMAGE_SIZE * 3),
        top_k=1, min_probability=0.0, image_size=IMAGE_SIZE, num_channels=3,
    )  # fmt: skip
    write_saved_model(model, str(folder / "model"))
    loaded = tf.saved_model.load(str(folder / "model"))
    signature = loaded.signatures[contracts.SIGNATURE_EVALUATE]

    def pixels(images: list[bytes]) -> np.ndarray:
        logits = signature(images=tf.constant(images))["logits"].numpy()
        return logits.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)

    pixels.loaded = loaded  # type: ignore[attr-defined]  # its variables and tables live on
    return pixels


def to_stored(encoded: tf.Tensor) -> tf.Tensor:
    return families.get_preprocessing(FAMILY).to_stored(encoded, STORED_SIZE, 3)


def mapped(function: Callable[[tf.Tensor], tf.Tensor], images: list[bytes], dtype: tf.DType):
    """By map_fn in a tf.function."""
    graph = tf.function(
        lambda batch: tf.map_fn(function, batch, fn_output_signature=dtype), autograph=False
    )
    return graph(tf.constant(images)).numpy()


def in_dataset(function: Callable[[tf.Tensor], tf.Tensor], images: list[bytes]) -> np.ndarray:
    plain = tf.autograph.experimental.do_not_convert(function)
    dataset = tf.data.Dataset.from_tensor_slices(images).map(plain, num_parallel_calls=2)
    return np.stack(list(dataset.as_numpy_iterator()))


def test_client_sends_what_ingest_keeps(accepted: list[Awkward]) -> None:
    for file in accepted:
        assert servable(file.original, file.name) == file.kept, file.name


def test_most_awkward_files_are_used(accepted: list[Awkward]) -> None:
    assert len(accepted) == 27 + 1  # EXIF_BEHIND_TABLES


def test_ingest_and_graph_agree_on_the_upright_size(accepted: list[Awkward]) -> None:
    decode = tf.function(decoding.decode_image, autograph=False)
    sizes = {file.name: tuple(decode(tf.constant(file.kept)).shape[:2]) for file in accepted}
    assert sizes == {file.name: file.size for file in accepted}


def test_stored_images_equal_dataset_map_fn_and_eager(
    accepted: list[Awkward], transformed: tuple[Path, np.ndarray]
) -> None:
    _, stored = transformed
    kept = [file.kept for file in accepted]
    np.testing.assert_array_equal(in_dataset(to_stored, kept), stored)
    np.testing.assert_array_equal(mapped(to_stored, kept, tf.uint8), stored)
    np.testing.assert_array_equal([to_stored(tf.constant(data)) for data in kept[:5]], stored[:5])


def test_served_pixels_equal_the_pixels_of_training_and_evaluation(
    accepted: list[Awkward], transformed: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    graph_dir, stored = transformed
    family = families.get_preprocessing(FAMILY)

    def for_eval(stored: tf.Tensor) -> tf.Tensor:
        return family.for_eval(stored, IMAGE_SIZE)

    served = exported(tmp_path, decode_with_transform_graph(graph_dir), for_eval)
    sent = [servable(file.original, file.name) for file in accepted]
    evaluation = tf.data.Dataset.from_tensor_slices(stored).batch(len(stored))
    evaluation = evaluation.map(tf.autograph.experimental.do_not_convert(for_eval))
    np.testing.assert_array_equal(served(sent), next(iter(evaluation)))
    np.testing.assert_array_equal(served(sent[:1]), next(iter(evaluation))[:1])
    np.testing.assert_array_equal(for_eval(tf.constant(stored)), next(iter(evaluation)))


@pytest.mark.slow  # traces and writes a second model
def test_export_of_a_checkpoint_has_the_pixels_of_tf_slims_own_way(
    accepted: list[Awkward], tmp_path: Path
) -> None:
    source = ExportSource(
        spec=get_net("mobilenet_v1_025"), checkpoint_path="", class_names=("a",),
        image_size=IMAGE_SIZE, num_channels=3, preprocessing=FAMILY,
    )  # fmt: skip
    served = exported(tmp_path, source.images_to_pixels, tf.identity)
    kept = [file.kept for file in accepted]
    expected = in_dataset(source.image_to_pixels, kept)
    np.testing.assert_array_equal(mapped(source.image_to_pixels, kept, tf.float32), expected)
    np.testing.assert_array_equal(
        served([servable(f.original, f.name) for f in accepted]), expected
    )
