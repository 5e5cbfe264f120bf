"""Saving: TF1 names, bit-equal round trips, atomic files, the folder's state."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components import files
from slimworks.components.checkpoints import save as checkpoints
from slimworks.components.checkpoints.restore import restore
from slimworks.components.nets import nets_factory
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net


def _save(folder: Path, *names: str) -> None:
    for name in names:
        checkpoints.save({"a/weights": tf.constant([1.0, 2.0])}, folder / name)


def test_tf1_saver_restores_bit_equal_values_and_logits(tmp_path: Path) -> None:
    module = SlimModule(get_net("mobilenet_v1_025"), 3, 32, 3, seed=7)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    expected = tf.function(lambda x: module.forward(x, is_training=False).logits)(images)
    prefix = tmp_path / "model.ckpt-5"
    checkpoints.save(module.variables_by_name, prefix)

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        placeholder = tf.compat.v1.placeholder(tf.float32, [None, 32, 32, 3])
        logits, _ = nets_factory.get_network_fn("mobilenet_v1_025", 3)(placeholder)
        saver = tf.compat.v1.train.Saver()
        saver.restore(session, str(prefix))
        names = [variable.op.name for variable in tf.compat.v1.global_variables()]
        values = session.run(tf.compat.v1.global_variables())
        found = session.run(logits, {placeholder: images})
        saver.save(session, str(tmp_path / "again.ckpt"))

    assert set(names) == set(module.variables_by_name)
    for name, value in zip(names, values, strict=True):
        np.testing.assert_array_equal(value, module.variables_by_name[name])
    np.testing.assert_array_equal(found, expected)
    again = tf.train.load_checkpoint(str(tmp_path / "again.ckpt"))
    for name, value in zip(names, values, strict=True):
        np.testing.assert_array_equal(value, again.get_tensor(name))


FOREIGN_PROGRAM = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_eager_execution()
prefix, copy = sys.argv[1:]
values = {
    name: np.random.default_rng(number).normal(size=shape).astype(np.float32)
    for number, (name, shape) in enumerate(tf.train.list_variables(prefix))
}
for name, value in values.items():
    tf.get_variable(name, initializer=value)
saver = tf.train.Saver()
with tf.Session() as session:
    saver.restore(session, prefix)
    saver.save(session, copy)
"""


def test_foreign_tf1_program_loads_and_saves_the_same_bits(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    # A variable of the network and its average, of which the average is what is restored.
    stored = {
        f"Net/conv/weights{suffix}": random.normal(size=(3, 3, 2, 4)).astype(np.float32)
        for suffix in ("", "/ExponentialMovingAverage")
    }
    stored["Net/conv/biases"] = np.array([np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    checkpoints.save(stored, tmp_path / "first.ckpt")
    variables = {name: tf.Variable(tf.zeros(stored[name].shape)) for name in list(stored)[::2]}
    restore(variables, tmp_path / "first.ckpt")
    checkpoints.save(variables, tmp_path / "second.ckpt")

    command = [sys.executable, "-c", FOREIGN_PROGRAM]
    paths = [str(tmp_path / "second.ckpt"), str(tmp_path / "third.ckpt")]
    done = subprocess.run([*command, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    again = tf.train.load_checkpoint(str(tmp_path / "third.ckpt"))
    assert set(again.get_variable_to_shape_map()) == set(variables)
    expected = {
        "Net/conv/weights": stored["Net/conv/weights/ExponentialMovingAverage"],
        "Net/conv/biases": stored["Net/conv/biases"],
    }
    for name, value in expected.items():
        assert again.get_tensor(name).tobytes() == value.tobytes()


def test_save_leaves_only_the_two_files(tmp_path: Path) -> None:
    _save(tmp_path, "model.ckpt-1")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model.ckpt-1.index", "model.ckpt-1.data-00000-of-00001"}


def test_save_takes_tensors_of_any_dtype(tmp_path: Path) -> None:
    checkpoints.save({"global_step": tf.constant(12, tf.int64)}, tmp_path / "m")
    assert tf.train.load_checkpoint(str(tmp_path / "m")).get_tensor("global_step") == 12


def test_save_replaces_an_older_checkpoint(tmp_path: Path) -> None:
    _save(tmp_path, "m")
    checkpoints.save({"b": tf.constant(3.0)}, tmp_path / "m")
    assert tf.train.list_variables(str(tmp_path / "m")) == [("b", [])]


def test_failed_save_leaves_the_older_checkpoint_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save(tmp_path, "m")

    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "fsync_file", fail)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save({"b": tf.constant(3.0)}, tmp_path / "m")
    assert tf.train.list_variables(str(tmp_path / "m")) == [("a/weights", [2])]
    assert len(list(tmp_path.iterdir())) == 2


def test_state_names_the_newest_and_lists_the_rest(tmp_path: Path) -> None:
    _save(tmp_path, "model.ckpt-9", "model.ckpt-10")
    checkpoints.update_state(tmp_path, tmp_path / "model.ckpt-10")
    assert (tmp_path / "checkpoint").read_text().splitlines() == [
        'model_checkpoint_path: "model.ckpt-10"',
        'all_model_checkpoint_paths: "model.ckpt-9"',
        'all_model_checkpoint_paths: "model.ckpt-10"',
    ]
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-10")
    assert checkpoints.latest_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-10")


def test_state_survives_moving_the_folder(tmp_path: Path) -> None:
    _save(tmp_path / "a", "m-1")
    checkpoints.update_state(tmp_path / "a", tmp_path / "a" / "m-1")
    (tmp_path / "a").rename(tmp_path / "b")
    assert checkpoints.latest_checkpoint(tmp_path / "b") == str(tmp_path / "b" / "m-1")


def test_latest_is_none_without_checkpoints(tmp_path: Path) -> None:
    assert checkpoints.latest_checkpoint(tmp_path) is None
    assert checkpoints.latest_checkpoint(tmp_path / "missing") is None


def test_latest_is_found_without_a_state_file(tmp_path: Path) -> None:
    _save(tmp_path, "inception_v1.ckpt")
    assert checkpoints.latest_checkpoint(tmp_path) == str(tmp_path / "inception_v1.ckpt")


def test_latest_of_one_second_is_the_highest_step(tmp_path: Path) -> None:
    _save(tmp_path, "m-9", "m-10")
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    assert checkpoints.latest_checkpoint(tmp_path) == str(tmp_path / "m-10")


def test_latest_is_a_v1_file_of_an_unpacked_archive(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("Inception v3")
    prefix = tmp_path / "inception_v3.ckpt"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("a", initializer=[1.0])
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(write_version=1)
        saver.save(session, str(prefix), write_state=False)
    assert checkpoints.latest_checkpoint(tmp_path) == str(prefix)


def test_latest_of_a_copied_folder_whose_state_names_the_original(tmp_path: Path) -> None:
    _save(tmp_path, "m-2", "m-10")
    state = 'model_checkpoint_path: "/gone/m-10"\nall_model_checkpoint_paths: "/gone/m-2"\n'
    (tmp_path / "checkpoint").write_text(state)
    assert checkpoints.latest_checkpoint(tmp_path) == str(tmp_path / "m-10")


def test_latest_skips_a_name_whose_files_are_gone(tmp_path: Path) -> None:
    _save(tmp_path, "m-1", "m-2")
    checkpoints.update_state(tmp_path, tmp_path / "m-2")
    (tmp_path / "m-2.index").unlink()
    assert checkpoints.latest_checkpoint(tmp_path) == str(tmp_path / "m-1")


def test_keep_newest_goes_by_number_and_stem(tmp_path: Path) -> None:
    _save(tmp_path, "m-9", "m-10", "m-11", "best-3", "published")
    checkpoints.update_state(tmp_path, tmp_path / "m-11")
    checkpoints.keep_newest(tmp_path, 2)
    left = {path.name.removesuffix(".index") for path in tmp_path.glob("*.index")}
    assert left == {"m-10", "m-11", "best-3", "published"}
    assert not list(tmp_path.glob("m-9*"))
    assert "m-9" not in (tmp_path / "checkpoint").read_text()


def test_keep_newest_never_deletes_the_named_one(tmp_path: Path) -> None:
    _save(tmp_path, "m-1", "m-2")
    checkpoints.update_state(tmp_path, tmp_path / "m-1")
    checkpoints.keep_newest(tmp_path, 1)
    assert checkpoints.latest_checkpoint(tmp_path) == str(tmp_path / "m-1")


def test_keep_newest_refuses_to_keep_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n is 0, expected at least 1"):
        checkpoints.keep_newest(tmp_path, 0)
