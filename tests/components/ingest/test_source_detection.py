"""What `--data` may name, and what happens where it could be two things."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pytest
from source_samples import listed, refused, write_files

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.detect import canonical_source, open_source

ACCEPTED = (
    "Give a folder with one folder for each class, a manifest (.csv, .tsv, .jsonl, .parquet), "
    "TFRecords, or a zip or tar archive: --data PATH"
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pets_manifest(folder: Path, name: str = "labels.csv") -> Path:
    (folder / name).write_text("path,class\nimages/1.jpg,cats\nimages/2.jpg,dogs\n")
    return folder / name


def pets_archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "pets.zip", "w") as archive:
        for name in ("cats/1.jpg", "dogs/2.jpg"):
            archive.writestr(name, name)
    return folder / "pets.zip"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("photos", "{here}/photos"),
        ("./photos/", "{here}/photos"),
        ("file:///photos", "/photos"),
        ("s3://bucket/photos/", "s3://bucket/photos"),
        ("mnist", "mnist"),
        ("./mnist", "{here}/mnist"),
    ],
)
def test_what_a_run_is_recorded_under(here: Path, source: str, expected: str) -> None:
    assert canonical_source(source, DataConfig()) == expected.format(here=here)


def test_home_folder_is_found_without_a_shell(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert canonical_source("~/photos", DataConfig()) == f"{here}/photos"
    (here / "~").mkdir()
    assert canonical_source("~", DataConfig()) == f"{here}/~"


def test_names_of_classic_sets_open_them(here: Path) -> None:
    assert open_source("flowers", DataConfig()).location == "flowers"
    assert open_source("mnist", DataConfig(format="classic")).format == "classic"


def test_name_that_is_a_path_and_a_classic_set(here: Path) -> None:
    write_files(here, "mnist/0/1.png", "mnist/1/2.png")
    assert refused("mnist", ConfigError) == (
        "'mnist' is both a path here and the name of a well-known set.",
        "For the path type --data ./mnist, for the set --set data.format=classic",
    )
    assert listed("./mnist").classes == ["0", "1"]
    assert listed("mnist", format="folders").classes == ["0", "1"]
    assert open_source("mnist", DataConfig(format="classic")).location == "mnist"


def test_source_that_does_not_exist(here: Path) -> None:
    write_files(here, "photos/cats/1.jpg")
    assert refused("photo", ConfigError) == (
        f"The data source {here}/photo does not exist. Did you mean 'photos'?",
        ACCEPTED,
    )
    assert "Did you mean 'cifar10'?" in refused("cifar", ConfigError)[0]
    assert "Did you mean 'mnist'?" in refused("MNIST", ConfigError)[0]
    assert refused("/nowhere/at/all", ConfigError)[0] == (
        "The data source /nowhere/at/all does not exist."
    )


@pytest.mark.parametrize("name", ["/x/folder", "/x/flower_photos", "follow", "floor", "gif"])
def test_a_path_that_is_like_no_classic_set_suggests_none(here: Path, name: str) -> None:
    assert "Did you mean" not in refused(name, ConfigError)[0]


def test_source_on_a_file_system_that_is_none() -> None:
    assert refused("https://x.org/photos.zip", ConfigError) == (
        "The data source https://x.org/photos.zip is no file system: known are gs://, s3:// and "
        "hdfs://.",
        "Download it, then give the file or folder: --data PATH",
    )


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.jpg", b"\xff\xd8\xff\xe0", ": it is one JPEG picture"),
        ("a.txt", b"cats", ""),
        ("a", b"", ""),
        ("a.rar", b"Rar!\x1a\x07", ": it is a RAR archive"),
        ("a.csv.gz", b"\x1f\x8b", ": it is a compressed manifest (unpack it: gunzip 'a.csv.gz')"),
        ("a.json", b"[]",
         ": it is JSON as a whole (one object a line is read, as .jsonl: jq -c '.[]' does it)"),
    ],
)  # fmt: skip
def test_file_that_is_no_source(here: Path, name: str, data: bytes, what: str) -> None:
    (here / name).write_bytes(data)
    assert refused(name, ConfigError) == (
        f"The data source {here}/{name} is a file, but no manifest, TFRecord file or archive"
        f"{what}.",
        ACCEPTED,
    )


@pytest.mark.parametrize("setting", ["folders", "split_folders"])
def test_file_where_a_folder_is_asked_for(here: Path, setting: str) -> None:
    write_files(here, "a.csv")
    assert refused("a.csv", ConfigError, format=setting) == (
        f"The data source {here}/a.csv is a file, not a folder, and data.format is {setting!r}.",
        "Give the folder that holds one folder per class, or --set data.format=auto",
    )


@pytest.mark.parametrize("setting", ["tfrecord", "archive"])
def test_folder_without_the_files_that_are_asked_for(here: Path, setting: str) -> None:
    write_files(here, "cats/1.jpg", "dogs/2.jpg")
    assert refused(".", ConfigError, format=setting) == (
        f"{here} holds none of the files that data.format asks for.",
        "Give the folder that holds them, or let SlimWorks look: --set data.format=auto",
    )


def test_manifest_with_an_unusual_suffix_is_read_where_asked_for(here: Path) -> None:
    pets_manifest(here, "labels.lst")
    assert listed("labels.lst", format="manifest").classes == ["cats", "dogs"]


def test_archive_with_an_unusual_name_is_recognised(here: Path) -> None:
    shutil.move(pets_archive(here), here / "download")
    assert listed("download").source.format == "archive"


def test_manifest_beside_loose_images_is_the_source(here: Path) -> None:
    pets_manifest(write_files(here, "1.jpg", "2.jpg", "README.md"))
    assert listed(".").source.location == f"{here}/labels.csv"


def test_manifest_beside_folders_is_ambiguous(here: Path) -> None:
    pets_manifest(write_files(here, "images/1.jpg", "images/2.jpg", "more/3.jpg"))
    assert refused(".", ConfigError) == (
        f"{here} holds a manifest (labels.csv) and class folders (images, more): it could be read "
        "in 2 ways.",
        "Say which: --set data.format=manifest or --set data.format=folders",
    )
    assert listed(".", format="manifest").classes == ["cats", "dogs"]
    assert listed("labels.csv").classes == ["cats", "dogs"]
    assert listed(".", format="folders").classes == ["images", "more"]


def test_table_that_is_no_manifest_makes_nothing_ambiguous(here: Path) -> None:
    write_files(here, "cats/1.jpg", "dogs/2.jpg")
    (here / "photographers.csv").write_text("file,author\ncats/1.jpg,Ann\n")
    assert listed(".").source.notes.ignored == ["photographers.csv"]


def test_two_manifests_are_ambiguous(here: Path) -> None:
    for name in ("train.csv", "val.csv"):
        pets_manifest(here, name)
    assert refused(".", ConfigError) == (
        f"{here} holds 2 manifests: train.csv, val.csv.",
        f"Give one: --data {here}/train.csv. A column named split can say train, val or test.",
    )


def test_folder_without_the_manifest_that_is_asked_for(here: Path) -> None:
    assert refused(".", ConfigError, format="manifest") == (
        f"{here} holds 0 manifests.",
        f"Give one: --data {here}/labels.csv. A column named split can say train, val or test.",
    )


def test_archive_beside_class_folders_is_ambiguous(here: Path) -> None:
    pets_archive(write_files(here, "birds/1.jpg", "fish/2.jpg"))
    assert refused(".", ConfigError)[0] == (
        f"{here} holds archives (pets.zip) and class folders (birds, fish): it could be read in 2 "
        "ways."
    )
    assert listed(".", format="archive").classes == ["cats", "dogs"]
    assert listed(".", format="folders").classes == ["birds", "fish"]


def test_tfrecords_beside_class_folders_are_ambiguous(here: Path) -> None:
    write_files(here, "birds/1.jpg", "fish/2.jpg", "a.tfrecord")
    assert refused(".", ConfigError) == (
        f"{here} holds TFRecords (a.tfrecord) and class folders (birds, fish): it could be read in "
        "2 ways.",
        "Say which: --set data.format=tfrecord or --set data.format=folders",
    )


def test_own_folders_make_nothing_ambiguous(here: Path) -> None:
    pets_manifest(write_files(here, "1.jpg", "2.jpg", "slimworks-runs/state/x"))
    assert listed(".", own_folders=(f"{here}/slimworks-runs/state",)).source.format == "manifest"


def test_folder_of_the_source_that_cannot_be_read(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: str) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    assert refused(".", DataError) == (
        f"{here} cannot be read: Permission denied.",
        f"Make it readable: chmod u+rx '{here}'",
    )


def test_manifest_that_cannot_be_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> object:
        raise PermissionError(13, "Permission denied")

    pets_manifest(here)
    monkeypatch.setattr("slimworks.components.ingest.storage.access.open_binary", refuse)
    assert refused("labels.csv", DataError)[0] == (
        f"{here}/labels.csv cannot be read: Permission denied."
    )


def test_pipes_are_never_opened(here: Path) -> None:
    os.mkfifo(here / "labels.csv")
    assert refused("labels.csv", ConfigError) == (
        f"The data source {here}/labels.csv is a pipe, a socket or a device.",
        ACCEPTED,
    )
    assert listed(write_files(here, "cats/1.jpg", "dogs/2.jpg")).classes == ["cats", "dogs"]


def test_names_in_messages_stay_in_one_line(here: Path) -> None:
    found = listed(write_files(here, "cats/1.jpg", "dogs/2.jpg", "two\nlines.txt"))
    assert found.source.notes.ignored == ["two\\x0alines.txt"]
