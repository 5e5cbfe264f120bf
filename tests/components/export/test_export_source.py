"""What a checkpoint tells by itself, and what it is refused for."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from export_samples import NUM_CLASSES, value_of, write_checkpoint

from slimworks.components import files
from slimworks.components.checkpoints.save import save
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.export.images import ComparisonImages
from slimworks.components.export.inference_graph import (
    build_inference_graph,
    checkpoint_probabilities,
    checkpoint_values,
)
from slimworks.components.export.source import (
    ExportSource,
    _image_size,
    from_checkpoint,
    from_model,
)
from slimworks.components.nets.registry import get_net
from slimworks.components.preprocessing import decoding, inception


def _refusal(path: Path, **options: object) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        from_checkpoint(path, **options)  # type: ignore[arg-type]
    return caught.value.cause, caught.value.fix


def test_checkpoint_tells_network_and_classes(mobilenet: Path) -> None:
    source = from_checkpoint(mobilenet)
    assert source.spec.name == "mobilenet_v1_025"
    assert source.class_names == tuple(str(index) for index in range(NUM_CLASSES))
    assert (source.image_size, source.num_channels) == (224, 3)
    assert (source.preprocessing, source.stored_size) == ("inception", None)


def test_given_facts_win(mobilenet: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join("abcdefg"), encoding="utf-8")
    source = from_checkpoint(
        mobilenet,
        net="mobilenet_v1_025",
        image_size=96,
        use_grayscale=True,
        preprocessing_name="vgg_16",
        labels=tmp_path / "labels.txt",
    )
    assert source.class_names == tuple("abcdefg")
    assert (source.image_size, source.num_channels, source.preprocessing) == (96, 1, "vgg")


@pytest.mark.parametrize(
    ("name", "image_size", "expected"),
    [
        ("lenet_96", None, 96),  # by the name
        ("lenet_96", 64, 64),  # the option wins
        ("lenet_64", None, 28),  # no size that checkpoints are published at
    ],
)
def test_image_size_is_the_one_in_the_name(
    lenet: Path, tmp_path: Path, name: str, image_size: int | None, expected: int
) -> None:
    for path in lenet.parent.glob("lenet.ckpt.*"):
        shutil.copy(path, tmp_path / path.name.replace("lenet", name))
    source = from_checkpoint(tmp_path / f"{name}.ckpt", image_size=image_size)
    assert source.image_size == expected


@pytest.mark.shared
def test_published_checkpoint_is_of_the_size_in_its_name(shared: Path) -> None:
    source = from_checkpoint(shared / "data" / "checkpoints" / "mobilenet_v1_0.25_128")
    assert (source.spec.default_image_size, source.image_size) == (224, 128)


def test_size_in_the_name_below_the_minimum_is_none_of_the_network(tmp_path: Path) -> None:
    spec = dataclasses.replace(get_net("lenet"), min_image_size=97)
    assert _image_size(spec, None, "lenet_96.ckpt") == spec.default_image_size


def test_pixels_are_those_of_tf_slims_evaluation(
    mobilenet_source: ExportSource, images: ComparisonImages
) -> None:
    expected = inception.preprocess_for_eval(decoding.decode_image(images.encoded[0]), 32, 32)
    np.testing.assert_array_equal(images.pixels(mobilenet_source)[0], expected)


def test_pixels_are_the_same_one_by_one_in_batches_and_in_tf_data(
    mobilenet_source: ExportSource, images: ComparisonImages
) -> None:
    single = images.pixels(mobilenet_source)
    batched = tf.function(mobilenet_source.images_to_pixels)(tf.constant(images.encoded))
    dataset = tf.data.Dataset.from_tensor_slices(list(images.encoded))
    mapped = list(dataset.map(mobilenet_source.image_to_pixels).as_numpy_iterator())
    np.testing.assert_array_equal(batched, single)
    np.testing.assert_array_equal(mapped, single)


def test_foreign_root_scope_is_mapped(
    tmp_path: Path, images: ComparisonImages, lenet: Path
) -> None:
    foreign = write_checkpoint(
        tmp_path, "lenet", 28, num_channels=1, stored_name=lambda name: f"mine/{name}"
    )
    source = from_checkpoint(foreign)
    assert source.name_map == {"mine/LeNet/": "LeNet/"}
    own = from_checkpoint(lenet)
    pixels = images.pixels(own)
    np.testing.assert_array_equal(
        checkpoint_probabilities(source, pixels), checkpoint_probabilities(own, pixels)
    )
    values = checkpoint_values(build_inference_graph(source), source)
    np.testing.assert_array_equal(values["LeNet/fc4/biases"], value_of("LeNet/fc4/biases", (7,)))


def test_moving_averages_are_preferred_on_both_sides(tmp_path: Path, lenet: Path) -> None:
    reader = tf.train.load_checkpoint(str(lenet))
    stored = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    average = np.full(NUM_CLASSES, 0.25, np.float32)
    save({**stored, "LeNet/fc4/biases/ExponentialMovingAverage": average}, tmp_path / "ema.ckpt")
    source = from_checkpoint(tmp_path / "ema.ckpt")
    values = checkpoint_values(build_inference_graph(source), source)
    np.testing.assert_array_equal(values["LeNet/fc4/biases"], average)
    pixels = np.zeros((1, 28, 28, 1), np.float32)
    plain = checkpoint_probabilities(from_checkpoint(lenet), pixels)
    assert np.abs(checkpoint_probabilities(source, pixels) - plain).max() > 1e-3


def test_no_checkpoint(tmp_path: Path) -> None:
    cause, _ = _refusal(tmp_path / "none.ckpt")
    assert cause.startswith(f"--checkpoint is {tmp_path / 'none.ckpt'}, but neither")


def test_unknown_network(lenet: Path) -> None:
    assert _refusal(lenet, net="lenett") == (
        "--net lenett is no known network. Did you mean 'lenet'?",
        "`slimworks nets` lists the networks; without --net the checkpoint tells it.",
    )


def test_checkpoint_of_another_network(lenet: Path) -> None:
    assert _refusal(lenet, net="cifarnet") == (
        f"{lenet} is a checkpoint of lenet, not of cifarnet.",
        "Type `--net lenet`, or leave --net out.",
    )


def test_checkpoint_of_no_network(tmp_path: Path) -> None:
    save({"my/weights": np.ones(3, np.float32)}, tmp_path / "my.ckpt")
    assert _refusal(tmp_path / "my.ckpt") == (
        f"{tmp_path / 'my.ckpt'} belongs to no known network: its names start with my.",
        "Name the network with --net; `slimworks nets` lists them.",
    )


def test_checkpoint_without_its_head(tmp_path: Path) -> None:
    path = write_checkpoint(
        tmp_path, "lenet", 28, num_channels=1, stored_name=lambda n: None if "fc4" in n else n
    )
    assert _refusal(path) == (
        f"{path} has no head of lenet: no biases below LeNet/fc4.",
        "Name the checkpoint's own network with --net, or give a checkpoint with its head.",
    )


def test_images_below_the_minimum(lenet: Path) -> None:
    assert _refusal(lenet, image_size=3) == (
        "--image-size is 3, but lenet needs at least 4 pixels.",
        "Type `--image-size 28`, the published size.",
    )


def test_unknown_preprocessing(lenet: Path) -> None:
    assert _refusal(lenet, preprocessing_name="inceptoin") == (
        "--preprocessing-name inceptoin is no known preprocessing. Did you mean 'inception'?",
        "Choose one of cifarnet, inception, lenet, vgg, or a network whose way you want.",
    )


def test_other_number_of_channels(lenet: Path) -> None:
    source = from_checkpoint(lenet, use_grayscale=False)
    with pytest.raises(ConfigError) as caught:
        checkpoint_values(build_inference_graph(source), source)
    assert "does not fit the network" in caught.value.cause
    assert caught.value.fix == (
        "Name the checkpoint's own network with --net, its channels with --use-grayscale or "
        "--no-use-grayscale, its size with --image-size; `slimworks nets --checkpoint FILE` tells "
        "what it is."
    )
    assert "LeNet/conv1/weights" in caught.value.details


def test_model_without_checkpoints(tmp_path: Path) -> None:
    files.write_json(tmp_path / "model.json", {"class_names": ["a"]})
    with pytest.raises(DataError) as caught:
        from_model(tmp_path)
    assert caught.value.cause == f"{tmp_path / 'checkpoints'} does not exist."
    assert caught.value.fix == "Give a folder written by `slimworks train`."
