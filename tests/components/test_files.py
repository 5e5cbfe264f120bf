"""Files and folders appear whole, and are readable by whom the umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from slimworks.components import files


@pytest.fixture(params=[0o077, 0o027, 0o022], ids="{:03o}".format)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_umask_says_who_may_read(tmp_path: Path, umask: int) -> None:
    files.write_text(tmp_path / "a.txt", "text")
    files.write_text(tmp_path / "a.txt", "another")
    with files.new_folder(tmp_path / "folder") as folder:
        (folder / "b.txt").write_text("text")

    assert _mode(tmp_path / "a.txt") == 0o666 & ~umask
    assert _mode(tmp_path / "folder") == 0o777 & ~umask
    assert _mode(tmp_path / "folder/b.txt") == 0o666 & ~umask


def test_a_fault_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def fail(stream: BinaryIO) -> None:
        with stream:
            stream.write(b"half")
            raise RuntimeError("stop")

    files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError, match="stop"), files.replaced(tmp_path / "a.txt") as stream:
        fail(stream)
    with pytest.raises(RuntimeError, match="stop"), files.new_folder(tmp_path / "folder") as folder:
        fail((folder / "b.txt").open("wb"))

    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_folder_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError), files.new_folder(tmp_path / "folder") as folder:
        (folder / "b.txt").write_text("new")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
    assert not list((tmp_path / "folder").iterdir())
