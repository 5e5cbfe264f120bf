"""Restoring: TF-Slim's rules, and messages for everything that does not fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.checkpoints.misfit import guess_net
from slimworks.components.checkpoints.restore import resolve, restore
from slimworks.components.checkpoints.save import save
from slimworks.components.errors import EXIT_USAGE, ConfigError

HEAD = ("Net/Logits",)


def _variables(**shapes: tuple[int, ...]) -> dict[str, tf.Variable]:
    """Zeros; "Net_conv_weights" stands for "Net/conv/weights"."""
    return {key.replace("_", "/"): tf.Variable(tf.zeros(shape)) for key, shape in shapes.items()}


def _net(num_classes: int = 5) -> dict[str, tf.Variable]:
    return _variables(
        Net_conv_weights=(3, 2), Net_Logits_weights=(2, num_classes), Net_Logits2_biases=(2,)
    )


def _write(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    prefix = folder / "model.ckpt-1"
    save({name: tf.ones(shape) for name, shape in shapes.items()}, prefix)
    return prefix


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return _write(
        tmp_path,
        {
            "Net/conv/weights": (3, 2),
            "Net/conv/weights/Momentum": (3, 2),
            "Net/Logits/weights": (2, 1001),
            "Net/Logits2/biases": (2,),
            "Other/weights": (1,),
            "global_step": (),
        },
    )


def test_auto_excludes_the_head_when_class_counts_differ(stored: Path) -> None:
    variables = _net()
    report = restore(variables, stored, exclude_scopes="auto", head_scopes=["Net/Logits/"])
    assert report.restored == ("Net/conv/weights", "Net/Logits2/biases")
    assert report.excluded == ("Net/Logits/weights",)
    assert report.unexpected == ("Other/weights",)
    assert np.all(variables["Net/conv/weights"] == 1)
    assert np.all(variables["Net/Logits/weights"] == 0)


def test_auto_restores_the_head_when_class_counts_agree(stored: Path) -> None:
    variables = _net(num_classes=1001)
    report = restore(variables, stored, exclude_scopes="auto", head_scopes=HEAD)
    assert report.excluded == ()
    assert np.all(variables["Net/Logits/weights"] == 1)


def test_exclude_scopes_are_plain_prefixes(stored: Path) -> None:
    report = restore(_net(), stored, exclude_scopes=[" Net/Logits "])
    assert report.excluded == ("Net/Logits/weights", "Net/Logits2/biases")


def test_folder_means_its_newest_checkpoint(stored: Path) -> None:
    report = restore(_net(), stored.parent, exclude_scopes=["Net/Logits"])
    assert report.checkpoint_path == str(stored)


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_one_of_the_files_means_the_checkpoint(stored: Path, suffix: str) -> None:
    assert resolve(f"{stored}{suffix}") == str(stored)


def test_name_map_renames_prefixes(stored: Path) -> None:
    variables = _variables(Mine_conv_weights=(3, 2))
    report = restore(variables, stored, name_map={"Net/conv": "Mine/conv"})
    assert report.restored == ("Mine/conv/weights",)
    assert np.all(variables["Mine/conv/weights"] == 1)


def test_missing_variable_is_an_error(stored: Path) -> None:
    variables = _variables(Net_conv_weights=(3, 2), Net_new_biases=(4,))
    with pytest.raises(ConfigError) as caught:
        restore(variables, stored)
    assert caught.value.exit_code == EXIT_USAGE
    assert caught.value.cause == (
        f"{stored} does not fit the network: Net/new/biases [4] is not in the checkpoint. "
        "The layers differ."
    )
    assert "`--set train.checkpoint_exclude_scopes=[Net/new]`" in caught.value.fix
    assert np.all(variables["Net/conv/weights"] == 0), "nothing is assigned by halves"


def test_missing_variable_is_a_warning_on_request(
    stored: Path, caplog: pytest.LogCaptureFixture
) -> None:
    variables = _variables(Net_conv_weights=(3, 2), Net_new_biases=(4,))
    with caplog.at_level(logging.WARNING):
        report = restore(variables, stored, ignore_missing_vars=True)
    assert report.missing == ("Net/new/biases",)
    assert "Net/new/biases is not in" in caplog.text


def test_wrong_shape_is_an_error_even_when_missing_variables_are_ignored(stored: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        restore(_net(), stored, exclude_scopes=[], head_scopes=HEAD, ignore_missing_vars=True)
    assert caught.value.cause == (
        f"{stored} does not fit the network: Net/Logits/weights is [2, 5] in the network and "
        "[2, 1001] in the checkpoint. The network has 5 classes, the checkpoint 1001."
    )
    assert caught.value.fix == (
        "Type `--set train.checkpoint_exclude_scopes=[Net/Logits]` "
        "to train these from their initial values."
    )


def test_background_class_is_named_as_the_cause(stored: Path) -> None:
    with pytest.raises(ConfigError, match="one of the two counts a background class"):
        restore(_net(num_classes=1000), stored, exclude_scopes=[], head_scopes=HEAD)


def test_excluding_everything_is_an_error(stored: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        restore(_net(), stored, exclude_scopes=["Net"])
    assert "train.checkpoint_exclude_scopes ['Net'] leaves nothing to restore" in str(caught.value)
    assert "leave train.checkpoint_path out to train from scratch" in caught.value.fix


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    with pytest.raises(ConfigError) as caught:
        restore(_net(), path)
    assert caught.value.cause == (
        f"train.checkpoint_path is {path}, but neither {path} nor {path}.index exists."
    )


def test_folder_without_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a folder without a checkpoint"):
        restore(_net(), tmp_path)


def test_file_that_is_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8" * 1000)
    with pytest.raises(ConfigError, match=r"photo\.jpg is no readable TensorFlow checkpoint"):
        restore(_net(), path)


def test_truncated_data_is_an_error(tmp_path: Path) -> None:
    prefix = _write(tmp_path, {"Net/conv/weights": (300, 200)})
    data = Path(f"{prefix}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="is no readable TensorFlow checkpoint"):
        restore({"Net/conv/weights": tf.Variable(tf.zeros((300, 200)))}, prefix)


MOBILENET = "MobilenetV1/Conv2d_{}_pointwise/weights"


def test_another_width_is_named(tmp_path: Path) -> None:
    quarter = {MOBILENET.format(i): (1, 1, 8 * i, 270) for i in range(1, 14)}
    half = {MOBILENET.format(i): (1, 1, 16 * i, 600) for i in range(1, 14)}
    prefix = _write(tmp_path, half)
    with pytest.raises(ConfigError) as caught:
        restore({name: tf.Variable(tf.zeros(shape)) for name, shape in quarter.items()}, prefix)
    assert "The checkpoint looks like mobilenet_v1_050, the network is" in caught.value.cause
    assert "mobilenet_v1_025." in caught.value.cause
    assert "; +10 more. " in caught.value.cause
    assert "`--set model.net=mobilenet_v1_050`" in caught.value.fix


def test_unknown_network_is_told_by_its_names(tmp_path: Path) -> None:
    prefix = _write(tmp_path, {f"EfficientNet/{i}/weights": (1,) for i in range(9)})
    variables = {MOBILENET.format(i): tf.Variable(tf.zeros((1, 1, 8, 8))) for i in range(9)}
    with pytest.raises(ConfigError, match="the checkpoint's names start with EfficientNet"):
        restore(variables, prefix)


def test_network_is_guessed_in_spite_of_another_class_count_and_slots() -> None:
    shapes = {
        "resnet_v1_101/a/weights": (42_000_000,),
        "resnet_v1_101/a/weights/Momentum": (42_000_000,),
        "resnet_v1_101/logits/weights": (2048, 3),
    }
    assert guess_net(shapes) == "resnet_v1_101"
    assert guess_net({"x/weights": (1,)}) is None
    assert guess_net({}) is None
