"""Folders that look like SavedModels, and publishers as processes of their own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from slimworks.components import contracts, files
from slimworks.components.pusher import labels, ledger, manifest
from slimworks.components.pusher.publish import Published, publish

PUBLISH = """
import json, sys
from slimworks.components.pusher.publish import publish
for model in sys.argv[2:]:
    done = publish(model, sys.argv[1], facts={"model": model}, keep_versions=100,
                   label="stable")
    print(json.dumps({"version": done.version, "already_live": done.already_live}), flush=True)
"""


def write_model(folder: Path, name: str, num_bytes: int = 2_000) -> Path:
    """A folder with the files of a SavedModel; another `name`, another content."""
    model = folder / f"model-{name}"
    for relative in ("saved_model.pb", "variables/variables.index", "assets.extra/warmup"):
        (model / relative).parent.mkdir(parents=True, exist_ok=True)
        (model / relative).write_text(f"{relative} of {name}\n", encoding="utf-8")
    (model / "variables/variables.data-00000-of-00001").write_bytes(name.encode() * num_bytes)
    (model / "assets").mkdir(exist_ok=True)  # empty, as TensorFlow writes it
    return model


def push(
    model: Path,
    base_path: Path | str,
    keep_versions: int = 100,
    label: str | None = None,
    **facts: Any,
) -> Published:
    return publish(model, base_path, facts=facts, keep_versions=keep_versions, label=label)


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> list[Any]:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def events(base_path: Path) -> list[tuple[str, int]]:
    return [(entry.event, entry.version) for entry in ledger.history(base_path)]


def versions(base_path: Path) -> list[int]:
    return sorted(contracts.version_folders(base_path))


def digests(base_path: Path) -> dict[int, str]:
    folders = contracts.version_folders(base_path)
    return {version: manifest.digest_of(folder) for version, folder in folders.items()}


def told_to_servers(base_path: Path) -> dict[str, int]:
    """Version by label in models.config; empty where there is none."""
    path = base_path / ".slimworks" / "models.config"
    if not path.exists():
        return {}
    config = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == (base_path.name, str(base_path))
    loaded = set(model.model_version_policy.specific.versions)
    assert set(model.version_labels.values()) <= loaded <= set(versions(base_path))
    return dict(model.version_labels)


def labels_in_files(base_path: Path) -> dict[str, int]:
    """Version by label in labels.json; empty where there is none."""
    path = base_path / ".slimworks" / "labels.json"
    return dict(files.read_json(path)["labels"]) if path.exists() else {}


def assert_consistent(base_path: Path) -> None:
    """Disk and ledger agree, and nothing unfinished is left."""
    recorded = ledger.current(ledger.history(base_path))
    assert {version: entry.digest for version, entry in recorded.items()} == digests(base_path)
    state = base_path / ".slimworks"
    names = {"ledger.jsonl", "lock", "staging", "manifests", "labels.json", "models.config"}
    assert {path.name for path in state.iterdir()} <= names
    for version, folder in contracts.version_folders(base_path).items():
        kept = files.read_json(state / "manifests" / f"{version}.json")
        assert kept == manifest.manifest_of(folder).to_json(version)
    assert len(list((state / "manifests").iterdir())) == len(recorded)
    found = labels.labels_of(ledger.history(base_path))
    assert labels_in_files(base_path) == told_to_servers(base_path) == found
    assert not list((state / "staging").glob("*"))
    assert all(path.name == ".slimworks" or path.name.isdecimal() for path in base_path.iterdir())
