"""The ledger's file: torn, damaged, of another format."""

import dataclasses
import json
from pathlib import Path

import pytest
from pusher_samples import assert_consistent, events, push, write_model

from slimworks.components.errors import ConfigError
from slimworks.components.pusher import ledger


@pytest.fixture
def base(tmp_path: Path) -> Path:
    push(write_model(tmp_path, "a"), tmp_path / "base", run_id="run-1")
    push(write_model(tmp_path, "b"), tmp_path / "base", run_id="run-2")
    return tmp_path / "base"


def test_history_of_a_new_base_path_is_empty(tmp_path: Path) -> None:
    assert ledger.history(tmp_path / "nowhere") == []


def test_every_line_has_its_format_and_entries_go_into_json(base: Path) -> None:
    lines = ledger.ledger_file(base).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["format"] for line in lines] == [2, 2]
    for entry in ledger.history(base):
        assert json.loads(json.dumps(dataclasses.asdict(entry)))["version"] == entry.version


@pytest.mark.parametrize("length", [1, 40, -1])
def test_torn_last_line_is_left_out_and_repaired(base: Path, tmp_path: Path, length: int) -> None:
    path = ledger.ledger_file(base)
    line = path.read_bytes().splitlines(keepends=True)[-1]
    with open(path, "ab") as stream:
        stream.write(line[: length - 1 if length < 0 else length])
    assert events(base) == [("pushed", 1), ("pushed", 2)]
    push(write_model(tmp_path, "c"), base)
    assert events(base) == [("pushed", 1), ("pushed", 2), ("pushed", 3)]
    assert_consistent(base)


def test_last_line_that_lacks_only_its_end_is_kept(base: Path, tmp_path: Path) -> None:
    path = ledger.ledger_file(base)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert events(base) == [("pushed", 1), ("pushed", 2)]
    push(write_model(tmp_path, "c"), base)
    assert events(base) == [("pushed", 1), ("pushed", 2), ("pushed", 3)]


def test_last_line_of_zeros_after_a_power_cut_is_repaired(base: Path, tmp_path: Path) -> None:
    with open(ledger.ledger_file(base), "ab") as stream:
        stream.write(b"\0" * 300)
    push(write_model(tmp_path, "c"), base)
    assert_consistent(base)


@pytest.mark.parametrize("line", [b"{", b"[1]", b'{"format": 1, "event": "pushed"}'])
def test_damaged_line_in_the_middle_is_named(base: Path, line: bytes) -> None:
    path = ledger.ledger_file(base)
    first, second = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, second, b""]))
    with pytest.raises(ConfigError, match=r"ledger\.jsonl is damaged in line 2"):
        ledger.history(base)


def test_ledger_of_a_newer_format_is_refused_and_left_alone(base: Path, tmp_path: Path) -> None:
    path = ledger.ledger_file(base)
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps({"format": 3, "something": "else"}) + "\n")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="has format 3 in line 3, this SlimWorks reads 2"):
        push(write_model(tmp_path, "c"), base)
    assert path.read_bytes() == before


def test_why_names_the_run_and_knows_removed_versions(base: Path, tmp_path: Path) -> None:
    push(write_model(tmp_path, "c"), base, keep_versions=1)
    assert ledger.why(base, 1).facts["run_id"] == "run-1"
    with pytest.raises(ConfigError, match=r"never had a version 9\. It has had: 1, 2, 3"):
        ledger.why(base, 9)
