"""Folders in real object stores: whole or not there, whatever is killed or damaged."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gcs_server import gcs_server
from s3_server import S3Server

from slimworks.components import files
from slimworks.components.errors import DataError
from slimworks.components.storage import remote
from slimworks.components.storage.folders import FolderStore

pytestmark = pytest.mark.engine

_STORE = """
import sys
from pathlib import Path
from slimworks.components.storage.folders import FolderStore
FolderStore(sys.argv[1]).store(Path(sys.argv[2]), "artifacts/big")
"""


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    (server.root / "work").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield server
    server.kill()


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("gcs")
    (folder / "data/work").mkdir(parents=True)
    (folder / "data/work/.keep").touch()  # the emulator takes folders with files as buckets
    with pytest.MonkeyPatch.context() as patch, gcs_server(folder / "data") as (url, _):
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        yield


@pytest.fixture(params=["s3", "gs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FolderStore:
    request.getfixturevalue({"s3": "s3", "gs": "gcs"}[request.param])
    remote._store.cache_clear()  # the client of another test's server
    remote.configure(["--no_auth"] if request.param == "gs" else ())
    return FolderStore(f"{request.param}://work/{tmp_path.name}/")


def _write(folder: Path, **contents: bytes) -> Path:
    for name, content in contents.items():
        files.write_bytes(folder / name.replace("__", "/"), content)
    return folder


def test_a_folder_comes_back_as_it_was(store: FolderStore, tmp_path: Path) -> None:
    big = bytes(range(256)) * 40_000  # more than one block
    folder = _write(tmp_path / "model", variables__data=big, empty=b"", copy=big, split__x=b"x")
    store.store(folder, "artifacts/model/1")
    assert store.names("artifacts/model") == ["artifacts/model/1"]
    assert store.fetch("artifacts/model/1", tmp_path / "back")
    assert files.sha256_of_tree(tmp_path / "back") == files.sha256_of_tree(folder)
    objects = list(remote.walk(f"{store.uri}/objects"))
    assert len(objects) == 3, "the same content once"
    wanted = tmp_path / "wanted"
    assert store.fetch("artifacts/model/1", wanted, lambda name: name.startswith("split/"))
    assert list(files.sha256_by_name(wanted)) == ["split/x"]
    assert not store.fetch("artifacts/model/2", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_of_two_writers_of_a_new_folder_one_wins(store: FolderStore, tmp_path: Path) -> None:
    one, other = _write(tmp_path / "one", a=b"1"), _write(tmp_path / "other", a=b"2")
    store.store(one, "state/1", is_new=True)
    with pytest.raises(FileExistsError):
        store.store(other, "state/1", is_new=True)
    store.fetch("state/1", tmp_path / "back")
    assert (tmp_path / "back/a").read_bytes() == b"1"


def test_a_removed_folder_takes_no_file_of_another_one(store: FolderStore, tmp_path: Path) -> None:
    store.store(_write(tmp_path / "one", shared=b"both", own=b"mine"), "work/one")
    store.store(_write(tmp_path / "two", shared=b"both"), "work/two")
    store.remove("work/one")
    store.remove("work/none")
    assert store.names("work") == ["work/two"]
    assert len(list(remote.walk(f"{store.uri}/objects"))) == 1
    assert store.fetch("work/two", tmp_path / "back")


def test_a_damaged_or_missing_object_is_named(store: FolderStore, tmp_path: Path) -> None:
    store.store(_write(tmp_path / "one", a=b"whole"), "artifacts/one")
    (found,) = remote.walk(f"{store.uri}/objects")
    remote.write(found.path, b"wrong")
    with pytest.raises(DataError, match=r"is missing or damaged: a cannot be fetched"):
        store.fetch("artifacts/one", tmp_path / "back")
    assert not (tmp_path / "back/a").exists()
    remote.delete(found.path)
    with pytest.raises(DataError, match="Restore the object"):
        store.fetch("artifacts/one", tmp_path / "back")


def test_a_newer_format_is_refused(store: FolderStore) -> None:
    remote.write(f"{store.uri}/folders/a.json", b'{"format": 2, "files": {}}')
    with pytest.raises(DataError, match="newer SlimWorks"):
        store.files_of("a")


def test_a_killed_upload_leaves_no_half_folder(s3: S3Server, tmp_path: Path) -> None:
    folder = tmp_path / "big"
    for number in range(200):
        files.write_bytes(folder / str(number), bytes([number]) * 100_000)
    uri = f"s3://work/{tmp_path.name}"
    process = subprocess.Popen([sys.executable, "-c", _STORE, uri, str(folder)])
    deadline = time.monotonic() + 60
    objects = s3.root / "work" / tmp_path.name / "objects"
    while len(list(objects.glob("*/*"))) < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait()
    remote._store.cache_clear()
    remote.configure(())
    store = FolderStore(uri)
    assert not store.fetch("artifacts/big", tmp_path / "back")
    before = {path: path.stat().st_mtime_ns for path in objects.glob("*/*") if path.is_file()}
    assert 0 < len(before) < 200, "it was killed in between"
    store.store(folder, "artifacts/big")
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items()), "kept"
    assert store.fetch("artifacts/big", tmp_path / "back")
    assert files.sha256_of_tree(tmp_path / "back") == files.sha256_of_tree(folder)
