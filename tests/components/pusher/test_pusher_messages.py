"""What publishing and rolling back tell a user, word for word."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pusher_samples import push, versions, write_model

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError, DataError, ServingError, SlimWorksError
from slimworks.components.pusher import failures, ledger, locking, staging
from slimworks.components.pusher.config import PushConfig
from slimworks.components.pusher.promotion import PromotionInputs, promote
from slimworks.components.pusher.rollback import rollback


def refusal(
    kind: type[SlimWorksError], function: Callable[..., object], *arguments: Any, **options: Any
) -> tuple[str, str]:
    """Cause and fix of the error that a call raises."""
    with pytest.raises(kind) as caught:
        function(*arguments, **options)
    return caught.value.cause, caught.value.fix


def artifacts(folder: Path, name: str, verdict: str = "pass") -> PromotionInputs:
    """The artifacts of a run that trained the model `name`."""
    home = folder / f"run-{name}"
    shutil.copytree(write_model(folder, name), home / "model" / contracts.SAVED_MODEL_FOLDER)
    decision = {"blessed": verdict == "pass", "verdict": verdict, "reasons": []}
    files.write_json(home / "blessing" / contracts.DECISION_FILE, decision)
    return PromotionInputs(*(str(home / name) for name in ("model", "blessing", "evaluation")))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base path with the models a and b as versions 1 and 2."""
    for name in "ab":
        push(write_model(tmp_path, name), tmp_path / "base")
    return tmp_path / "base"


def test_model_that_the_gate_did_not_bless(tmp_path: Path) -> None:
    inputs = artifacts(tmp_path, "a", "inconclusive")
    base = str(tmp_path / "base")
    assert refusal(
        ServingError, promote, inputs, base, tmp_path / "out", run_id="1", config=PushConfig()
    ) == (
        f"The gate did not bless {inputs.model} (verdict: inconclusive): it is not pushed.",
        "Read the reasons with `slimworks report RUN`; `slimworks push` pushes without a gate.",
    )  # fmt: skip
    assert not Path(base).exists()


def test_model_that_the_replay_did_not_bless(tmp_path: Path) -> None:
    from tfx.types import standard_artifacts

    from slimworks.components.pusher.executor import Executor

    replay = standard_artifacts.InfraBlessing()
    replay.uri = str(tmp_path / "replay")
    assert refusal(ServingError, Executor().Do, {"replay": [replay]}, {}, {}) == (
        f"The replay at {tmp_path / 'replay'} did not bless the model: it is not pushed.",
        "Run again with --no-cache=replay.",
    )


@pytest.mark.parametrize("reason", ["", "too many roses"])
def test_model_that_an_operator_rolled_back_from(tmp_path: Path, reason: str) -> None:
    base = str(tmp_path / "base")
    for name in "ab":
        inputs = artifacts(tmp_path, name)
        promote(inputs, base, tmp_path / "out", run_id=name, config=PushConfig())
    rollback(base, reason=reason)
    cause, fix = refusal(
        ConfigError,
        promote,
        inputs,
        base,
        tmp_path / "out",
        run_id="c",
        config=PushConfig(keep_versions=5),
    )
    start, _, end = cause.partition(" rolled back on ")
    assert start == f"This very model was version 2 of {base} until it was"
    assert end.endswith(f" ({reason or 'no reason given'}): a run does not undo that.")
    assert fix.startswith("Train on other data or settings, or type: slimworks rollback 2")
    assert versions(Path(base)) == [1, 2, 3]


def test_folder_that_is_no_model(tmp_path: Path) -> None:
    assert refusal(DataError, push, tmp_path, tmp_path / "base") == (
        f"{tmp_path} holds no saved_model.pb.",
        "Give the output of `slimworks train` or `slimworks export`.",
    )


def test_model_that_changes_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, base = write_model(tmp_path, "a"), tmp_path / "base"
    copy_file = staging.copy_file

    def write_then_copy(source: Path, target: Path) -> None:
        source.write_text("a training writes it again", encoding="utf-8")
        copy_file(source, target)

    monkeypatch.setattr(staging, "copy_file", write_then_copy)
    assert refusal(DataError, push, model, base) == (
        f"{model} changed while it was copied.",
        "Push again when nobody writes to it.",
    )
    assert versions(base) == []
    assert ledger.history(base) == []


def test_base_path_that_another_publisher_holds(tmp_path: Path) -> None:
    with locking.publishing_lock(tmp_path):
        waiting = locking.publishing_lock(tmp_path, wait_seconds=0.01)
        assert refusal(ConfigError, waiting.__enter__) == (
            f"{tmp_path} was locked by process {os.getpid()} for 0.01 seconds.",
            "Let that push or rollback finish, then run again.",
        )


def test_largest_version_there_is(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / str(2**63 - 1)).mkdir(parents=True)
    assert refusal(ConfigError, staging.next_version, base) == (
        f"{base} holds version 9223372036854775807, the largest there is.",
        "Rename that folder to a smaller number.",
    )


def test_base_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    base = tmp_path / "file" / "base"
    cause, fix = refusal(ConfigError, push, write_model(tmp_path, "a"), base)
    assert cause.startswith(f"Cannot publish to {base}: Not a directory (")
    assert cause.endswith("). Nothing was published.")
    assert fix == "A file is where a folder is needed: give another folder as push.base_path."


def test_file_system_that_refuses(tmp_path: Path) -> None:
    def refuse(number: int) -> None:
        with failures.explained(tmp_path):
            raise OSError(number, "No", str(tmp_path / "1"))

    for number, fix in (
        (13, "Allow this user to write there, or give another folder as push.base_path."),
        (28, " or lower push.keep_versions, then run again: finished steps are kept."),
    ):
        cause, found = refusal(ConfigError, refuse, number)
        place = tmp_path / "1"
        assert cause == f"Cannot publish to {tmp_path}: No ({place}). Nothing was published."
        assert found.endswith(fix)
    assert found.startswith("Free space on that volume (")


def test_version_that_the_ledger_does_not_know(base: Path) -> None:
    assert refusal(ConfigError, ledger.why, base, 9) == (
        f"{base} never had a version 9. It has had: 1, 2.",
        "Give one of these; `slimworks history` lists them.",
    )


def test_ledger_that_is_damaged(base: Path) -> None:
    path = ledger.ledger_file(base)
    path.write_bytes(b"[]\n" + path.read_bytes())
    assert refusal(ConfigError, ledger.history, base) == (
        f"{path} is damaged in line 1: not an object.",
        "Restore the file from a backup, or delete that line.",
    )


def test_ledger_of_a_newer_slimworks(base: Path) -> None:
    path = ledger.ledger_file(base)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"format": 3}) + "\n")
    assert refusal(ConfigError, ledger.history, base) == (
        f"{path} has format 3 in line 3, this SlimWorks reads 2.",
        "Upgrade SlimWorks, or give another base path.",
    )


def test_rollback_where_there_is_nothing(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert refusal(ConfigError, rollback, nowhere) == (
        f"{nowhere} does not exist.",
        "Give the folder that holds the version numbers.",
    )
    assert refusal(ConfigError, rollback, tmp_path) == (
        f"{tmp_path} holds no version.",
        "Push one first: `slimworks run`.",
    )


def test_rollback_that_has_no_model_to_go_back_to(base: Path) -> None:
    cause = f"Nothing to roll back to: no other model came before version 1 of {base}."
    rollback(base)
    assert refusal(ConfigError, rollback, base) == (
        cause,
        "Name one of the other models' versions: 2.",
    )
    shutil.rmtree(base / "2")
    assert refusal(ConfigError, rollback, base) == (
        cause,
        "Push another model, or keep more of them: push.keep_versions.",
    )


def test_rollback_to_a_version_that_cannot_be_served(base: Path, tmp_path: Path) -> None:
    push(write_model(tmp_path, "c"), base)
    shutil.rmtree(base / "1")
    (base / "2" / "saved_model.pb").write_text("changed", encoding="utf-8")
    choice = "On disk are: 2, 3."
    assert [refusal(ConfigError, rollback, base, version) for version in (1, 2, 3, 9)] == [
        (f"Version 1 of {base} is no longer on disk.", choice),
        (
            f"{base / '2'} was changed since it was published: it may not work.",
            f"Restore it from a backup, or name another version. {choice}",
        ),
        (f"Version 3 of {base} is the model that is live.", choice),
        (f"{base} has no version 9.", choice),
    ]
