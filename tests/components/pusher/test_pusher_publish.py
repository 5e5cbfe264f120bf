"""Publishing: what appears, under which number, and what is refused."""

import errno
import fcntl
import stat
from pathlib import Path
from typing import Any

import pytest
from pusher_samples import (
    PUBLISH,
    assert_consistent,
    digests,
    events,
    finish,
    push,
    start,
    versions,
    write_model,
)  # fmt: skip

from slimworks.components import files
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.pusher import failures, ledger, locking, placement
from slimworks.components.pusher.publish import publish


def test_publish_writes_the_model_as_the_next_version(tmp_path: Path) -> None:
    base = tmp_path / "serving" / "flowers"
    first = push(write_model(tmp_path, "a"), base, run_id="run-1")
    second = push(write_model(tmp_path, "b"), base)
    assert (first.version, first.path, first.already_live) == (1, base / "1", False)
    assert (second.version, second.path) == (2, base / "2")
    assert files.sha256_of_tree(base / "1") == first.digest
    assert (base / "1" / "assets").is_dir()
    assert ledger.why(base, 1).facts == {"run_id": "run-1", "digest": first.digest}
    assert_consistent(base)


def test_published_files_can_be_read_by_the_server(tmp_path: Path) -> None:
    model = write_model(tmp_path, "a")
    (model / "saved_model.pb").chmod(0o600)
    published = push(model, tmp_path / "base")
    for path in (published.path, published.path / "saved_model.pb"):
        assert path.stat().st_mode & stat.S_IROTH, path


def test_live_model_is_not_pushed_again(tmp_path: Path) -> None:
    model, base = write_model(tmp_path, "a"), tmp_path / "base"
    push(model, base)
    again = push(model, base)
    assert (again.version, again.already_live) == (1, True)
    assert events(base) == [("pushed", 1)]


def test_earlier_model_that_is_no_longer_live_is_pushed_again(tmp_path: Path) -> None:
    base, a = tmp_path / "base", write_model(tmp_path, "a")
    push(a, base)
    push(write_model(tmp_path, "b"), base)
    assert push(a, base).version == 3


def test_live_version_that_was_damaged_is_pushed_again(tmp_path: Path) -> None:
    model, base = write_model(tmp_path, "a"), tmp_path / "base"
    (push(model, base).path / "variables" / "variables.index").unlink()
    assert push(model, base).version == 2


@pytest.mark.parametrize("taken", ["41", "00000041"])
def test_version_is_above_everything_on_disk(tmp_path: Path, taken: str) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / taken).write_text("even a file counts for TensorFlow Serving")
    (base / "v99").mkdir()
    assert push(write_model(tmp_path, "a"), base).version == 42


def test_version_is_above_everything_in_the_ledger(tmp_path: Path) -> None:
    base = tmp_path / "base"
    push(write_model(tmp_path, "a"), base)
    last = push(write_model(tmp_path, "b"), base)
    last.path.rename(tmp_path / "elsewhere")
    assert push(write_model(tmp_path, "c"), base).version == 3


def test_publish_refuses_when_the_largest_version_is_taken(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / str(2**63 - 1)).mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds version 9223372036854775807, the largest"):
        push(write_model(tmp_path, "a"), base)


def test_publish_names_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no saved_model\.pb"):
        push(tmp_path, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_keep_versions_removes_the_oldest_and_says_so(tmp_path: Path) -> None:
    base = tmp_path / "base"
    for name in "abcd":
        push(write_model(tmp_path, name), base, keep_versions=2)
    assert versions(base) == [3, 4]
    assert [version for event, version in events(base) if event == "removed"] == [1, 2]
    assert ledger.history(base)[-1].reason == "keep_versions is 2"
    assert_consistent(base)


def test_lower_keep_versions_makes_room_before_the_copy(tmp_path: Path) -> None:
    base = tmp_path / "base"
    for name in "abc":
        push(write_model(tmp_path, name), base)
    large = write_model(tmp_path, "d", num_bytes=1 << 20)
    assert finish(start(_IN_LITTLE_ROOM, base, large, 1 << 16, 2)) == [1]
    assert versions(base) == [2, 3]


def test_version_of_unknown_origin_gets_a_line(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    write_model(tmp_path, "foreign").rename(base / "7")
    push(write_model(tmp_path, "a"), base)
    assert events(base) == [("recovered", 7), ("pushed", 8)]
    assert "not put here by SlimWorks" in str(ledger.why(base, 7).reason)


def test_removed_version_that_was_restored_keeps_its_facts(tmp_path: Path) -> None:
    base, a = tmp_path / "base", write_model(tmp_path, "a")
    push(a, base, run_id="run-1")
    push(write_model(tmp_path, "b"), base, keep_versions=1)
    a.rename(base / "1")
    push(write_model(tmp_path, "c"), base)
    entry = ledger.why(base, 1)
    assert (entry.event, entry.facts["run_id"]) == ("recovered", "run-1")
    assert_consistent(base)


def test_two_publishers_at_once_do_not_clash(tmp_path: Path) -> None:
    base = tmp_path / "base"
    models = [write_model(tmp_path, name) for name in "abcdefgh"]
    processes = [start(PUBLISH, base, *models[:4]), start(PUBLISH, base, *models[4:])]
    answers = [answer for process in processes for answer in finish(process)]
    assert sorted(answer["version"] for answer in answers) == list(range(1, 9))
    assert len(set(digests(base).values())) == 8
    assert [version for _, version in events(base)] == list(range(1, 9))
    assert_consistent(base)


def test_publisher_without_a_working_lock_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    place = placement.place

    def late(*arguments: Any) -> Path:
        monkeypatch.setattr(placement, "place", place)
        push(write_model(tmp_path, "quick"), base)  # by another machine, at the same moment
        return place(*arguments)

    monkeypatch.setattr(placement, "place", late)
    monkeypatch.setattr(locking.fcntl, "flock", lambda *_: None)
    with pytest.raises(ConfigError, match="Nothing was published") as caught:
        push(write_model(tmp_path, "slow"), base)
    assert "locks do not work on this volume" in caught.value.fix
    assert push(write_model(tmp_path, "slow"), base).version == 2
    assert (base / "1" / "saved_model.pb").read_text() == "saved_model.pb of quick\n"
    assert_consistent(base)


def test_lock_that_is_never_freed_is_reported(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with (
        locking.publishing_lock(base),
        pytest.raises(ConfigError, match=r"was locked by process \d+ for 0\.1 seconds"),
        locking.publishing_lock(base, wait_seconds=0.1),
    ):
        pass
    with open(base / ".slimworks" / "lock", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # freed


_IN_LITTLE_ROOM = """
import resource, sys
from slimworks.components.errors import ConfigError
from slimworks.components.pusher.publish import publish
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
try:
    publish(sys.argv[2], sys.argv[1], facts={}, keep_versions=int([*sys.argv, 5][4]))
except ConfigError as error:
    assert error.exit_code == 2
    assert "Nothing was published" in error.cause, error.cause
    assert "Free space on that volume" in error.fix, error.fix
    print("1")
"""


def test_full_disk_while_copying_publishes_nothing(tmp_path: Path) -> None:
    base = tmp_path / "base"
    push(write_model(tmp_path, "a"), base)
    large = write_model(tmp_path, "b", num_bytes=1 << 20)
    assert finish(start(_IN_LITTLE_ROOM, base, large, 1 << 16)) == [1]
    assert versions(base) == [1]
    assert_consistent(base)


def test_full_disk_while_writing_the_ledger_takes_the_version_back(tmp_path: Path) -> None:
    base = tmp_path / "base"
    push(write_model(tmp_path, "a"), base, note="x" * (1 << 16))
    before = ledger.ledger_file(base).read_bytes()
    assert finish(start(_IN_LITTLE_ROOM, base, write_model(tmp_path, "b"), 1 << 16)) == [1]
    assert ledger.ledger_file(base).read_bytes() == before
    assert versions(base) == [1]
    assert_consistent(base)


def test_file_in_place_of_the_base_path_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for base in (tmp_path / "file", tmp_path / "file" / "flowers"):
        with pytest.raises(ConfigError, match=r"Cannot publish to .*file") as caught:
            push(write_model(tmp_path, "a"), base)
        assert "A file is where a folder is needed" in caught.value.fix


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        (errno.EACCES, "Allow this user to write there"),
        (errno.EROFS, "Allow this user to write there"),
        (errno.ENOSPC, "Free space on that volume"),
        (errno.ENOTEMPTY, "locks do not work on this volume"),
    ],
)
def test_refusals_of_the_file_system_come_with_a_fix(tmp_path: Path, code: int, fix: str) -> None:
    place = tmp_path / "not" / "yet"
    with (
        pytest.raises(ConfigError, match="Nothing was published") as caught,
        failures.explained(place),
    ):
        raise OSError(code, "no", "place")
    assert fix in caught.value.fix


def test_other_faults_of_the_file_system_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="broken"), failures.explained(tmp_path):
        raise OSError(errno.EIO, "broken")


def test_facts_with_nan_are_refused_before_anything_appears(tmp_path: Path) -> None:
    base = tmp_path / "base"
    facts = {"accuracy": float("nan")}
    with pytest.raises(ValueError, match="Out of range float"):
        publish(write_model(tmp_path, "a"), base, facts=facts, keep_versions=5)
    assert versions(base) == []
