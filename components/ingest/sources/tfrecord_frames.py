"""Records of a user's TFRecord file with their place in it; damage is named by byte."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

from google.protobuf.message import DecodeError

from slimworks.components.errors import DataError
from slimworks.components.examples.messages import Example
from slimworks.components.examples.tfrecord import masked_crc
from slimworks.components.ingest.sources.items import display_name, quoted_name
from slimworks.components.ingest.sources.opening import opened

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_GZIP = b"\x1f\x8b"
_ZLIB_STARTS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One record. `number`: from 1. `offset`: byte of the data. `checksum`: of the data, masked."""

    number: int
    offset: int
    data: bytes
    checksum: int


def is_record_start(head: bytes) -> bool:
    """Whether a file starts with the length of a record and its checksum."""
    if len(head) < _HEADER.size:
        return False
    return bool(_HEADER.unpack_from(head)[1] == masked_crc(head[:8]))


def read_records(path: str, max_record_bytes: int) -> Iterator[Record]:
    """Yields the records of one file, one in memory at a time; none longer than is allowed.

    Raises:
        DataError: The file is compressed, cut short, damaged, or a record is longer.
    """
    with opened(path) as stream:
        start, number = 0, 1
        while header := stream.read(_HEADER.size):
            if not is_record_start(header):
                raise _no_record(path, start, header)
            length = _HEADER.unpack(header)[0]
            if length > max_record_bytes:
                raise _too_long(path, number, length)
            data, footer = stream.read(length), stream.read(_CHECKSUM.size)
            if len(data) < length or len(footer) < _CHECKSUM.size:
                raise _damaged(path, start, "the file ends inside a record")
            checksum = _CHECKSUM.unpack(footer)[0]
            if checksum != masked_crc(data):
                raise _damaged(path, start, f"record {number} does not match its checksum")
            yield Record(number, start + _HEADER.size, data, checksum)
            start += _HEADER.size + length + _CHECKSUM.size
            number += 1


def example_of(path: str, record: Record) -> Example:
    """The tf.train.Example of one record.

    Raises:
        DataError: It is none.
    """
    try:
        return Example.FromString(record.data)
    except DecodeError as error:
        raise DataError(
            f"Record {record.number} of {display_name(path)} is no tf.train.Example.",
            "Write one tf.train.Example a record, as TF-Slim and TFDS do.",
        ) from error


def _no_record(path: str, start: int, header: bytes) -> DataError:
    shown = display_name(path)
    if start == 0 and header.startswith(_GZIP):
        return DataError(
            f"{shown} is compressed by gzip: records cannot be read from the middle of it.",
            f"Unpack it and give the new file: gunzip < {quoted_name(path)} > new.tfrecord",
        )
    if start == 0 and header.startswith(_ZLIB_STARTS):
        return DataError(
            f"{shown} is compressed by zlib: records cannot be read from the middle of it.",
            "Write it again without compression: tf.io.TFRecordWriter(path)",
        )
    if len(header) < _HEADER.size:
        return _damaged(path, start, "the file ends inside a record")
    return _damaged(path, start, "no record starts here")


def _damaged(path: str, start: int, what: str) -> DataError:
    return DataError(
        f"{display_name(path)} is damaged at byte {start}: {what}.",
        "Copy or write the file again, or move it elsewhere: the other files can be used.",
    )


def _too_long(path: str, number: int, length: int) -> DataError:
    return DataError(
        f"Record {number} of {display_name(path)} has {length} bytes, more than "
        "data.max_file_bytes allows.",
        f"Allow it: --set data.max_file_bytes={length}",
    )
