"""Restoring: TF-Slim's rules, and messages for everything that does not fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

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
        f"{stored} does not fit the network: 1 missing, 3 unexpected. The layers differ."
    )
    assert "missing in the checkpoint (1):\n  Net/new/biases  4" in caught.value.details
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
        f"{stored} does not fit the network: 1 of another shape, 1 unexpected. "
        "The network has 5 classes, the checkpoint 1001."
    )
    assert (
        "Net/Logits/weights  2x5 in the network, 2x1001 in the checkpoint" in caught.value.details
    )
    assert caught.value.fix.startswith("Type `--set train.checkpoint_exclude_scopes=auto`")


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


def test_everything_missing_is_an_error_even_when_missing_variables_are_ignored(
    stored: Path,
) -> None:
    with pytest.raises(ConfigError, match="1 missing"):
        restore(_variables(Mine_weights=(1,)), stored, ignore_missing_vars=True)


AVERAGE = "/ExponentialMovingAverage"


@pytest.fixture
def averaged(tmp_path: Path) -> Path:
    """conv has value and average, Logits has no average, Logits2 the average only."""
    prefix = tmp_path / "model.ckpt-1"
    values = {
        "Net/conv/weights": tf.fill((3, 2), 1.0),
        f"Net/conv/weights{AVERAGE}": tf.fill((3, 2), 2.0),
        "Net/Logits/weights": tf.fill((2, 5), 3.0),
        f"Net/Logits2/biases{AVERAGE}": tf.fill((2,), 4.0),
    }
    save(values, prefix)
    return prefix


def test_moving_averages_are_preferred_for_each_variable_that_has_one(averaged: Path) -> None:
    variables = _net()
    report = restore(variables, averaged)
    assert report.averaged == ("Net/conv/weights", "Net/Logits2/biases")
    assert report.restored == tuple(variables)
    assert report.unexpected == ()
    assert [float(v.numpy().flat[0]) for v in variables.values()] == [2, 3, 4]


def test_moving_averages_can_be_left_aside(averaged: Path) -> None:
    variables = _net()
    report = restore(variables, averaged, prefer_averages=False, exclude_scopes=["Net/Logits2"])
    assert report.averaged == ()
    assert np.all(variables["Net/conv/weights"] == 1)


def test_variable_with_its_average_only_is_missing_when_averages_are_left_aside(
    averaged: Path,
) -> None:
    with pytest.raises(ConfigError, match="1 missing"):
        restore(_net(), averaged, prefer_averages=False)


def test_name_map_leads_to_averages_too(averaged: Path) -> None:
    variables = _variables(Mine_conv_weights=(3, 2))
    report = restore(variables, averaged, name_map={r"re:Net/(\w+)/weights$": r"Mine/\1/weights"})
    assert report.averaged == ("Mine/conv/weights",)
    assert np.all(variables["Mine/conv/weights"] == 2)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64], ids=lambda d: d.name)
def test_values_are_cast_to_the_dtype_of_their_variables(tmp_path: Path, dtype: tf.DType) -> None:
    save({"Net/weights": tf.constant([1.5, -0.25, 2.0**-14], dtype)}, tmp_path / "m.ckpt")
    variables = _variables(Net_weights=(3,))
    restore(variables, tmp_path / "m.ckpt")
    assert variables["Net/weights"].dtype == tf.float32
    np.testing.assert_array_equal(variables["Net/weights"], [1.5, -0.25, 2.0**-14])


def test_report_is_logged(averaged: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="slimworks"):
        restore(_net(num_classes=3), averaged, head_scopes=["Net/Logits/"])
    assert caplog.messages == [
        f"Restored 2 variables from {averaged}, 2 of them from moving averages; 1 excluded "
        "(Net/Logits/), 0 missing, 0 unexpected."
    ]


def test_auto_excludes_auxiliary_heads_too(tmp_path: Path) -> None:
    shapes = {"Net/conv/weights": (3, 2), "aux_7/fc/weights": (2, 9), "final_layer/FC/biases": (9,)}
    prefix = _write(tmp_path, shapes)
    variables = {
        "Net/conv/weights": tf.Variable(tf.zeros((3, 2))),
        "aux_7/fc/weights": tf.Variable(tf.zeros((2, 5))),
        "final_layer/FC/biases": tf.Variable(tf.zeros((5,))),
    }
    report = restore(variables, prefix, head_scopes=("final_layer", "aux_7"))
    assert report.excluded == ("aux_7/fc/weights", "final_layer/FC/biases")
