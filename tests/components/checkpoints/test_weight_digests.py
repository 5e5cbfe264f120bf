"""The digest of weights depends on the weights alone; differences are named and measured."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.checkpoints.digests import compare_checkpoints, digest_of_checkpoint
from slimworks.components.checkpoints.save import save
from slimworks.components.errors import ConfigError

VALUES = {
    "net/b": np.array([1.0, -2.0], np.float32),
    "net/a": np.array([[0.5]], np.float32),
    "global_step": np.array(7, np.int64),
}


def _write(folder: Path, values: dict[str, np.ndarray], name: str = "model.ckpt-7") -> Path:
    prefix = folder / name
    save({key: tf.constant(value) for key, value in values.items()}, prefix)
    return prefix


def test_digest_is_of_the_weights_and_not_of_files_order_or_step(tmp_path: Path) -> None:
    one = _write(tmp_path / "one", VALUES)
    reordered = dict(reversed(VALUES.items())) | {"global_step": np.array(9, np.int64)}
    other = _write(tmp_path / "other", reordered, "another.ckpt-9")
    assert digest_of_checkpoint(one) == digest_of_checkpoint(other)
    assert digest_of_checkpoint(tmp_path / "one") == digest_of_checkpoint(one)


def test_digest_of_a_v1_checkpoint_is_that_of_its_values(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in VALUES.items():
            tf.compat.v1.get_variable(name, initializer=value, use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V1)
        saver.save(session, str(tmp_path / "old.ckpt"), write_meta_graph=False)
    new = _write(tmp_path / "new", VALUES)
    assert digest_of_checkpoint(tmp_path / "old.ckpt") == digest_of_checkpoint(new)


@pytest.mark.parametrize(
    "change",
    [
        {"net/b": np.array([1.0, np.nextafter(np.float32(-2.0), np.float32(0))], np.float32)},
        {"net/b": np.array([[1.0, -2.0]], np.float32)},
        {"net/b": np.array([1.0, -2.0], np.float64)},
        {"net/c": np.array([0.0], np.float32)},
    ],
    ids=["one ulp", "shape", "type", "another variable"],
)
def test_digest_changes_with_any_weight(tmp_path: Path, change: dict[str, np.ndarray]) -> None:
    one = _write(tmp_path / "one", VALUES)
    other = _write(tmp_path / "other", {**VALUES, **change})
    assert digest_of_checkpoint(one) != digest_of_checkpoint(other)
    (difference,) = compare_checkpoints(one, other)
    assert difference.name == next(iter(change))
    assert difference.largest > 0


def test_differences_are_measured_and_sorted_by_relative_size(tmp_path: Path) -> None:
    one = _write(tmp_path / "one", VALUES)
    changed = {"net/b": np.array([1.0, -2.5], np.float32), "net/a": np.array([[1.0]], np.float32)}
    other = _write(tmp_path / "other", {**VALUES, **changed})
    first, second = compare_checkpoints(one, other)
    assert (first.name, first.largest, first.relative) == ("net/a", 0.5, 1.0)
    assert (second.name, second.largest, second.relative) == ("net/b", 0.5, 0.25)
    assert compare_checkpoints(one, one) == []


def test_a_value_that_is_not_finite_is_as_far_as_can_be(tmp_path: Path) -> None:
    one = _write(tmp_path / "one", VALUES)
    broken = {**VALUES, "net/a": np.array([[np.nan]], np.float32)}
    (difference,) = compare_checkpoints(one, _write(tmp_path / "other", broken))
    assert math.isinf(difference.largest)
    assert difference.detail == "not finite"


def test_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a folder without a checkpoint"):
        digest_of_checkpoint(tmp_path)
