"""Which versions get loaded and unloaded, with a loader that only counts."""

from __future__ import annotations

import pytest

from slimworks.components.serving.request_errors import RequestError
from slimworks.components.serving.versions import State, Versions, find_versions


class Loaded:
    def __init__(self, path, log):
        if (path / "broken").exists():
            raise ValueError("broken")
        self.name, self.log = path.name, log
        log.append(f"load {path.name}")

    def close(self):
        self.log.append(f"close {self.name}")


@pytest.fixture
def log():
    return []


@pytest.fixture
def versions(tmp_path, log):
    return Versions(
        "m",
        str(tmp_path),
        lambda path: Loaded(path, log),
        max_num_load_retries=1,
        load_retry_interval_seconds=0.0,
    )


def add(base, name, *, broken=False):
    (base / name).mkdir()
    if broken:
        (base / name / "broken").touch()


def states(versions):
    return {report.version: report.state for report in versions.reports()}


def test_only_whole_numbers_are_versions(tmp_path):
    for name in ("7", "0000012", ".staging-8", "9.tmp", "v10", "latest", "٣", str(2**63)):
        add(tmp_path, name)
    assert sorted(find_versions(tmp_path)) == [7, 12]


def test_missing_base_path_is_no_version_list(tmp_path):
    assert find_versions(tmp_path / "no") is None


def test_new_version_is_loaded_before_the_old_one_is_unloaded(tmp_path, versions, log):
    add(tmp_path, "1")
    versions.poll()
    add(tmp_path, "2")
    versions.poll()
    assert log == ["load 1", "load 2", "close 1"]
    assert states(versions) == {2: State.AVAILABLE, 1: State.END}


def test_only_the_latest_is_loaded(tmp_path, versions, log):
    for name in ("3", "20", "100"):
        add(tmp_path, name)
    versions.poll()
    assert log == ["load 100"]


def test_version_in_use_is_freed_by_its_last_request(tmp_path, versions, log):
    add(tmp_path, "1")
    versions.poll()
    with versions.acquired(None) as (first, _):
        with versions.acquired(1):
            add(tmp_path, "2")
            versions.poll()
            assert states(versions) == {2: State.AVAILABLE, 1: State.UNLOADING}
        assert "close 1" not in log
        with versions.acquired(None) as (newest, _):
            assert (first, newest) == (1, 2)
    assert log[-1] == "close 1"
    assert states(versions)[1] == State.END


def test_unloading_version_takes_no_new_request(tmp_path, versions):
    add(tmp_path, "1")
    versions.poll()
    with versions.acquired(1):
        add(tmp_path, "2")
        versions.poll()
        with pytest.raises(RequestError, match=r"Specific\(m, 1\)"), versions.acquired(1):
            pass


def test_failed_version_is_not_tried_again_while_its_folder_stays(tmp_path, versions):
    add(tmp_path, "1", broken=True)
    for _ in range(2):
        versions.poll()
    assert [report.version for report in versions.failures()] == [1]
    (tmp_path / "1" / "broken").unlink()
    versions.poll()
    assert states(versions) == {1: State.END}


def test_failed_version_is_tried_again_after_its_folder_was_away(tmp_path, versions):
    add(tmp_path, "1", broken=True)
    for _ in range(2):
        versions.poll()
    (tmp_path / "1").rename(tmp_path / "away")
    versions.poll()
    (tmp_path / "away" / "broken").unlink()
    (tmp_path / "away").rename(tmp_path / "1")
    versions.poll()
    assert states(versions) == {1: State.AVAILABLE}
    assert not versions.failures()


def test_version_is_loading_until_its_last_try(tmp_path, versions):
    add(tmp_path, "1", broken=True)
    versions.poll()
    assert states(versions) == {1: State.LOADING}
    (tmp_path / "1" / "broken").unlink()
    versions.poll()
    (report,) = versions.reports()
    assert (report.state, report.error_code, report.error_message) == (State.AVAILABLE, 0, "")


def test_failing_version_leaves_the_old_one(tmp_path, versions, log):
    add(tmp_path, "1")
    versions.poll()
    add(tmp_path, "2", broken=True)
    for _ in range(3):
        versions.poll()
    assert states(versions) == {2: State.END, 1: State.AVAILABLE}
    assert log == ["load 1"]


def test_empty_base_path_unloads_everything(tmp_path, versions):
    add(tmp_path, "1")
    versions.poll()
    (tmp_path / "1").rmdir()
    versions.poll()
    assert states(versions) == {1: State.END}
    assert not versions.is_available()


def test_missing_base_path_keeps_what_is_loaded(tmp_path, versions):
    add(tmp_path, "1")
    versions.poll()
    tmp_path.rename(tmp_path.with_name("away"))
    try:
        versions.poll()
        assert states(versions) == {1: State.AVAILABLE}
    finally:
        tmp_path.with_name("away").rename(tmp_path)


def test_version_that_was_unloaded_can_come_back(tmp_path, versions, log):
    add(tmp_path, "1")
    versions.poll()
    add(tmp_path, "2")
    versions.poll()
    (tmp_path / "2").rmdir()
    versions.poll()
    assert log == ["load 1", "load 2", "close 1", "load 1", "close 2"]
