"""What a damaged TFRecord file tells a user, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimworks.components.errors import DataError
from slimworks.components.examples import tfrecord


@pytest.mark.parametrize(
    ("position", "what"),
    [
        (3, "the length of a record does not match its checksum"),
        (13, "a record does not match its checksum"),
        (None, "the file ends inside a record"),
    ],
)
def test_damaged_shard(tmp_path: Path, position: int | None, what: str) -> None:
    path = tmp_path / "shard"
    with path.open("wb") as stream:
        tfrecord.write_record(stream, b"photo")
    data = bytearray(path.read_bytes())
    if position is None:
        del data[-1]
    else:
        data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        list(tfrecord.iterate_records(path))
    assert caught.value.cause == f"{path} is damaged at byte 0: {what}."
    assert caught.value.fix == (
        f"Delete it with its links (find . -samefile {path} -delete, in the run root), and write "
        "the examples again: slimworks run --no-cache=ingest, or slimworks ingest."
    )
