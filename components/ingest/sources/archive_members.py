"""Members of zip and tar archives, unopened: streamed headers, names made harmless."""

from __future__ import annotations

import dataclasses
import tarfile
import zipfile
from collections.abc import Iterator, MutableMapping
from typing import Any, BinaryIO

from slimworks.components.errors import DataError
from slimworks.components.ingest.sources import names
from slimworks.components.ingest.sources.items import BYTE_RANGE, ZIP_MEMBER, display_name
from slimworks.components.ingest.sources.opening import opened

_MAX_HEADER_BYTES = 1 << 20  # of one file: its name, what PAX knows of it, a map of its holes
_UTF8_FLAG = 0x800  # of a zip member's name
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive.

    Attributes:
        parts: Its folders and its name. Never "..", never absolute: nothing is extracted by it.
        kind: How it is read (`items.ZIP_MEMBER` or `items.BYTE_RANGE`).
        key: What is read.
        size: Bytes, unpacked.
        version: Checksum of the content, where the archive holds one.
        is_regular: False for links, devices and sparse files.
    """

    parts: tuple[str, ...]
    kind: str
    key: str
    size: int
    version: str
    is_regular: bool = True


def list_members(path: str, archive: str | None = None) -> Iterator[Member]:
    """Yields the files of a zip or an uncompressed tar archive, less hidden and system ones.

    A tar is streamed header by header. Of a zip, zipfile keeps the directory: about 0.6 kB a file.

    Args:
        path: The archive.
        archive: What the user calls it, where `path` is its unpacked copy.

    Raises:
        DataError: The archive is damaged or cut short, or the file is none.
    """
    shown = archive or path
    for member in _zip_members(path, shown) if _is_zip(path) else _tar_members(path, shown):
        if member.parts and not any(map(names.is_left_out, member.parts)):
            yield member


def _is_zip(path: str) -> bool:
    with opened(path) as stream:
        head = stream.read(tarfile.BLOCKSIZE)
        if head.startswith(_ZIP_STARTS) or head[257:262] == b"ustar":
            return head.startswith(_ZIP_STARTS)
        return zipfile.is_zipfile(stream)  # zip may have something else before it


def _parts(name: str) -> tuple[str, ...]:
    if "\\" in name and "/" not in name:  # Windows wrote it against the standard
        name = name.replace("\\", "/")
    return tuple(part for part in name.split("/") if part not in ("", ".", ".."))


# --- zip -------------------------------------------------------------------------------------


def _zip_members(path: str, shown: str) -> Iterator[Member]:
    with opened(path) as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except UnicodeDecodeError as error:
            raise _misnamed(shown, error) from error
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise _damaged(shown, error) from error
        with archive:
            for member in archive.infolist():
                # Of two members under one name, the later is the one that a name can mean.
                if not member.is_dir() and archive.NameToInfo[member.filename] is member:
                    yield Member(
                        _parts(_zip_name(member)), ZIP_MEMBER, member.filename, member.file_size,
                        f"{member.CRC:08x}",
                    )  # fmt: skip


def _misnamed(path: str, error: UnicodeDecodeError) -> DataError:
    return DataError(
        f"The archive {display_name(path)} says that its names are UTF-8, and one is not: "
        f"{error.object!r}.",
        "Unpack it and give the folder, or pack it again with another program.",
    )


def _zip_name(member: zipfile.ZipInfo) -> str:
    """The name as meant: many programs write UTF-8 without saying so, which zip takes for cp437."""
    if member.flag_bits & _UTF8_FLAG:
        return member.filename
    try:
        return member.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return member.filename


# --- tar -------------------------------------------------------------------------------------


def _tar_members(path: str, shown: str) -> Iterator[Member]:
    with opened(path) as stream:
        try:
            headers = _Headers(stream)
            fileobj: Any = headers
            with tarfile.open(fileobj=fileobj, mode="r:", errors="surrogateescape") as archive:
                while (member := archive.next()) is not None:
                    headers.start_member()
                    if member.size < 0:  # tarfile would go back, and come here again
                        raise tarfile.ReadError(f"a file of {member.size} bytes")
                    vars(archive)["members"].clear()  # tarfile would keep every header
                    _forget_unused(vars(archive)["pax_headers"])
                    if not member.isdir():
                        yield _tar_member(member)
                _require_end(stream, archive.offset)
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise _damaged(shown, error) from error
        except RecursionError as error:  # one header of a file leads to the next
            raise _damaged(shown, tarfile.ReadError("too many headers of one file")) from error


class _Headers:
    """A tar archive for reading headers: tarfile reads those of one file whole, however long."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._num_bytes = 0
        self.seek, self.tell = stream.seek, stream.tell

    def start_member(self) -> None:
        """What is read from now on belongs to the next file."""
        self._num_bytes = 0

    def read(self, num_bytes: int) -> bytes:
        """Reads so many bytes."""
        if not 0 <= num_bytes <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {num_bytes} bytes")
        self._num_bytes += num_bytes
        if self._num_bytes > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"headers of one file of more than {_MAX_HEADER_BYTES} bytes")
        return self._stream.read(num_bytes)


def _forget_unused(pax_headers: MutableMapping[str, str]) -> None:
    """Of what is said of all files, only the encoding of their names is of use.

    tarfile would keep all of it, however often more comes, and go through it for each file.
    """
    for name in pax_headers.keys() - {"hdrcharset"}:
        del pax_headers[name]


def _require_end(stream: BinaryIO, offset: int) -> None:
    """Raises where no zeros end an archive: tarfile takes a damaged header for the end."""
    stream.seek(offset)
    block = stream.read(tarfile.BLOCKSIZE)
    if not block:
        raise tarfile.ReadError("its end is missing")
    if any(block):
        raise tarfile.ReadError(f"no file starts at byte {offset}")


def _tar_member(member: tarfile.TarInfo) -> Member:
    is_regular = member.isreg() and not member.issparse()
    key = f"{member.offset_data}:{member.size}"
    return Member(_parts(member.name), BYTE_RANGE, key, member.size, "", is_regular)


def _damaged(path: str, error: Exception) -> DataError:
    return DataError(
        f"The archive {display_name(path)} cannot be read: {error or 'it ends early'}.",
        "Copy or download it again: it is damaged, cut short, or no zip or tar archive.",
    )
