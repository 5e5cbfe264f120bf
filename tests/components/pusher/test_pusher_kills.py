"""Publishers killed with SIGKILL, at every step and at random moments."""

import functools
import random
import subprocess
import tempfile
from pathlib import Path

import pytest
from killed_publishers import at_file_event, survives
from pusher_samples import (
    PUBLISH,
    assert_consistent,
    digests,
    push,
    start,
    told_to_servers,
    versions,
    write_model,
)  # fmt: skip

from slimworks.components import files
from slimworks.components.pusher import ledger, server_files, staging
from slimworks.components.pusher.destination import open_destination
from slimworks.components.pusher.labels import labels_of
from slimworks.components.pusher.release import promote
from slimworks.components.pusher.rollback import rollback


@pytest.fixture
def base(memory: Path) -> Path:
    """A base path where thousands of fsyncs cost nothing."""
    return Path(tempfile.mkdtemp(dir=memory)) / "base"


@pytest.mark.slow
def test_publisher_killed_at_any_step_leaves_whole_versions_only(
    tmp_path: Path, base: Path
) -> None:
    install = at_file_event(base)
    labelled = {"keep_versions": 2, "label": "stable"}
    known = {push(write_model(tmp_path, name), base, **labelled).digest for name in "ab"}
    for step in range(1, 300):
        model = write_model(tmp_path, f"step-{step}")
        known.add(files.sha256_of_tree(model))
        publish_it = functools.partial(push, model, base, run_id="x", **labelled)
        done = survives(step, install, publish_it)
        assert set(digests(base).values()) <= known
        assert_served(base)
        live = max(versions(base))
        published = publish_it()
        assert published.version >= live
        assert ledger.why(base, published.version).facts["run_id"] == "x"
        assert labels_of(ledger.history(base)) == {"stable": published.version}
        assert_consistent(base)
        if done:
            break
    assert done
    assert step > 50  # it was killed at many a step


@pytest.mark.slow
def test_rollback_killed_at_any_step_leaves_whole_versions_only(tmp_path: Path, base: Path) -> None:
    install = at_file_event(base)
    a, b = write_model(tmp_path, "a"), write_model(tmp_path, "b")
    known = {files.sha256_of_tree(a), files.sha256_of_tree(b)}
    for step in range(1, 300):
        if not base.exists() or digests(base)[max(versions(base))] == files.sha256_of_tree(a):
            push(a, base, keep_versions=3, label="stable")
            push(b, base, keep_versions=3, label="stable")
        target = max(v for v, d in digests(base).items() if d == files.sha256_of_tree(a))
        roll_it_back = functools.partial(rollback, base, target, "bad", keep_versions=2)
        done = survives(step, install, roll_it_back)
        assert set(digests(base).values()) == known
        assert_served(base)
        push(a, base, keep_versions=3, label="stable")  # recovers; pushes unless the rollback did
        assert labels_of(ledger.history(base)) == {"stable": max(versions(base))}
        assert_consistent(base)
        if done:
            break
    assert done
    assert step > 30


def test_promotion_killed_at_any_step_moves_the_label_or_does_not(
    tmp_path: Path, base: Path
) -> None:
    install = at_file_event(base)
    push(write_model(tmp_path, "a"), base, label="stable")
    push(write_model(tmp_path, "b"), base, label="canary")
    for step in range(1, 300):
        before = labels_of(ledger.history(base))
        target = 3 - before["stable"]
        done = survives(step, install, functools.partial(promote, base, target))
        assert_served(base)
        with open_destination(base).publishing():
            server_files.write(open_destination(base))
        assert labels_of(ledger.history(base)) in (before, {"stable": target})
        assert_consistent(base)
        if done:
            break
    assert done
    assert step > 10


def assert_served(base: Path) -> None:
    """What models.config tells servers at this very moment is there, whole."""
    labelled = told_to_servers(base)
    assert labelled
    for version in labelled.values():
        assert (base / str(version) / "saved_model.pb").is_file()


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
