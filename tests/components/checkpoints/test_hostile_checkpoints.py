"""Checkpoints made to harm: sizes that are lies, names that lead elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tensorflow as tf
from checkpoint_samples import write_checkpoint

from slimworks.components.checkpoints import save
from slimworks.components.checkpoints.reading import open_checkpoint
from slimworks.components.errors import ConfigError
from slimworks.components.examples.tfrecord import masked_crc

SIDES = (2,) * 8


def _with_sides(table: bytes, side: int) -> bytes:
    """A table of one block whose shapes say another side; its checksum is right again."""
    ends = (
        end
        for end in range(len(table) - 5)
        if masked_crc(table[: end + 1]) == int.from_bytes(table[end + 1 : end + 5], "little")
    )
    end = next(ends)  # of the block; then a byte for its compression, which is none
    # Eight times a message of two bytes, the size: one in TensorShapeProto.dim.
    told = b"".join(b"\x12\x02\x08" + bytes([SIDES[0]]) for _ in SIDES)
    assert table[:end].count(told) == 1
    block = table[:end].replace(told, told.replace(bytes([8, 2]), bytes([8, side])))
    checked = block + table[end : end + 1]
    return checked + masked_crc(checked).to_bytes(4, "little") + table[end + 5 :]


def test_an_index_that_claims_more_than_its_files_hold_takes_no_memory(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path, {"net/weights": SIDES})
    index = prefix.with_name(prefix.name + ".index")
    index.write_bytes(_with_sides(index.read_bytes(), 127))

    with pytest.raises(ConfigError) as error:
        open_checkpoint(prefix)

    assert re.search(rf"it names {127**8} values, and its files hold 1024 bytes", error.value.cause)
    assert error.value.fix.startswith("Download or copy it again")


def test_values_that_begin_behind_the_end_are_damage(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path, {"net/weights": SIDES})
    data = prefix.with_name(prefix.name + ".data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:600])

    with pytest.raises(ConfigError, match=r"no readable TensorFlow checkpoint"):
        open_checkpoint(prefix).read("net/weights")


@pytest.mark.parametrize("name", ["../secret/model.ckpt-1", "{elsewhere}/model.ckpt-1"])
def test_a_state_file_leads_to_its_own_folder_only(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "mailed").mkdir()
    write_checkpoint(tmp_path / "secret", {"net/weights": (1,)})
    path = name.format(elsewhere=tmp_path / "secret")
    state = f'model_checkpoint_path: "{path}"\nall_model_checkpoint_paths: "{path}"\n'
    (tmp_path / "mailed" / save.STATE_FILE).write_text(state, encoding="utf-8")

    assert save.latest_checkpoint(tmp_path / "mailed") is None

    write_checkpoint(tmp_path / "mailed", {"net/weights": (2,)})
    assert save.latest_checkpoint(tmp_path / "mailed") == str(tmp_path / "mailed/model.ckpt-1")


def test_a_v1_checkpoint_of_ordinary_values_is_within_its_size(tmp_path: Path) -> None:
    prefix = tmp_path / "model.ckpt"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        step = tf.compat.v1.get_variable("global_step", initializer=tf.zeros((300,), tf.int64))
        session.run(step.initializer)
        saver = tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V1)
        saver.save(session, str(prefix), write_meta_graph=False, write_state=False)

    assert open_checkpoint(prefix).read("global_step").shape == (300,)
