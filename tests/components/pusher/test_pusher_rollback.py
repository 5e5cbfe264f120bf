"""Rolling back: which model comes back, under which number, and what is refused."""

import os
from pathlib import Path

import pytest
from pusher_samples import assert_consistent, digests, events, push, versions, write_model

from slimworks.components.errors import ConfigError
from slimworks.components.pusher import ledger, staging
from slimworks.components.pusher.retention import superfluous
from slimworks.components.pusher.rollback import rollback


def pushed(tmp_path: Path, names: str) -> Path:
    base = tmp_path / "base"
    for name in names:
        push(write_model(tmp_path, name), base, run_id=f"run-{name}")
    return base


def test_rollback_serves_the_model_before_under_the_next_number(tmp_path: Path) -> None:
    base = pushed(tmp_path, "abc")
    published = rollback(base, reason="too many roses")
    assert (published.version, published.path) == (4, base / "4")
    assert digests(base)[4] == digests(base)[2]
    entry = ledger.history(base)[-1]
    assert (entry.event, entry.version, entry.from_version, entry.to_version) == (
        "rolled_back", 4, 3, 2,
    )  # fmt: skip
    assert entry.reason == "too many roses"
    assert entry.facts["run_id"] == "run-b"
    line = ledger.ledger_file(base).read_text(encoding="utf-8").splitlines()[-1]
    assert '"from": 3' in line
    assert '"to": 2' in line
    assert_consistent(base)


def test_rollback_takes_no_room_where_links_work(tmp_path: Path) -> None:
    base = pushed(tmp_path, "ab")
    rollback(base)
    data = "variables/variables.data-00000-of-00001"
    assert os.path.samefile(base / "1" / data, base / "3" / data)


def test_rollback_copies_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError("no links here")

    base = pushed(tmp_path, "ab")
    monkeypatch.setattr(staging.os, "link", no_links)
    rollback(base)
    assert digests(base)[3] == digests(base)[1]
    assert_consistent(base)


def test_second_rollback_goes_further_back(tmp_path: Path) -> None:
    base = pushed(tmp_path, "abc")
    rollback(base)
    assert ledger.why(base, rollback(base).version).to_version == 1
    with pytest.raises(ConfigError, match="no other model came before version 1") as caught:
        rollback(base)
    assert "versions: 2, 3, 4" in caught.value.fix


def test_rollback_to_a_named_version(tmp_path: Path) -> None:
    base = pushed(tmp_path, "abc")
    rollback(base, 1)
    assert ledger.why(base, 4).to_version == 1
    rollback(base, 3)  # and forward again
    assert digests(base)[5] == digests(base)[3]


def test_rollback_with_one_model_has_nowhere_to_go(tmp_path: Path) -> None:
    base = pushed(tmp_path, "a")
    with pytest.raises(ConfigError, match="Nothing to roll back to") as caught:
        rollback(base)
    assert "push.keep_versions" in caught.value.fix
    assert events(base) == [("pushed", 1)]


def test_rollback_to_an_unknown_version_names_the_known_ones(tmp_path: Path) -> None:
    base = pushed(tmp_path, "ab")
    with pytest.raises(ConfigError, match="has no version 9") as caught:
        rollback(base, 9)
    assert caught.value.fix == "On disk are: 1, 2."


def test_rollback_to_a_removed_version_is_refused(tmp_path: Path) -> None:
    base = pushed(tmp_path, "ab")
    push(write_model(tmp_path, "c"), base, keep_versions=2)
    with pytest.raises(ConfigError, match=r"Version 1 of .* is no longer on disk"):
        rollback(base, 1)


def test_rollback_to_the_live_model_is_refused(tmp_path: Path) -> None:
    base = pushed(tmp_path, "ab")
    rollback(base)
    for version in (1, 3):
        with pytest.raises(ConfigError, match=f"Version {version} of .* is the model that is live"):
            rollback(base, version)


def test_rollback_to_a_damaged_version_is_refused(tmp_path: Path) -> None:
    base = pushed(tmp_path, "ab")
    (base / "1" / "variables" / "variables.index").unlink()
    with pytest.raises(ConfigError, match="was changed since it was published"):
        rollback(base)
    assert versions(base) == [1, 2]


def test_rollback_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        rollback(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no version"):
        rollback(tmp_path / "empty")


def test_keep_versions_spares_what_was_just_rolled_back_to(tmp_path: Path) -> None:
    base = pushed(tmp_path, "abc")
    rollback(base, 1, keep_versions=1)
    assert versions(base) == [1, 4]
    push(write_model(tmp_path, "d"), base, keep_versions=1)
    assert versions(base) == [5]
    assert_consistent(base)


def test_live_version_is_never_superfluous() -> None:
    assert superfluous([1, 2, 3], {}, 1) == [2, 1]
    assert superfluous([7], {}, 0) == []
    assert superfluous([], {}, 5) == []
