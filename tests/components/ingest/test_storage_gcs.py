"""Google Cloud Storage through an emulator that speaks its protocol over a folder."""

import os
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
from gcs_server import gcs_server

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.sources.items import SourceItem
from slimworks.components.ingest.storage import access
from slimworks.components.storage import remote

pytestmark = pytest.mark.engine
CONTENT = np.random.default_rng(0).bytes(700_000)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """The emulator with one bucket, `photos`; this process is set up to reach it."""
    folder = tmp_path_factory.mktemp("gcs")
    (folder / "data/photos/roses/red").mkdir(parents=True)
    (folder / "data/photos/roses/red/1.jpg").write_bytes(CONTENT)
    (folder / "data/photos/roses/ä b#?.jpg").write_bytes(b"")
    with (
        pytest.MonkeyPatch.context() as patch,
        gcs_server(folder / "data") as (url, process),
    ):
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        access.configure(["--no_auth", f"--job_name=test-{url.rpartition(':')[2]}"])
        yield process
        access.configure([])


def read(uri: str, max_bytes: int = 1_000_000) -> object:
    return access.read_item(SourceItem("1.jpg", "roses", uri), max_bytes)


@pytest.mark.usefixtures("emulator")
class TestRunningServer:
    def test_files_are_found_at_any_depth_below_a_folder(self) -> None:
        found = {file.name: (file.path, file.size) for file in access.walk_files("gs://photos")}
        assert found == {
            "roses/red/1.jpg": ("gs://photos/roses/red/1.jpg", 700_000),
            "roses/ä b#?.jpg": ("gs://photos/roses/ä b#?.jpg", 0),
        }

    def test_names_of_a_folder_say_what_is_a_folder(self) -> None:
        assert access.list_names("gs://photos/roses/") == [("red", True), ("ä b#?.jpg", False)]

    def test_a_folder_is_told_from_a_file_and_from_the_start_of_a_name(self) -> None:
        assert access.is_folder("gs://photos/roses")
        assert access.exists("gs://photos/roses/red/1.jpg")
        assert not access.is_folder("gs://photos/roses/red/1.jpg")
        assert not access.exists("gs://photos/ros")

    def test_bytes_are_the_files_own(self) -> None:
        assert read("gs://photos/roses/red/1.jpg") == CONTENT
        assert read("gs://photos/roses/ä b#?.jpg") == b""

    def test_a_file_that_is_too_large_or_missing_is_set_aside(self) -> None:
        large = read("gs://photos/roses/red/1.jpg", max_bytes=100)
        assert large == Rejection("too_large", "data.max_file_bytes is 100")
        gone = read("gs://photos/gone.jpg")
        assert gone == Rejection("unreadable", "No such file or directory")

    def test_a_file_has_the_same_version_wherever_it_is_asked_for(self) -> None:
        (listed,) = access.walk_files("gs://photos/roses/red")
        assert access.describe_file("gs://photos/roses/red/1.jpg") == listed

    def test_an_opened_file_can_be_read_at_any_place(self) -> None:
        with access.open_binary("gs://photos/roses/red/1.jpg") as stream:
            stream.seek(-10, os.SEEK_END)
            assert stream.read() == CONTENT[-10:]

    def test_a_bucket_that_is_not_there_stops_the_run(self) -> None:
        with pytest.raises(ConfigError) as caught:
            access.is_folder("gs://fotos/roses")
        assert caught.value.cause == "gs://fotos/roses: there is no bucket 'fotos'."


def test_a_server_that_is_gone_stops_the_run(
    emulator: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "RETRY_SECONDS", 2.0)
    emulator.kill()
    emulator.wait()
    with pytest.raises(DataError, match="cannot be read: its server did not answer for"):
        read("gs://photos/roses/red/1.jpg")
