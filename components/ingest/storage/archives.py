"""Images inside other files: members of archives, TFRecords, the raw pixels of IDX and CIFAR-10.

Each reader takes (path, key, max_bytes) of a `SourceItem` and returns no more than one byte more
than allowed, however much an archive promises to unpack to.
"""

from __future__ import annotations

import collections
import functools
import gzip
import lzma
import os
import shutil
import struct
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import IO, BinaryIO

import numpy as np
from google.protobuf.message import DecodeError

from slimworks.components.examples.messages import Example
from slimworks.components.examples.tfrecord import masked_crc
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.raw_pixels import png_of_pixels
from slimworks.components.ingest.sources import items
from slimworks.components.ingest.sources.items import is_uri
from slimworks.components.storage import remote

# Open archives a thread. Tasks follow the order of the source, so that one is nearly enough; each
# holds its whole directory, half a kilobyte a member.
_OPEN_ARCHIVES = 2
_UNPACKED_FILES = 8  # a process; MNIST has two with images, CIFAR-10 one
# A record holds other features beside the image.
_RECORD_ROOM_BYTES = 1 << 20
IDX_IMAGES = 0x00000803  # unsigned bytes, three dimensions
IDX_HEADER = struct.Struct(">4I")  # magic number, images, rows, columns
CIFAR10_SIZE = 32  # pixels
CIFAR10_RECORD_BYTES = 1 + 3 * CIFAR10_SIZE**2  # class index, then the planes R, G, B
_CHECKSUM = struct.Struct("<I")  # masked CRC-32C behind the data of a record
_CHANGED = "the archive changed since it was listed"
# zipfile feeds bz2 and lzma as much as it is asked for: 4 KiB can make 80 MB.
_FEED_BYTES = {zipfile.ZIP_BZIP2: 1 << 12, zipfile.ZIP_LZMA: 1 << 12}
_COPY_BYTES = 1 << 20
# Of gzip, tar and the headers in them. gzip's BadGzipFile is an OSError: named before `read_item`.
_DAMAGE = (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError, struct.error, ValueError)
# Names are decoded when the archive is opened.
_ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, UnicodeDecodeError)
_Stamp = tuple[str, int, int, int, int]


def too_large(max_bytes: int, size: int | None = None) -> Rejection:
    """Rejection of an image of more than `max_bytes`; `size` where it is known."""
    known = "" if size is None else f"{size} bytes, "
    return Rejection("too_large", f"{known}data.max_file_bytes is {max_bytes}")


def _open(path: str) -> BinaryIO:
    return remote.open_stream(path) if is_uri(path) else open(path, "rb")


def _stamp(path: str) -> _Stamp:
    """Path, process, and what changes with a local file."""
    if is_uri(path):
        return (path, os.getpid(), 0, 0, 0)
    status = os.stat(path)
    return (path, os.getpid(), status.st_ino, status.st_mtime_ns, status.st_size)


class _OpenArchives(threading.local):
    """ZipFile objects of one thread: they are not to be shared, and cost a directory to open."""

    def __init__(self) -> None:
        self._archives: collections.OrderedDict[_Stamp, zipfile.ZipFile] = collections.OrderedDict()

    def get(self, path: str) -> zipfile.ZipFile:
        """Opens the archive, or returns it where it is open already."""
        stamp = _stamp(path)
        if stamp not in self._archives:
            while len(self._archives) >= _OPEN_ARCHIVES:
                self._archives.popitem(last=False)[1].close()
            self._archives[stamp] = zipfile.ZipFile(
                remote.open_stream(path) if is_uri(path) else path
            )
        self._archives.move_to_end(stamp)
        return self._archives[stamp]

    def forget(self, path: str) -> bool:
        """Closes the archive; returns whether it was open."""
        stamps = [stamp for stamp in self._archives if stamp[0] == path]
        for stamp in stamps:
            self._archives.pop(stamp).close()
        return bool(stamps)


_archives = _OpenArchives()


def read_zip_member(path: str, key: str, max_bytes: int) -> bytes | Rejection:
    """Unpacks one member of a zip archive."""
    data = _read_zip_member(path, key, max_bytes)
    if isinstance(data, Rejection) and is_uri(path) and _archives.forget(path):
        # It may have been replaced since this thread opened it.
        return _read_zip_member(path, key, max_bytes)
    return data


def _read_zip_member(path: str, key: str, max_bytes: int) -> bytes | Rejection:
    try:
        archive = _archives.get(path)
        member = archive.getinfo(key)
        if member.flag_bits & 1:
            return Rejection("encrypted", "the archive protects it by a password")
        with archive.open(member) as stream:
            return _bounded(stream, max_bytes, _FEED_BYTES.get(member.compress_type))
    except KeyError:
        return Rejection("unreadable", _CHANGED)
    except NotImplementedError as error:
        return Rejection("unsupported_compression", str(error))
    except _ZIP_DAMAGE as error:
        return _corrupt(error)
    except OSError as error:
        if error.errno is not None:
            raise
        return _corrupt(error)  # bz2's word for damaged data


def _corrupt(error: Exception) -> Rejection:
    return Rejection("corrupt", f"the archive is damaged: {error or 'it ends early'}")


def _bounded(stream: IO[bytes], max_bytes: int, feed_bytes: int | None) -> bytes | Rejection:
    """Reads all, or the first byte too many; checks the checksum at the end."""
    parts = []
    room = max_bytes + 1
    while room > 0 and (part := stream.read(min(room, feed_bytes or room))):
        parts.append(part)
        room -= len(part)
    return b"".join(parts) if room else too_large(max_bytes)


def _offset_and_length(key: str) -> tuple[int, int]:
    offset, _, length = key.partition(":")
    return int(offset), int(length)


def _read_at(path: str, start: int, length: int) -> bytes:
    if is_uri(path):
        return remote.read(path, start, length)
    with open(path, "rb") as stream:
        stream.seek(start)
        return stream.read(length)


def read_range(path: str, key: str, max_bytes: int) -> bytes | Rejection:
    """Reads one member of an uncompressed tar archive."""
    offset, length = _offset_and_length(key)
    if length > max_bytes:
        return too_large(max_bytes, length)
    data = _read_at(path, offset, length) if length else b""
    return data if len(data) == length else Rejection("unreadable", _CHANGED)


def read_tfrecord_image(path: str, key: str, max_bytes: int) -> bytes | Rejection:
    """Takes the encoded image out of one serialized tf.train.Example.

    It stands in `image/encoded` (TF-Slim) or `image` (TFDS).
    """
    offset, length = _offset_and_length(key)
    if length > max_bytes + _RECORD_ROOM_BYTES:
        return too_large(max_bytes, length)
    record = _read_at(path, offset, length + _CHECKSUM.size)
    if len(record) < length + _CHECKSUM.size:
        return Rejection("unreadable", _CHANGED)
    data, (checksum,) = record[:length], _CHECKSUM.unpack(record[length:])
    if checksum != masked_crc(data):
        return Rejection("corrupt", "the record does not match its checksum")
    try:
        features = Example.FromString(data).features.feature
    except DecodeError:
        return Rejection("corrupt", "the record is no tf.train.Example")
    for name in ("image/encoded", "image"):
        if name in features and features[name].bytes_list.value:
            return bytes(features[name].bytes_list.value[0])
    return Rejection("not_an_image", "the record has neither image/encoded nor image")


class _Unpacked:
    """A file's content without its gzip, for reading at any place by any thread.

    Attributes:
        members: Offset and size of each file in it, where it is a tar archive.
    """

    def __init__(self, path: str) -> None:
        with _open(path) as packed, tempfile.TemporaryFile(prefix="slimworks-") as copy:
            is_gzip = packed.read(2) == b"\x1f\x8b"
            packed.seek(0)
            stream = gzip.GzipFile(fileobj=packed) if is_gzip else packed
            shutil.copyfileobj(stream, copy, _COPY_BYTES)
            copy.seek(0)
            self.members = _tar_members(copy)
            self._descriptor = os.dup(copy.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, start: int, length: int) -> bytes:
        """Reads bytes, fewer at the end."""
        return os.pread(self._descriptor, length, start)


def _tar_members(stream: BinaryIO) -> dict[str, tuple[int, int]]:
    if not tarfile.is_tarfile(stream):
        return {}
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        return {member.name: (member.offset_data, member.size) for member in tar}


_unpacking = threading.Lock()


def _unpacked(path: str) -> _Unpacked:
    with _unpacking:  # once, not by every thread at the same time
        return _unpacked_once(_stamp(path))


@functools.lru_cache(maxsize=_UNPACKED_FILES)
def _unpacked_once(stamp: _Stamp) -> _Unpacked:
    return _Unpacked(stamp[0])


def read_idx_image(path: str, key: str, max_bytes: int) -> bytes | Rejection:
    """Makes a PNG file of one image of an IDX file (https://yann.lecun.com/exdb/mnist)."""
    try:
        file = _unpacked(path)
        magic, count, height, width = IDX_HEADER.unpack(file.read(0, IDX_HEADER.size))
        size = height * width
        if size > max_bytes:
            return too_large(max_bytes, size)
        if magic != IDX_IMAGES or int(key) >= count:
            return Rejection("unreadable", _CHANGED)
        pixels = file.read(IDX_HEADER.size + int(key) * size, size)
        return png_of_pixels(pixels, height, width, 1)
    except _DAMAGE as error:
        return _corrupt(error)


def read_cifar10_image(path: str, key: str, max_bytes: int) -> bytes | Rejection:
    """Makes a PNG file of one image of cifar-10-binary.tar.gz.

    Format: https://www.cs.toronto.edu/~kriz/cifar.html.
    """
    name, _, number = key.rpartition(":")
    try:
        file = _unpacked(path)
        offset, size = file.members[name]
        start = int(number) * CIFAR10_RECORD_BYTES
        if start + CIFAR10_RECORD_BYTES > size:
            return Rejection("unreadable", _CHANGED)
        planes = file.read(offset + start + 1, CIFAR10_RECORD_BYTES - 1)
        pixels = np.frombuffer(planes, np.uint8).reshape(3, -1).T.tobytes()
        return png_of_pixels(pixels, CIFAR10_SIZE, CIFAR10_SIZE, 3)
    except KeyError:
        return Rejection("unreadable", _CHANGED)
    except _DAMAGE as error:
        return _corrupt(error)


READERS: Mapping[str, Callable[[str, str, int], bytes | Rejection]] = {
    items.ZIP_MEMBER: read_zip_member,
    items.BYTE_RANGE: read_range,
    items.TFRECORD: read_tfrecord_image,
    items.IDX_IMAGE: read_idx_image,
    items.CIFAR10_IMAGE: read_cifar10_image,
}
