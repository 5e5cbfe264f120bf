"""What a file that is no checkpoint is instead, by its content."""

from __future__ import annotations

import os
from typing import NamedTuple

import tensorflow as tf

# The last eight bytes of TensorFlow's sorted tables: a V1 checkpoint, or the index of a V2 one.
_TABLE_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_HEAD_BYTES = 4096

_CHECKPOINT_NEEDED = (
    "Give a checkpoint written by TF-Slim, by tf.compat.v1.train.Saver or by `slimworks train` "
    "(its folder checkpoints/)."
)
_INCOMPLETE = "Download or copy it again, with its .index and .data files complete and unpacked."
_PACKED = "Unpack it, and give the checkpoint that is inside."


class Foreign(NamedTuple):
    """What a file is, to follow "it is", and what to do about it."""

    what: str
    fix: str


_BY_START: tuple[tuple[int, bytes, Foreign], ...] = (
    (0, b"\x89HDF\r\n", Foreign("a Keras HDF5 file", _CHECKPOINT_NEEDED)),
    (0, b"PK\x03\x04", Foreign("a zip archive (Keras, NumPy or PyTorch)", _CHECKPOINT_NEEDED)),
    (0, b"\x1f\x8b", Foreign("a gzip archive", _PACKED)),
    (257, b"ustar", Foreign("a tar archive", _PACKED)),
    (4, b"TFL3", Foreign("a TFLite model", _CHECKPOINT_NEEDED)),
    (0, b"\xff\xd8\xff", Foreign("a JPEG image", _CHECKPOINT_NEEDED)),
    (0, b"\x89PNG", Foreign("a PNG image", _CHECKPOINT_NEEDED)),
)


def is_file(path: str) -> bool:
    """Says whether a path, on this machine or remote, is one of a file."""
    return bool(tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path))


def is_table(path: str | os.PathLike[str]) -> bool:
    """Says whether a file is a V1 checkpoint or a V2 index that was written to its end."""
    path = os.fspath(path)
    if not is_file(path):
        return False
    start = tf.io.gfile.stat(path).length - len(_TABLE_MAGIC)
    if start < 0:
        return False
    with tf.io.gfile.GFile(path, "rb") as stream:
        stream.seek(start)
        return bool(stream.read() == _TABLE_MAGIC)


def identify_foreign(path: str | os.PathLike[str]) -> Foreign:
    """Says what a file is that `is_table` refuses."""
    name = os.path.basename(path)
    with tf.io.gfile.GFile(os.fspath(path), "rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        return Foreign("empty", _INCOMPLETE)
    for offset, start, foreign in _BY_START:
        if head[offset:].startswith(start):
            return foreign
    if name == "saved_model.pb":
        return Foreign("the graph of a SavedModel", _CHECKPOINT_NEEDED)
    if name.endswith(".pb"):
        return Foreign(
            "a frozen graph, which has constants instead of variables",
            "Give the checkpoint that it was frozen from.",
        )
    if _is_text(head):
        return Foreign("a text file", _CHECKPOINT_NEEDED)
    return Foreign("damaged, cut short, or something else", _INCOMPLETE)


def _is_text(head: bytes) -> bool:
    # The cut may fall into a character of several bytes.
    text = head.decode("utf-8", errors="replace")[:-4] or head.decode("utf-8", errors="replace")
    return "\ufffd" not in text and all(c.isprintable() or c.isspace() for c in text)
