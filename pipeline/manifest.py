"""The manifest of a run, or of one `slimworks train`: the training's own, and where its data were.

`components/trainer/manifest.py` writes what went into the training. Here comes what lies before it:
the ingested examples and how they were transformed, so that it can all be done again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.transform.config import SETTINGS_FILE
from slimworks.pipeline.facts import RunFacts

# Of the ingest's summary.json: what says which data they were.
_SUMMARY_KEYS = ("source", "source_digest", "state_id", "span", "num_images", "label_map_version")


def run_manifest(facts: RunFacts, command: str, split_seed: int) -> dict[str, Any]:
    """Returns the manifest of a run; without "result" where it trained nothing.

    Args:
        facts: What the run left behind.
        command: What was typed.
        split_seed: data.split_seed.
    """
    model = facts.folder("trainer", "model")
    value: dict[str, Any] = {"run_id": facts.run_id, "name": facts.paths.name, "command": command}
    if model is None or not (model / contracts.MANIFEST_FILE).is_file():
        return value
    ingest = {name: facts.folder("ingest", name) for name in ("examples", "label_map", "report")}
    source = source_facts(
        examples=_text(ingest["examples"]),
        label_map=_text(ingest["label_map"]),
        transform_graph=_text(facts.folder("transform", "transform_graph")),
        summary=facts.data() or {},
    )
    training = files.read_json(model / contracts.MANIFEST_FILE)
    seeds = {"data.split_seed": split_seed, **training["seeds"]}
    return {**value, "model": str(model), "source": source, **training, "seeds": seeds}


def add_source(model: Path, source: Mapping[str, Any], command: str) -> None:
    """Adds to the manifest beside a model of `slimworks train` what the training cannot know.

    Args:
        model: Folder of the model.
        source: As `source_facts` returns it.
        command: What was typed.
    """
    path = model / contracts.MANIFEST_FILE
    files.write_json(path, {"command": command, "source": source, **files.read_json(path)})


def source_facts(
    *,
    examples: str | None,
    label_map: str | None,
    transform_graph: str | None,
    summary: Mapping[str, Any],
    transform: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What lies before the training.

    Args:
        examples: Ingested examples.
        label_map: Folder of the label map.
        transform_graph: Where it is kept; None where it is removed after training.
        summary: The ingest's summary.json.
        transform: Settings of the transform; by default those of `transform_graph`.
    """
    if transform is None and transform_graph is not None:
        transform = files.read_json(Path(transform_graph) / SETTINGS_FILE)
    splits = summary.get("images_by_split") or {}
    return {
        "examples": examples,
        "label_map": label_map,
        "transform_graph": transform_graph,
        "transform": transform,
        **{key: summary.get(key) for key in _SUMMARY_KEYS},
        "images_by_split": {split: sum(counts.values()) for split, counts in splits.items()},
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
