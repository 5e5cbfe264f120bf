"""Publishers killed with SIGKILL, at every step and at random moments."""

import random
import signal
import subprocess
from pathlib import Path

import pytest
from pusher_samples import (
    PUBLISH,
    assert_consistent,
    digests,
    push,
    start,
    versions,
    write_model,
)  # fmt: skip

from slimworks.components import files
from slimworks.components.pusher import ledger, staging
from slimworks.components.pusher.rollback import rollback

# Kills itself at the given one of the events that touch the file system below the base path.
_DIE = """
import os, signal, sys
base, countdown = os.path.abspath(sys.argv[1]), int(sys.argv[3])
EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate"}
def hook(event, arguments):
    global countdown
    paths = [os.fsdecode(a) for a in arguments if isinstance(a, (str, bytes, os.PathLike))]
    if event in EVENTS and any(path.startswith(base) for path in paths):
        countdown -= 1
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)
from slimworks.components.pusher import ledger, locking, placement, retention, rollback, staging
from slimworks.components.pusher.publish import publish
real_fsync = os.fsync
def fsync(descriptor):
    hook("open", (base,))  # before each fsync as well: between a write and its being durable
    real_fsync(descriptor)
os.fsync = fsync
sys.addaudithook(hook)
"""
_PUBLISH_AND_DIE = f"{_DIE}\npublish(sys.argv[2], base, facts={{'run_id': 'x'}}, keep_versions=2)"
_ROLL_BACK_AND_DIE = f"{_DIE}\nrollback.rollback(base, int(sys.argv[2]), 'bad', keep_versions=2)"


def survives(script: str, *arguments: object) -> bool:
    process = start(script, *arguments)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode == 0


def test_publisher_killed_at_any_step_leaves_whole_versions_only(tmp_path: Path) -> None:
    base = tmp_path / "base"
    known = {push(write_model(tmp_path, name), base).digest for name in "ab"}
    for step in range(1, 200):
        model = write_model(tmp_path, f"step-{step}")
        known.add(files.sha256_of_tree(model))
        done = survives(_PUBLISH_AND_DIE, base, model, step)
        assert set(digests(base).values()) <= known
        live = max(versions(base))
        published = push(model, base, keep_versions=2, run_id="x")
        assert published.version >= live
        assert ledger.why(base, published.version).facts["run_id"] == "x"
        assert_consistent(base)
        if done:
            break
    assert done
    assert step > 30  # it was killed at many a step


def test_rollback_killed_at_any_step_leaves_whole_versions_only(tmp_path: Path) -> None:
    base = tmp_path / "base"
    a, b = write_model(tmp_path, "a"), write_model(tmp_path, "b")
    known = {files.sha256_of_tree(a), files.sha256_of_tree(b)}
    for step in range(1, 200):
        if not base.exists() or digests(base)[max(versions(base))] == files.sha256_of_tree(a):
            push(a, base, keep_versions=3)
            push(b, base, keep_versions=3)
        target = max(v for v, d in digests(base).items() if d == files.sha256_of_tree(a))
        done = survives(_ROLL_BACK_AND_DIE, base, target, step)
        assert set(digests(base).values()) == known
        push(a, base, keep_versions=3)  # recovers, and pushes unless the rollback did
        assert_consistent(base)
        if done:
            break
    assert done
    assert step > 20


def test_interrupted_rollback_keeps_its_reason(tmp_path: Path) -> None:
    base = tmp_path / "base"
    for name in "ab":
        push(write_model(tmp_path, name), base)
    ledger_before = ledger.ledger_file(base).read_bytes()
    rollback(base, 1, "bad")
    intention = ledger.history(base)[-1].to_json()
    files.write_json(staging.pending_file(base), intention)
    ledger.ledger_file(base).write_bytes(ledger_before)  # as if killed before its line
    push(write_model(tmp_path, "a"), base)
    entry = ledger.why(base, 3)
    assert (entry.event, entry.from_version, entry.to_version) == ("recovered", 2, 1)
    assert entry.reason == "its publisher was interrupted; bad"
    assert_consistent(base)


@pytest.mark.parametrize("seed", [0])
def test_publisher_killed_at_random_moments_is_recovered_from(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    base = tmp_path / "base"
    models = [write_model(tmp_path, f"m{number}", 20_000) for number in range(40)]
    known = {files.sha256_of_tree(model) for model in models}
    for _ in range(15):
        process = start(PUBLISH, base, *models)
        assert process.stdout is not None
        process.stdout.readline()  # it is past its imports
        try:
            process.wait(timeout=moments.uniform(0.0, 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate(timeout=60)
        assert set(digests(base).values()) <= known
        moments.shuffle(models)
    push(write_model(tmp_path, "last"), base)
    assert_consistent(base)
    assert versions(base)[-1] - versions(base)[0] == len(versions(base)) - 1  # none burnt
