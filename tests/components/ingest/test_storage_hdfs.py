"""HDFS through a real name node and data node."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ports import free_port

from slimworks.components.errors import DataError
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.sources.items import SourceItem
from slimworks.components.ingest.storage import access
from slimworks.components.storage import remote

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[3]
_START_SECONDS = 200
CONTENT = np.random.default_rng(0).bytes(700_000)


def _jars() -> Path:
    jars = Path(os.environ.get("SLIMWORKS_ENGINES", ROOT / ".engines")) / "hdfs"
    if not jars.is_dir():
        pytest.skip(f"no HDFS server in {jars}: make engines")
    return jars


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    too_long = threading.Timer(_START_SECONDS, process.kill)
    too_long.start()
    assert process.stdout is not None
    is_ready = any(line == "READY\n" for line in process.stdout)
    too_long.cancel()
    assert is_ready, "the HDFS server does not start"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server with two files below /photos; its WebHDFS port."""
    import hdfs

    port = free_port()
    command = [
        "java", "--add-opens", "java.base/java.lang=ALL-UNNAMED", "-Xmx512m",
        "-cp", f"{_jars()}/*", str(ROOT / "tests/engines/hdfs/HdfsServer.java"),
        str(tmp_path_factory.mktemp("hdfs")), str(port),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            _wait_until_ready(process)
            client = hdfs.InsecureClient(f"http://127.0.0.1:{port}", user=_superuser())
            client.write("/photos/roses/red/1.jpg", CONTENT)
            client.write("/photos/roses/ä b#%20.jpg", b"")
            client.write("/photos/secret.jpg", b"x", permission="600")
            yield port
        finally:
            process.kill()


def _superuser() -> str:
    import getpass

    return getpass.getuser()


def _options(port: int, user: str) -> list[str]:
    return ["--hdfs_host=127.0.0.1", f"--hdfs_port={port}", f"--hdfs_user={user}"]


@pytest.fixture(autouse=True)
def _reached(port: int) -> Iterator[None]:
    access.configure(_options(port, _superuser()))
    yield
    access.configure([])


def read(uri: str, max_bytes: int = 1_000_000) -> Any:
    return access.read_item(SourceItem("1.jpg", "roses", uri), max_bytes)


def test_files_are_found_at_any_depth_below_a_folder() -> None:
    found = {file.name: (file.path, file.size) for file in access.walk_files("hdfs://photos/roses")}
    assert found == {
        "red/1.jpg": ("hdfs://photos/roses/red/1.jpg", 700_000),
        "ä b#%20.jpg": ("hdfs://photos/roses/ä b#%20.jpg", 0),
    }


def test_names_of_a_folder_say_what_is_a_folder() -> None:
    assert access.list_names("hdfs://photos") == [("roses", True), ("secret.jpg", False)]


def test_a_folder_is_told_from_a_file() -> None:
    assert access.is_folder("hdfs://photos/roses")
    assert not access.is_folder("hdfs://photos/roses/red/1.jpg")
    assert access.exists("hdfs://photos/roses")
    assert access.exists("hdfs://photos/roses/red/1.jpg")
    assert not access.exists("hdfs://photos/ros")


def test_bytes_are_the_files_own() -> None:
    assert read("hdfs://photos/roses/red/1.jpg") == CONTENT
    assert read("hdfs://photos/roses/ä b#%20.jpg") == b""


def test_a_file_that_is_too_large_or_missing_is_set_aside() -> None:
    assert read("hdfs://photos/roses/red/1.jpg", max_bytes=100).reason == "too_large"
    assert read("hdfs://photos/gone.jpg") == Rejection("unreadable", "No such file or directory")


def test_a_file_that_may_not_be_read_is_set_aside_alone(port: int) -> None:
    access.configure(_options(port, "somebody"))
    assert read("hdfs://photos/roses/red/1.jpg") == CONTENT
    assert read("hdfs://photos/secret.jpg").detail.startswith("the server refuses it: Permission")


def test_a_file_has_the_same_version_wherever_it_is_asked_for() -> None:
    (listed,) = access.walk_files("hdfs://photos/roses/red")
    assert access.describe_file("hdfs://photos/roses/red/1.jpg") == listed


def test_an_opened_file_can_be_read_at_any_place() -> None:
    with access.open_binary("hdfs://photos/roses/red/1.jpg") as stream:
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == CONTENT[-10:]


def test_full_urls_name_a_server_first(port: int) -> None:
    access.configure([*_options(port, _superuser()), "--hdfs_full_urls"])
    (listed,) = access.walk_files("hdfs://server/photos/roses/red")
    assert read(listed.path) == CONTENT


def test_a_server_that_is_gone_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRY_SECONDS", 1.0)
    access.configure(_options(9, "somebody"))
    with pytest.raises(DataError, match="cannot be read: its server did not answer for"):
        read("hdfs://photos/roses/red/1.jpg")
