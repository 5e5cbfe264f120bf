"""Pushes the model of a run: the last checks, the facts for the ledger, pushed.json."""

from __future__ import annotations

import dataclasses
import datetime
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks import __version__
from slimworks.components import contracts, files, formats
from slimworks.components.errors import ConfigError, ServingError
from slimworks.components.pusher import ledger, manifest, presence
from slimworks.components.pusher.config import PushConfig
from slimworks.components.pusher.destination import open_destination
from slimworks.components.pusher.publish import Published
from slimworks.components.pusher.release import publish_and_label

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
    config: PushConfig,
    published: str = presence.INTACT,
) -> Published:
    """Publishes a blessed model and writes pushed.json into `output_dir`.

    Args:
        inputs: Model, blessing, evaluation.
        base_path: Folder or URI that model servers watch.
        output_dir: Receives pushed.json: version, base_path, pushed_to, digest.
        run_id: The pipeline run.
        config: Label, servers to ask, versions to keep.
        published: The driver's look at the base path.

    Raises:
        ServingError: The gate did not bless the model, or a server does not load it.
        ConfigError: An operator rolled back from this model; or as `publish_and_label`.
    """
    decision = formats.read(Path(inputs.blessing) / contracts.DECISION_FILE)
    if decision.get("blessed") is not True:
        raise ServingError(
            f"The gate did not bless {inputs.model} (verdict: {decision.get('verdict')}): it is "
            "not pushed.",
            "Read the reasons with `slimworks report RUN`; `slimworks push` pushes without a gate.",
        )
    saved_model = Path(inputs.model) / contracts.SAVED_MODEL_FOLDER
    _check_not_rolled_back(manifest.digest_of(saved_model), base_path)
    facts = {**_facts(inputs, decision), "run_id": run_id, presence.PUBLISHED: published}
    result = publish_and_label(
        saved_model,
        base_path,
        facts=facts,
        config=config,
        additions={manifest.FACTS_FILE: _published_facts(facts)},
    )
    value = {
        "version": result.version,
        "base_path": base_path,
        "pushed_to": result.place,
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
    left = ledger.rolled_back_by(digest, open_destination(base_path).history())
    if left is None:
        return
    when = datetime.datetime.fromtimestamp(left.time).strftime("%Y-%m-%d %H:%M")
    raise ConfigError(
        f"This very model was version {left.from_version} of {base_path} until it was rolled "
        f"back on {when} ({left.reason or 'no reason given'}): a run does not undo that.",
        f"Train on other data or settings, or type: "
        f"slimworks rollback {left.from_version} --base-path {shlex.quote(base_path)}",
    )


def _published_facts(facts: Mapping[str, Any]) -> bytes:
    """What the version itself says of its making, beside its own model.json."""
    value = {"run_id": facts["run_id"], "time": ledger.now(), "metrics": facts["metrics"]}
    return manifest.encoded(value)


def _facts(inputs: PromotionInputs, decision: dict[str, Any]) -> dict[str, Any]:
    model = _read(inputs.model, contracts.MODEL_FACTS_FILE)
    metrics = _read(inputs.evaluation, contracts.EVALUATION_METRICS_FILE)
    return {
        "net": model.get("net"),
        **label_map_facts(inputs.model),
        "verdict": decision.get("verdict"),
        "reasons": decision.get("reasons", []),
        # Who pushed past the gate, and why; when is the entry's own time.
        **({"forced": decision["forced"]} if decision.get("forced") else {}),
        "metrics": {key: metrics[key] for key in METRICS if key in metrics},
        "slimworks_version": __version__,
    }


def _read(folder: str | os.PathLike[str], name: str) -> dict[str, Any]:
    path = Path(folder) / name
    value: dict[str, Any] = formats.read(path) if path.is_file() else {}
    return value
