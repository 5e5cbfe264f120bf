"""Every format on a real S3 server: found, listed, and its bytes read."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import S3Server
from source_samples import Listed, listed, refused, slim, write_files, write_records

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.storage import access

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.kill()


@pytest.fixture
def bucket(running: S3Server) -> Iterator[Path]:
    """Folder behind s3://photos, empty at first."""
    folder = running.root / "photos"
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    running.client().create_bucket(Bucket="photos")
    access.configure(running.options())
    yield folder
    access.configure([])


def contents(found: Listed) -> dict[str, object]:
    return {item.name: access.read_item(item, 10_000) for item in found.items}


def test_class_folders(bucket: Path) -> None:
    write_files(bucket / "set", "cats/1.jpg", "cats/a/2.jpg", "dogs/3.jpg", "dogs/3.json", "a.txt")
    write_files(bucket / "set", "dogs/.hidden/1.jpg", "cats/Thumbs.db")
    found = listed("s3://photos/set/")
    assert contents(found) == {
        "cats/1.jpg": b"cats/1.jpg", "cats/a/2.jpg": b"cats/a/2.jpg", "dogs/3.jpg": b"dogs/3.jpg",
    }  # fmt: skip
    item = found.by_name("dogs/3.jpg")
    assert (item.path, item.class_name, item.size) == ("s3://photos/set/dogs/3.jpg", "dogs", 10)
    assert item.version
    assert found.source.location == "s3://photos/set"
    assert found.source.notes.ignored == ["a.txt"]


def test_split_folders(bucket: Path) -> None:
    write_files(bucket / "set", "train/cats/1.jpg", "train/dogs/2.jpg", "val/cats/3.jpg")
    found = listed("s3://photos/set")
    assert {item.name: item.split for item in found.items} == {
        "train/cats/1.jpg": "train", "train/dogs/2.jpg": "train", "val/cats/3.jpg": "eval",
    }  # fmt: skip


def test_manifest_with_relative_paths_and_uris(bucket: Path) -> None:
    write_files(bucket / "set", "images/1.jpg", "more/2.jpg")
    (bucket / "set" / "labels.csv").write_text(
        "path,class\nimages/1.jpg,cats\ns3://photos/set/more/2.jpg,dogs\nimages/gone.jpg,dogs\n"
    )
    found = listed("s3://photos/set/labels.csv")
    assert [(item.name, item.size) for item in found.items] == [
        ("images/1.jpg", 12), ("more/2.jpg", 10), ("images/gone.jpg", -1),
    ]  # fmt: skip
    assert contents(found)["more/2.jpg"] == b"more/2.jpg"


def test_tfrecords(bucket: Path) -> None:
    write_records(bucket / "set" / "train.tfrecord", [slim(0, b"first"), slim(1, b"second")])
    (bucket / "set" / "labels.txt").write_text("0:cats\n1:dogs\n")
    found = listed("s3://photos/set")
    assert contents(found) == {"train.tfrecord#1": b"first", "train.tfrecord#2": b"second"}
    assert found.classes == ["cats", "dogs"]


def test_archives(bucket: Path, tmp_path: Path) -> None:
    (bucket / "set").mkdir()
    names = ("cats/1.jpg", "dogs/2.jpg")
    with zipfile.ZipFile(bucket / "set" / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name)
    for file, mode in (("b.tar", "w"), ("c.tgz", "w:gz")):
        with tarfile.open(bucket / "set" / file, mode) as tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(name)
                tar.addfile(member, io.BytesIO(name.encode()))
    found = listed("s3://photos/set", download_dir=str(tmp_path))
    assert contents(found) == {
        f"{file}/{name}": name.encode() for file in ("a.zip", "b.tar", "c.tgz") for name in names
    }


def test_source_that_does_not_exist(bucket: Path) -> None:
    assert refused("s3://photos/nothing", ConfigError)[0] == (
        "The data source s3://photos/nothing does not exist."
    )


def test_one_folder_around_the_classes(bucket: Path) -> None:
    write_files(bucket, "set/photos/cats/1.jpg", "set/photos/dogs/1.jpg")
    assert refused("s3://photos/set", DataError)[1] == (
        "If the classes are the folders inside it, give --data 's3://photos/set/photos'"
    )
