"""Zip and tar archives, read in place."""

from __future__ import annotations

import io
import os
import shutil
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from source_samples import listed, refused, write_files

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.archive_members import list_members
from slimworks.components.ingest.sources.archives import Arrangement, find_arrangement, place
from slimworks.components.ingest.sources.detect import open_source
from slimworks.components.ingest.sources.items import BYTE_RANGE, ZIP_MEMBER, units_of
from slimworks.components.ingest.storage import access

PETS = ("cats/1.jpg", "dogs/2.jpg")


def zipped(path: Path, *names: str | zipfile.ZipInfo) -> Path:
    """A zip whose members hold their own names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            text = name if isinstance(name, str) else name.filename
            archive.writestr(name, b"" if text.endswith("/") else text.encode())
    return path


def tarred(
    path: Path, *names: str, mode: str = "w", more: Mapping[str, bytes] | None = None
) -> Path:
    """A tar whose members hold their own names; `more`: links, by name with their kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            data = name.encode("utf-8", "surrogateescape")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, kind in (more or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "cats/1.jpg"
            archive.addfile(member)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def test_zip_is_read_in_place(tmp_path: Path) -> None:
    path = zipped(tmp_path / "pets.zip", "cats/", *PETS)
    found = listed(path)
    assert found.names == ["pets.zip/cats/1.jpg", "pets.zip/dogs/2.jpg"]
    item = found.by_name("pets.zip/dogs/2.jpg")
    assert (item.kind, item.key, item.path) == (ZIP_MEMBER, "dogs/2.jpg", str(path))
    assert (item.size, item.split, found.source.format) == (10, None, "archive")
    assert access.read_item(item, 100) == b"dogs/2.jpg"


def test_tar_is_read_in_place(tmp_path: Path) -> None:
    path = tarred(tmp_path / "pets.tar", *PETS)
    item = listed(path).by_name("pets.tar/dogs/2.jpg")
    assert (item.kind, item.path, item.size) == (BYTE_RANGE, str(path), 10)
    assert access.read_item(item, 100) == b"dogs/2.jpg"


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_compressed_tar_is_unpacked_once_into_the_cache(
    tmp_path: Path, cache: str, kind: str
) -> None:
    path = tarred(tmp_path / f"pets.tar.{kind}", *PETS, mode=f"w:{kind}")
    items = [listed(path, download_dir=cache).items for _ in range(2)]
    assert items[0] == items[1]
    assert [access.read_item(item, 100) for item in items[0]] == [b"cats/1.jpg", b"dogs/2.jpg"]
    assert items[0][0].name == f"pets.tar.{kind}/cats/1.jpg"
    assert len(os.listdir(Path(cache) / "unpacked")) == 1


def test_unpacked_copy_follows_the_archive(tmp_path: Path, cache: str) -> None:
    path = tarred(tmp_path / "pets.tgz", *PETS, mode="w:gz")
    first = listed(path, download_dir=cache).items[0]
    tarred(path, *PETS, "birds/3.jpg", mode="w:gz")
    second = listed(path, download_dir=cache).items
    assert len(second) == 3
    assert {item.version for item in second}.isdisjoint({first.version})
    assert len(os.listdir(Path(cache) / "unpacked")) == 1


def test_folder_of_archives_is_a_source(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", *PETS)
    tarred(tmp_path / "b.tar", "cats/1.jpg")
    found = listed(write_files(tmp_path, "LICENSE"))
    assert found.names == ["a.zip/cats/1.jpg", "a.zip/dogs/2.jpg", "b.tar/cats/1.jpg"]
    names = [Path(unit.name).name for unit in units_of(open_source(str(tmp_path), DataConfig()))]
    assert names == ["a.zip", "b.tar"]


def test_archives_named_after_splits_give_splits(tmp_path: Path) -> None:
    for name in ("train", "val"):
        zipped(tmp_path / f"{name}.zip", *PETS)
    assert {item.split for item in listed(tmp_path).items} == {"train", "eval"}


def test_folders_around_the_classes_are_found(tmp_path: Path) -> None:
    wrapped = [f"./data/flower_photos/{name}" for name in (*PETS, "LICENSE.txt")]
    found = listed(tarred(tmp_path / "a.tar", *wrapped, "./README"))
    assert found.classes == ["cats", "dogs"]
    assert found.warnings == ["2 files outside of class folders are ignored."]


@pytest.mark.parametrize(
    ("names", "root", "is_split"),
    [
        (["cats/1.jpg", "dogs/1.jpg"], (), False),
        (["a/cats/1.jpg", "a/dogs/x/1.jpg"], ("a",), False),
        (["a/cats/1.jpg", "a/dogs/1.jpg", "a/cover.jpg"], ("a",), False),
        (["a/cats/1.jpg", "a/cats/2.jpg"], ("a",), False),
        (["a/cats/1.jpg", "a/cats/near/2.jpg"], ("a",), False),
        (["a/cats/1.jpg", "a/dogs/1.jpg", "README.md", "a/birds/1.dat"], ("a",), False),
        (["a/cats/1", "a/dogs/1"], ("a",), False),
        (["train/cats/1.jpg", "test/cats/1.jpg"], (), True),
        (["a/train/cats/1.jpg", "a/Val/cats/1.jpg"], ("a",), True),
        (["a/train/cats/1.jpg", "a/train/dogs/1.jpg"], ("a",), True),
        (["a/train/cats/1.jpg"], ("a",), True),
        (["1.jpg"], (), False),
    ],
)
def test_arrangement(names: list[str], root: tuple[str, ...], is_split: bool) -> None:
    for order in (names, names[::-1]):
        members = [_member(name) for name in order]
        assert find_arrangement(members, "a.zip") == Arrangement(root, is_split)


def _member(name: str):  # type: ignore[no-untyped-def]
    from slimworks.components.ingest.sources.archive_members import Member

    return Member(tuple(name.split("/")), ZIP_MEMBER, name, 1, "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/train/cats/1.jpg", ("cats", "train")),
        ("a/val/cats/x/1.jpg", ("cats", "eval")),
        ("a/train/1.jpg", None),
        ("a/other/cats/1.jpg", None),
        ("a/1.jpg", None),
        ("b/train/cats/1.jpg", None),
    ],
)
def test_place_in_an_arrangement(name: str, expected: object) -> None:
    assert place(tuple(name.split("/")), Arrangement(("a",), is_split=True)) == expected


def test_splits_inside_are_kept(tmp_path: Path) -> None:
    names = [f"data/{split}/{name}" for split in ("train", "test") for name in PETS]
    found = listed(zipped(tmp_path / "a.zip", *names))
    assert {item.split for item in found.items} == {"train", "test"}
    assert found.classes == ["cats", "dogs"]


def test_names_that_lead_elsewhere_are_only_names(tmp_path: Path) -> None:
    names = ("../../cats/1.jpg", "/dogs/2.jpg", "cats/../cats/./3.jpg")
    for path in (zipped(tmp_path / "a.zip", *names), tarred(tmp_path / "a.tar", *names)):
        found = listed(path)
        assert found.names == [
            f"{path.name}/cats/1.jpg", f"{path.name}/cats/cats/3.jpg", f"{path.name}/dogs/2.jpg",
        ]  # fmt: skip
        assert all(isinstance(access.read_item(item, 100), bytes) for item in found.items)


def test_what_systems_leave_behind_and_sidecars_are_left_out(tmp_path: Path) -> None:
    more = ("__MACOSX/cats/._1.jpg", "cats/.DS_Store", "cats/1.xmp", ".git/a/1.jpg", "cats/n.txt")
    assert listed(zipped(tmp_path / "a.zip", *PETS, *more)).names == [
        "a.zip/cats/1.jpg", "a.zip/cats/n.txt", "a.zip/dogs/2.jpg",
    ]  # fmt: skip


def test_names_written_on_windows_are_folders(tmp_path: Path) -> None:
    found = listed(zipped(tmp_path / "a.zip", "cats\\1.jpg", "dogs\\2.jpg"))
    assert found.classes == ["cats", "dogs"]
    assert {access.read_item(item, 100) for item in found.items} == {
        b"cats\\1.jpg",
        b"dogs\\2.jpg",
    }


def test_utf8_names_without_the_flag_are_understood(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "Müller/1.jpg", "dogs/2.jpg")
    data = bytearray(path.read_bytes())
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(start) + flags
        struct.pack_into("<H", data, at, struct.unpack_from("<H", data, at)[0] & ~0x800)
    path.write_bytes(data)
    found = listed(path)
    assert found.classes == ["Müller", "dogs"]
    assert access.read_item(found.items[0], 100) == "Müller/1.jpg".encode()


def test_undecodable_names_in_a_tar_survive(tmp_path: Path) -> None:
    found = listed(tarred(tmp_path / "a.tar", "cats/caf\udce9.jpg", "dogs/2.jpg"))
    assert found.names[0] == "a.tar/cats/caf\udce9.jpg"


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_of_two_zip_members_under_one_name_the_later_counts(tmp_path: Path) -> None:
    found = listed(zipped(tmp_path / "a.zip", *PETS, "cats/1.jpg"))
    assert found.names == ["a.zip/cats/1.jpg", "a.zip/dogs/2.jpg"]


def test_tar_members_under_one_name_get_names_of_their_own(tmp_path: Path) -> None:
    found = listed(tarred(tmp_path / "a.tar", *PETS, "./cats/1.jpg", "cats/1.jpg#3"))
    assert len(set(found.names)) == len(found.names) == 4


def test_links_and_devices_in_a_tar_are_irregular(tmp_path: Path) -> None:
    kinds = {
        "cats/link.jpg": tarfile.SYMTYPE, "cats/hard.jpg": tarfile.LNKTYPE,
        "cats/null.jpg": tarfile.CHRTYPE, "cats/more": tarfile.DIRTYPE,
    }  # fmt: skip
    found = listed(tarred(tmp_path / "a.tar", *PETS, more=kinds))
    irregular = sorted(item.name for item in found.items if not item.is_regular)
    assert irregular == ["a.tar/cats/hard.jpg", "a.tar/cats/link.jpg", "a.tar/cats/null.jpg"]
    assert len(found.items) == 5


def _tar_header(name: str, size: int, kind: bytes) -> bytes:
    """A header in GNU's format, which can say any size."""
    member = tarfile.TarInfo(name)
    member.type = kind
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (size % 256**12 | (0 if size < 0 else 1 << 95)).to_bytes(12, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_of_gigabytes_in_a_tar_fills_no_memory(tmp_path: Path, kind: bytes) -> None:
    with open(tmp_path / "a.tar", "wb") as stream:
        stream.write(_tar_header("cats/1.jpg", 3 << 30, kind))
        stream.seek(3 << 30, os.SEEK_CUR)  # a hole: zeros, without room on the disk
        stream.write(bytes(1024))

    cause, _ = refused(tmp_path / "a.tar", DataError)

    assert cause.endswith("cannot be read: a header of 3221225472 bytes.")


def test_a_tar_that_leads_back_ends(tmp_path: Path) -> None:
    headers = [_tar_header(f"cats/{n}.jpg", size, b"0") for n, size in enumerate((0, 0, -1024))]
    (tmp_path / "a.tar").write_bytes(b"".join(headers) + bytes(1024))

    cause, _ = refused(tmp_path / "a.tar", DataError)

    assert cause.endswith("cannot be read: a file of -1024 bytes.")


def _pax(records: list[tuple[str, str]], kind: bytes) -> bytes:
    """A PAX header; each record says its own length, here in seven digits."""
    texts = [f"{len(name) + len(value) + 10:07d} {name}={value}\n" for name, value in records]
    body = "".join(texts).encode()
    return _tar_header("pax", len(body), kind) + body + bytes(-len(body) % tarfile.BLOCKSIZE)


def test_a_map_of_holes_in_a_tar_fills_no_memory(tmp_path: Path) -> None:
    sparse = {"major": "1", "minor": "0", "name": "cats/1.jpg", "realsize": "5"}
    pax = _pax([(f"GNU.sparse.{name}", value) for name, value in sparse.items()], tarfile.XHDTYPE)
    holes = b"1000000\n" + b"0\n" * 2_000_000  # GNU's version 1.0, which is read block by block
    content = holes + bytes(-len(holes) % tarfile.BLOCKSIZE)
    header = _tar_header("cats/1.jpg", len(content), tarfile.REGTYPE)
    (tmp_path / "a.tar").write_bytes(pax + header + content + bytes(1024))

    cause, _ = refused(tmp_path / "a.tar", DataError)

    assert cause.endswith("cannot be read: headers of one file of more than 1048576 bytes.")


def test_headers_in_a_tar_that_lead_to_headers_end(tmp_path: Path) -> None:
    header = _pax([("comment", "x")], tarfile.XHDTYPE)
    file = _tar_header("cats/1.jpg", 0, tarfile.REGTYPE)
    (tmp_path / "a.tar").write_bytes(header * 1000 + file + bytes(1024))

    assert refused(tmp_path / "a.tar", DataError) == (
        f"The archive {tmp_path / 'a.tar'} cannot be read: too many headers of one file.",
        AGAIN,
    )


def test_what_a_tar_says_of_all_files_does_not_pile_up(tmp_path: Path) -> None:
    with open(tmp_path / "a.tar", "wb") as stream:
        for n in range(20):
            stream.write(_pax([(f"{n}.{m}", "") for m in range(1000)], tarfile.XGLTYPE))
            stream.write(_tar_header(f"cats/{n}.jpg", 0, tarfile.REGTYPE))
        stream.write(bytes(1024))

    tracemalloc.start()
    members = list_members(str(tmp_path / "a.tar"))
    names = [member.parts[-1] for member in members]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert names == [f"{n}.jpg" for n in range(20)]
    assert peak < 1 << 20  # all of them: 2.5 MB


def test_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner", *PETS).read_bytes()
    path = tarred(tmp_path / "a.tar", *PETS)
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("other/inner.zip")
        member.size = len(inner)
        archive.addfile(member, io.BytesIO(inner))
    assert listed(path).classes == ["cats", "dogs", "other"]


# --- What is refused -------------------------------------------------------------------------


AGAIN = "Copy or download it again: it is damaged, cut short, or no zip or tar archive."


@pytest.mark.parametrize("keep", [700, 1024, 1300])
def test_tar_that_is_cut_short(tmp_path: Path, keep: int) -> None:
    path = tarred(tmp_path / "a.tar", *PETS)
    path.write_bytes(path.read_bytes()[:keep])
    cause, fix = refused(path, DataError)
    assert cause.startswith(f"The archive {path} cannot be read: ")
    assert fix == AGAIN


def test_tar_with_a_damaged_header_in_the_middle(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", *PETS, "birds/3.jpg")
    data = bytearray(path.read_bytes())
    data[1024:1030] = b"xxxxxx"
    path.write_bytes(data)
    assert refused(path, DataError) == (
        f"The archive {path} cannot be read: no file starts at byte 1024.",
        AGAIN,
    )


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
@pytest.mark.parametrize("data", [b"", b"no archive" * 100])
def test_files_that_are_no_archives(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    cause, fix = refused(path, DataError)
    assert cause.startswith(f"The archive {path} cannot be read: ")
    assert fix == AGAIN


def test_zip_that_is_cut_short(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", *PETS)
    path.write_bytes(path.read_bytes()[:-30])
    assert refused(path, DataError) == (
        f"The archive {path} cannot be read: File is not a zip file.",
        AGAIN,
    )


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_compressed_tar_that_is_damaged(tmp_path: Path, cache: str, kind: str, damage: str) -> None:
    path = tarred(tmp_path / f"a.tar.{kind}", *PETS, mode=f"w:{kind}")
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) - 20]
    else:
        data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    cause, fix = refused(path, DataError, download_dir=cache)
    assert cause.startswith(f"The archive {path} cannot be unpacked: ")
    assert fix == "Copy or download it again: it is damaged or cut short."
    assert os.listdir(Path(cache) / "unpacked") == []


def test_disk_without_room_for_the_unpacked_copy(
    tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tarred(tmp_path / "a.tgz", *PETS, mode="w:gz")
    usage = shutil.disk_usage(tmp_path)._replace(free=5 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert refused(path, DataError, download_dir=cache) == (
        f"{path} has to be unpacked, and {cache}/unpacked has 5 MB left: 256 MB or more are "
        "needed.",
        "Free some, name another folder with --set data.download_dir=DIR, or unpack it yourself "
        "and give the folder.",
    )


def test_cache_that_is_remote(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tgz", *PETS, mode="w:gz")
    assert refused(path, ConfigError, download_dir="s3://b/cache") == (
        "data.download_dir is s3://b/cache, not a local folder.",
        "Name a folder of this machine: --set data.download_dir=FOLDER",
    )


def test_manifest_inside_an_archive(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "set/images/1.jpg", "set/images/2.jpg", "set/labels.csv")
    assert refused(path, DataError) == (
        f"{path} holds a manifest (a.zip/set/labels.csv): it is not read inside an archive.",
        "Unpack the archive and give the manifest: --data FOLDER/labels.csv",
    )


def test_archive_without_class_folders(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "1.jpg", "2.jpg")
    assert refused(path, DataError) == (
        f"The data source {path} has 2 files but no class folder with files in it.",
        "Pack one folder for each class, such as cats/1.jpg and dogs/1.jpg.",
    )


def test_archive_with_splits_beside_classes(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "train/1.jpg", "plane/1.jpg")
    assert refused(path, ConfigError) == (
        f"{path} holds train beside plane: they could be splits or classes.",
        "Unpack it and give the folder, with --set data.format=folders where all are classes.",
    )


def test_class_folder_with_a_control_character(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", "cats/1.jpg", "do\tgs/2.jpg")
    assert refused(path, DataError) == (
        f"The class folder 'do\\tgs' in {path} has a control character in its name.",
        "Rename the folder and pack it again: labels.txt holds one class name a line.",
    )
