"""Sources as they come from elsewhere: every error says what is wrong with which file."""

import contextlib
import gzip
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_samples import listed, refused, write_files

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.sources.items import ZIP_MEMBER, SourceItem
from slimworks.components.ingest.storage import access

_NOBODY = 65534


@pytest.mark.parametrize("nothing", ["", "  "])
def test_no_source_is_not_the_working_folder(
    nothing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell's variable that is not set must not ingest what lies here."""
    monkeypatch.chdir(write_files(tmp_path, "cats/1.jpg", "dogs/1.jpg"))
    cause, _ = refused(nothing, ConfigError)
    assert cause == "The data source is empty: no path is given."


@pytest.mark.parametrize("source", ["s3://", "gs:///"])
def test_a_uri_without_a_bucket_is_named(source: str) -> None:
    cause, fix = refused(source, ConfigError)
    assert cause == f"The data source {source} names no bucket or server."
    assert "BUCKET/FOLDER" in fix


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("path_column", "path"), ("class_column", "class"), ("split_column", "split"),
        ("group_column", "patient"), ("image_root", "elsewhere"), ("slice_columns", ("camera",)),
        ("labels_file", "labels.txt"),
    ],
)  # fmt: skip
def test_a_setting_for_another_format_is_not_ignored(
    key: str, value: object, tmp_path: Path
) -> None:
    """Groups that nobody reads would leak from train to test."""
    source = write_files(tmp_path, "cats/1.jpg", "dogs/1.jpg")
    cause, fix = refused(source, ConfigError, **{key: value})
    assert cause.startswith(f"data.{key} is set, which tells how a manifest ")
    assert cause.endswith("is read as folders.")
    assert fix.startswith(f"Take data.{key} out, or give a manifest")


def test_the_word_for_no_group_is_no_setting(tmp_path: Path) -> None:
    source = write_files(tmp_path, "cats/1.jpg", "dogs/1.jpg")
    assert listed(source, group_column="").classes == ["cats", "dogs"]


def write_zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


@pytest.mark.parametrize("root", ["train", "photos/train"])
def test_a_file_with_the_name_of_the_folder_around_the_classes_is_ignored(
    root: str, tmp_path: Path
) -> None:
    archive = write_zip(
        tmp_path / "a.zip", root.partition("/")[0], f"{root}/cats/1.jpg", f"{root}/dogs/1.jpg"
    )
    found = listed(archive)
    assert found.classes == ["cats", "dogs"]
    assert found.source.notes.num_ignored == 1


def test_a_zip_that_lies_about_the_coding_of_its_names_says_so(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", "cats/é.jpg", "dogs/1.jpg")
    archive.write_bytes(archive.read_bytes().replace("é".encode(), b"\xe9x"))
    cause, fix = refused(archive, DataError)
    assert cause.endswith(r"says that its names are UTF-8, and one is not: b'cats/\xe9x.jpg'.")
    assert fix.startswith("Unpack it and give the folder")


def test_a_packed_archive_is_called_by_its_own_name_and_not_by_that_of_its_copy(
    tmp_path: Path,
) -> None:
    archive = tmp_path / "photos.tar.gz"
    archive.write_bytes(gzip.compress(b"no tar" * 999))
    cause, _ = refused(archive, DataError, download_dir=str(tmp_path / "cache"))
    assert cause.startswith(f"The archive {archive} cannot be read")


def detail_of(path: Path | str, kind: str = "file") -> str:
    found = access.read_item(SourceItem("a", "cats", str(path), kind, is_regular=False), 100)
    assert isinstance(found, Rejection)
    assert found.reason == "not_a_file"
    return found.detail


def test_what_is_no_file_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert detail_of(tmp_path / "gone.jpg") == "there is no such file"
    assert detail_of(tmp_path / "link.jpg") == "a broken link"
    assert detail_of(tmp_path / "pipe.jpg") == "a pipe, socket or device"
    assert (
        detail_of(tmp_path / "a.zip", ZIP_MEMBER) == "a link, device or sparse file in an archive"
    )


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may enter every folder: as root, the block runs with another user's rights."""
    user = os.geteuid()
    os.seteuid(user or _NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_folder_that_may_be_listed_but_not_entered_is_named() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        os.chmod(folder, 0o755)
        source = write_files(Path(folder), "cats/1.jpg", "dogs/1.jpg")
        listed(source)  # and whatever that imports
        (source / "cats").chmod(0o644)
        with as_nobody():
            cause, fix = refused(source, DataError)
        (source / "cats").chmod(0o755)
    assert cause == f"{source}/cats cannot be read: Permission denied."
    assert fix == f"Make it readable: chmod u+rx '{source}/cats'"
