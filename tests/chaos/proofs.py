"""What must hold after a fault, and after the run that follows it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from world import World

from slimworks.components import contracts, files
from slimworks.components.examples.reading import iterate_examples
from slimworks.components.pusher import ledger, manifest, staging
from slimworks.components.pusher.manifest import Manifest
from slimworks.components.serving.client import Client
from slimworks.pipeline import dag
from slimworks.pipeline.facts import RunFacts

_LOAD_SECONDS = 120.0


def check_published(base_path: Path, known: dict[int, str]) -> dict[int, str]:
    """Every version is whole and what it was; returns the digest of each.

    Holds at any moment, so that a version whose publisher was killed may still lack its manifest.
    """
    found: dict[int, str] = {}
    for version, folder in contracts.version_folders(base_path).items():
        consists_of = manifest.manifest_of(folder)
        found[version] = consists_of.digest
        stored = staging.manifest_file(base_path, version)
        if stored.exists():
            assert Manifest.from_json(files.read_json(stored)) == consists_of, f"version {version}"
        else:
            intended = files.read_json(staging.pending_file(base_path))
            assert (intended["version"], intended["digest"]) == (version, consists_of.digest)
    assert known.items() <= found.items(), "an earlier version is lost or changed"
    return found


def check_ledger(base_path: Path, digests: dict[int, str]) -> list[ledger.Entry]:
    """The ledger says what is in the folder, and `history` and `why` say what the ledger says."""
    lines = ledger.ledger_file(base_path).read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") and isinstance(json.loads(line), dict) for line in lines)
    entries = ledger.history(base_path)
    assert len(entries) == len(lines)
    made = [entry.version for entry in entries if entry.event in ledger.MAKING]
    assert made == sorted(set(made)), "version numbers grow"
    current = {entry.version: entry.digest for entry in ledger.current(entries).values()}
    assert current == digests, "the ledger and the folder"
    left = {path.name for path in base_path.iterdir()} - {str(version) for version in digests}
    assert left == {contracts.LEDGER_FOLDER}
    staged = ledger.state_folder(base_path) / staging.STAGING_FOLDER
    assert not staged.exists() or not list(staged.iterdir()), "left by a publisher"
    shown = _asked("history", "--base-path", str(base_path))
    assert [entry["version"] for entry in shown["entries"]] == [e.version for e in entries]
    assert shown["live"] == max(digests)
    why = _asked("why", str(max(digests)), "--base-path", str(base_path))
    assert why["digest"] == digests[max(digests)]
    return entries


def check_run_root(world: World, run_id: str) -> None:
    """ML Metadata and the folders agree; the last run is the newest; nothing is half-done."""
    from slimworks.pipeline import metadata

    paths = world.paths
    for database in (paths.metadata, paths.state / "catalogue.sqlite"):
        connection = sqlite3.connect(database)
        try:
            assert connection.execute("pragma integrity_check").fetchall() == [("ok",)], database
        finally:
            connection.close()
    with metadata.SqliteMetadata(paths.metadata) as handle:
        executions = {
            execution.id: (node, execution.last_known_state)
            for node in dag.NODES
            for execution in metadata.executions_of_node(handle.store, paths.name, node)
        }
    states = {state for _, state in executions.values()}
    assert not states & {metadata.RUNNING, metadata.NEW}, "an execution that nobody executes"
    whole = {id_ for id_, (_, state) in executions.items() if state == metadata.COMPLETE}
    for folder in paths.artifacts.glob("*/*/*"):
        if folder.name.isdecimal():
            assert int(folder.name) in whole, f"a partial output: {folder}"
    assert _asked("show", "--root", str(paths.root))["run_id"] == run_id
    for run in paths.runs.iterdir():
        if (run / "run.json").exists():  # a kill may come before it is written
            assert files.read_json(run / "run.json")["run_id"] == run.name


def splits_of(world: World, run_id: str) -> dict[str, str]:
    """The split of each image, by its id, as the run's ingest wrote it."""
    folder = RunFacts.collect(world.paths, run_id).folder("ingest", "examples")
    assert folder is not None
    return splits_below(folder)


def splits_below(folder: Path) -> dict[str, str]:
    """The split of each image, by its id, of an Examples artifact."""
    found: dict[str, str] = {}
    for split in contracts.SPLITS:
        for example in iterate_examples(folder, split):
            image_id = bytes(example[contracts.IMAGE_ID]).decode()  # type: ignore[arg-type]
            assert image_id not in found, "an image is in two splits"
            found[image_id] = split
    return found


def check_served(address: str, version: int, image: bytes) -> None:
    """A server that has been running all the time serves the newest version, and no broken one."""
    deadline = time.monotonic() + _LOAD_SECONDS
    with Client(address, "tiny") as client:
        while True:
            states = {status.version: status for status in client.status()}
            broken = [s for s in states.values() if s.error_message]
            assert not broken, f"a version that cannot be loaded was published: {broken}"
            answer = client.predict_bytes([image])[0]
            if answer.version == version:
                return
            assert time.monotonic() < deadline, f"version {version} is not served: {states}"
            time.sleep(0.1)


def _asked(*arguments: str) -> Any:
    command = [sys.executable, "-m", "slimworks", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
