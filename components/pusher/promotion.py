"""Pushes the model of a run: the last checks, the facts for the ledger, pushed.json."""

from __future__ import annotations

import dataclasses
import datetime
import os
from pathlib import Path
from typing import Any

from slimworks import __version__
from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError, ServingError
from slimworks.components.pusher import ledger, presence
from slimworks.components.pusher.publish import Published, publish

METRICS = ("num_images", "accuracy", "accuracy_interval", "macro_f1")  # kept for `slimworks why`


@dataclasses.dataclass(frozen=True)
class PromotionInputs:
    """Folders of the artifacts that speak for a model."""

    model: str
    blessing: str
    evaluation: str


def promote(
    inputs: PromotionInputs,
    base_path: str,
    output_dir: str | os.PathLike[str],
    *,
    run_id: str,
    keep_versions: int,
    published: str = presence.INTACT,
) -> Published:
    """Publishes a blessed model and writes pushed.json into `output_dir`.

    Args:
        inputs: Model, blessing, evaluation.
        base_path: Folder that model servers watch.
        output_dir: Receives pushed.json: version, base_path, pushed_to, digest.
        run_id: The pipeline run.
        keep_versions: Versions that stay on disk.
        published: The driver's look at the base path.

    Raises:
        ServingError: The gate did not bless the model.
        ConfigError: An operator rolled back from this model; or as `publish`.
    """
    decision = files.read_json(Path(inputs.blessing) / contracts.DECISION_FILE)
    if decision.get("blessed") is not True:
        raise ServingError(
            f"The gate did not bless {inputs.model} (verdict: {decision.get('verdict')}): it is "
            "not pushed.",
            "Read the reasons with `slimworks report RUN`; `slimworks push` pushes without a gate.",
        )
    saved_model = Path(inputs.model) / contracts.SAVED_MODEL_FOLDER
    _check_not_rolled_back(files.sha256_of_tree(saved_model), base_path)
    facts = {**_facts(inputs, decision), "run_id": run_id, presence.PUBLISHED: published}
    result = publish(saved_model, base_path, facts=facts, keep_versions=keep_versions)
    value = {
        "version": result.version,
        "base_path": base_path,
        "pushed_to": str(result.path),
        "digest": result.digest,
    }
    files.write_json(Path(output_dir) / contracts.PUSHED_FILE, value)
    return result


def label_map_facts(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What the model.json in `folder` says about the label map; empty for older models."""
    facts = _read(folder, contracts.MODEL_FACTS_FILE)
    keys = (contracts.LABEL_MAP_VERSION, contracts.LABEL_MAP_DIGEST)
    return {key: facts[key] for key in keys if key in facts}


def _check_not_rolled_back(digest: str, base_path: str) -> None:
    left = ledger.rolled_back_by(digest, ledger.history(base_path))
    if left is None:
        return
    when = datetime.datetime.fromtimestamp(left.time).strftime("%Y-%m-%d %H:%M")
    raise ConfigError(
        f"This very model was version {left.from_version} of {base_path} until it was rolled "
        f"back on {when} ({left.reason or 'no reason given'}): a run does not undo that.",
        f"Train on other data or settings, or type: "
        f"slimworks rollback {left.from_version} --base-path {base_path}",
    )


def _facts(inputs: PromotionInputs, decision: dict[str, Any]) -> dict[str, Any]:
    model = _read(inputs.model, contracts.MODEL_FACTS_FILE)
    metrics = _read(inputs.evaluation, contracts.EVALUATION_METRICS_FILE)
    return {
        "net": model.get("net"),
        **label_map_facts(inputs.model),
        "verdict": decision.get("verdict"),
        "reasons": decision.get("reasons", []),
        "metrics": {key: metrics[key] for key in METRICS if key in metrics},
        "slimworks_version": __version__,
    }


def _read(folder: str | os.PathLike[str], name: str) -> dict[str, Any]:
    path = Path(folder) / name
    value: dict[str, Any] = files.read_json(path) if path.is_file() else {}
    return value
