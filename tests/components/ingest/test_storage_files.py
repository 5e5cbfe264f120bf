"""Local files: found, described, read within bounds; what cannot be read is set aside by reason."""

import os
import resource
import socket
from pathlib import Path

import pytest

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.sources.items import SourceItem
from slimworks.components.ingest.storage import access


def item(path: Path | str, **facts: object) -> SourceItem:
    return SourceItem("roses/1.jpg", "roses", str(path), **facts)  # type: ignore[arg-type]


def reason(path: Path | str, max_bytes: int = 100, **facts: object) -> str:
    found = access.read_item(item(path, **facts), max_bytes)
    assert isinstance(found, Rejection)
    return found.reason


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "1.jpg"
    path.write_bytes(b"x" * 100)
    return path


def test_a_file_of_the_largest_size_is_read_whole(photo: Path) -> None:
    assert access.read_item(item(photo), 100) == b"x" * 100


def test_a_file_one_byte_too_large_is_set_aside(photo: Path) -> None:
    assert reason(photo, 99) == "too_large"


def test_a_file_that_was_listed_as_too_large_is_not_opened(tmp_path: Path) -> None:
    assert reason(tmp_path / "gone.jpg", 99, size=100) == "too_large"


def test_an_empty_file_is_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    assert access.read_item(item(tmp_path / "1.jpg"), 100) == b""


def test_a_file_that_vanished_is_unreadable_by_name_of_the_reason(tmp_path: Path) -> None:
    found = access.read_item(item(tmp_path / "gone.jpg"), 100)
    assert found == Rejection("unreadable", "No such file or directory")


def test_a_pipe_in_the_place_of_a_listed_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.jpg")
    assert reason(tmp_path / "1.jpg") == "not_a_file"


def test_a_folder_in_the_place_of_a_listed_file_is_no_file(tmp_path: Path) -> None:
    assert reason(tmp_path) == "not_a_file"


def test_a_device_is_not_opened(tmp_path: Path) -> None:
    assert reason("/dev/zero", is_regular=False) == "not_a_file"


def test_undecodable_names_are_read(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.jpg")
    Path(path).write_bytes(b"x")
    assert access.read_item(item(path), 100) == b"x"


def test_walking_finds_files_at_any_depth_with_size_and_version(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1.jpg").write_bytes(b"xyz")
    (tmp_path / "2.jpg").touch()
    found = {file.name: file for file in access.walk_files(str(tmp_path))}
    assert set(found) == {"a/b/1.jpg", "2.jpg"}
    deep = found["a/b/1.jpg"]
    assert (deep.path, deep.size) == (str(tmp_path / "a/b/1.jpg"), 3)
    assert deep == access.FoundFile(
        "a/b/1.jpg", deep.path, 3, str(os.stat(deep.path).st_mtime_ns), is_regular=True
    )


def test_walking_names_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        found = {file.name: file.is_regular for file in access.walk_files(str(tmp_path))}
    assert found == {"link": False, "pipe": False, "socket": False}


def test_names_of_a_folder_are_sorted_and_say_what_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.jpg").touch()
    assert access.list_names(str(tmp_path)) == [("a.jpg", False), ("b", True)]


def test_local_paths_exist_or_not(tmp_path: Path, photo: Path) -> None:
    assert access.exists(str(photo))
    assert access.is_folder(str(tmp_path))
    assert not access.is_folder(str(photo))
    assert not access.exists(str(tmp_path / "gone"))


def test_a_file_is_described_by_its_last_part(photo: Path) -> None:
    found = access.describe_file(str(photo))
    assert (found.name, found.path, found.size) == ("1.jpg", str(photo), 100)


def test_an_opened_file_is_not_decompressed(tmp_path: Path) -> None:
    (tmp_path / "1.gz").write_bytes(b"\x1f\x8bx")
    with access.open_binary(str(tmp_path / "1.gz")) as stream:
        stream.seek(1)
        assert stream.read() == b"\x8bx"


def test_an_unknown_kind_of_uri_names_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        access.is_folder("s4://bucket/photos")
    assert caught.value.cause == (
        "s4:// is no file system that SlimWorks knows. Did you mean 's3'?"
    )
    assert caught.value.fix == "Give a local path, or one that starts with s3://, gs:// or hdfs://."


def test_hdfs_without_a_name_node_says_which_flags_to_add() -> None:
    access.configure(["--hdfs_port=9870"])
    try:
        with pytest.raises(ConfigError) as caught:
            access.is_folder("hdfs://photos")
    finally:
        access.configure([])
    assert (
        caught.value.cause
        == "hdfs:// needs --hdfs_host and --hdfs_user in data.beam_pipeline_args."
    )
    assert "--hdfs_host=NAMENODE" in caught.value.fix


def test_an_exhausted_machine_is_no_files_fault(photo: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(DataError) as caught:
            access.read_item(item(photo), 100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.cause == f"{photo} cannot be read now: Too many open files."
    assert "ulimit -n" in caught.value.fix
