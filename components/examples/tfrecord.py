"""TFRecord framing: length, checksum, data, checksum; little-endian, CRC-32C masked.

Format: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

from slimworks.components.errors import DataError

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")


def masked_crc(data: bytes) -> int:
    """Checksum of a length or of a record, as TFRecord files hold it."""
    # A CRC computed over data that holds CRCs is weak: hence TFRecord's rotation and constant.
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def write_record(stream: BinaryIO, data: bytes) -> None:
    """Appends one record."""
    length = struct.pack("<Q", len(data))
    stream.write(length + _CHECKSUM.pack(masked_crc(length)))
    stream.write(data)
    stream.write(_CHECKSUM.pack(masked_crc(data)))


class DamagedFileError(DataError):
    """A TFRecord file that is cut short, or whose bytes do not match their checksums."""


def _damaged(stream: BinaryIO, offset: int, what: str) -> DamagedFileError:
    # Ingest keeps its shards in a state folder, and gives out links to them.
    return DamagedFileError(
        f"{stream.name} is damaged at byte {offset}: {what}.",
        f"Delete it with its links (find . -samefile {stream.name} -delete, in the run root), and "
        "write the examples again: slimworks run --no-cache=ingest, or slimworks ingest.",
    )


def _read_length(stream: BinaryIO, offset: int) -> int | None:
    header = stream.read(_HEADER.size)
    if not header:
        return None
    if len(header) < _HEADER.size:
        raise _damaged(stream, offset, "the file ends inside a record")
    length, checksum = _HEADER.unpack(header)
    if checksum != masked_crc(header[:8]):
        raise _damaged(stream, offset, "the length of a record does not match its checksum")
    return int(length)


def _read_data(stream: BinaryIO, offset: int, length: int) -> bytes:
    data = stream.read(length)
    checksum = stream.read(_CHECKSUM.size)
    if len(data) < length or len(checksum) < _CHECKSUM.size:
        raise _damaged(stream, offset, "the file ends inside a record")
    if _CHECKSUM.unpack(checksum)[0] != masked_crc(data):
        raise _damaged(stream, offset, "a record does not match its checksum")
    return data


def iterate_records(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yields the records of one uncompressed TFRecord file; holds one record at a time.

    Raises:
        DamagedFileError: The file is cut short or a checksum differs.
    """
    with open(path, "rb") as stream:
        offset = 0
        while (length := _read_length(stream, offset)) is not None:
            yield _read_data(stream, offset, length)
            offset += _HEADER.size + length + _CHECKSUM.size


def read_record(path: str | os.PathLike[str], offset: int) -> bytes:
    """The record that starts at byte `offset`.

    Raises:
        DamagedFileError: The file is cut short or a checksum differs.
    """
    with open(path, "rb") as stream:
        stream.seek(offset)
        length = _read_length(stream, offset)
        if length is None:
            raise _damaged(stream, offset, "the file ends before the record")
        return _read_data(stream, offset, length)


def record_offsets(path: str | os.PathLike[str]) -> Iterator[int]:
    """Yields the byte where each record starts; reads the lengths only.

    Raises:
        DamagedFileError: The file is cut short.
    """
    with open(path, "rb") as stream:
        end = os.fstat(stream.fileno()).st_size
        offset = 0
        while (length := _read_length(stream, offset)) is not None:
            following = offset + _HEADER.size + length + _CHECKSUM.size
            if following > end:
                raise _damaged(stream, end, "the file ends inside a record")
            yield offset
            offset = following
            stream.seek(offset)


def count_records(path: str | os.PathLike[str]) -> int:
    """Number of records of one TFRecord file; reads the lengths only.

    Raises:
        DamagedFileError: The file is cut short.
    """
    return sum(1 for _ in record_offsets(path))
