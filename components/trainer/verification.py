"""Making a training again from its manifest, and comparing the weights.

Two levels, as `determinism.py` reaches them. bit-equal: every bit of every variable. seeded: the
same images, distortions and masks, but sums in any order; roundings grow with the steps, so that
weights differ and only what the model can do is compared: its eval accuracy may differ by
TOLERANCE_DEVIATIONS standard deviations of an accuracy measured on so many images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.checkpoints.digests import Difference, compare_checkpoints
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.trainer import manifest as manifests
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.determinism import BIT_EQUAL, SEEDED
from slimworks.components.trainer.train import TrainInputs, train

EQUAL, WITHIN_TOLERANCE, DIFFERS = "equal", "within tolerance", "differs"
TOLERANCE_DEVIATIONS = 2.0
# What of a manifest's inputs can be passed over, at the price of a comparison of two things.
CHECKED = ("data", "label_map", "checkpoint", "net", "code", "packages")

_SHOWN_PACKAGES = 3


@dataclasses.dataclass(frozen=True)
class Change:
    """An input that is not what it was.

    Attributes:
        name: One of CHECKED.
        detail: What changed, for people.
    """

    name: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Verification:
    """What became of a training that was made again.

    Attributes:
        verdict: EQUAL, WITHIN_TOLERANCE or DIFFERS.
        level: What was to be expected: determinism.BIT_EQUAL or SEEDED.
        weights_digest: Of the recorded training.
        new_weights_digest: Of the one just made.
        best_eval_accuracy: Of the recorded training.
        new_best_eval_accuracy: Of the one just made.
        accuracy_tolerance: How far these may be apart at the level SEEDED.
        differences: Variables that differ, the farthest first; None where the recorded checkpoint
            is gone.
        notes: What is different about this machine, for people.
    """

    verdict: str
    level: str
    weights_digest: str
    new_weights_digest: str
    best_eval_accuracy: float
    new_best_eval_accuracy: float
    accuracy_tolerance: float
    differences: list[Difference] | None
    notes: list[str]


def changed_inputs(manifest: Mapping[str, Any], inputs: TrainInputs) -> list[Change]:
    """Compares what a training was made from with what is there now.

    Args:
        manifest: Content of manifest.json.
        inputs: Where the inputs are now.
    """
    return [
        *_changed_data(manifest["data"], inputs),
        *_changed_checkpoint(manifest["checkpoint"]),
        *_changed_net(manifest.get("net"), manifest["settings"]["model"]),
        *_changed_code(manifest["code"]),
        *_changed_packages(manifest["packages"]["versions"]),
    ]


def _changed_data(data: Mapping[str, Any], inputs: TrainInputs) -> list[Change]:
    found = []
    digest = files.sha256_of_tree(inputs.examples)
    if digest != data["stored_examples_digest"]:
        was, now = data["stored_examples_digest"][:12], digest[:12]
        found.append(Change("data", f"{inputs.examples} was {was}, is {now}"))
    labels = contracts.LabelMap.read(inputs.label_map)
    if labels.digest != data[contracts.LABEL_MAP_DIGEST]:
        was, now = f"version {data[contracts.LABEL_MAP_VERSION]}", f"version {labels.version}"
        found.append(Change("label_map", f"{inputs.label_map} was {was}, is {now}"))
    return found


def _changed_checkpoint(recorded: Mapping[str, Any] | None) -> list[Change]:
    if recorded is None:
        return []
    path = recorded["path"]
    try:
        facts = manifests.checkpoint_facts(path)
    except ConfigError as error:
        return [Change("checkpoint", error.cause)]
    assert facts is not None
    if facts["weights_digest"] == recorded["weights_digest"]:
        return []
    was, now = recorded["weights_digest"][:12], facts["weights_digest"][:12]
    return [Change("checkpoint", f"{path} was {was}, is {now}")]


def _changed_net(recorded: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> list[Change]:
    if recorded is None:
        return []
    try:
        digest = ModelConfig.model_validate(settings).source_digest
    except ConfigError as error:
        return [Change("net", error.cause)]
    if digest == recorded["source_digest"]:
        return []
    was, now = recorded["source_digest"][:12], digest[:12]
    return [Change("net", f"the source of {recorded['name']} was {was}, is {now}")]


def _changed_code(recorded: Mapping[str, Any]) -> list[Change]:
    code = manifests.code_facts()
    if code["digest"] == recorded["digest"]:
        return []
    git = recorded["git"]
    commit = f", commit {git['commit'][:12]}" if git else ""
    changed = " with changes" if git and git["is_changed"] else ""
    was = f"SlimWorks {recorded['version']} ({recorded['digest'][:12]}{commit}{changed})"
    return [Change("code", f"was {was}, is {code['version']} ({code['digest'][:12]})")]


def _changed_packages(recorded: Mapping[str, str]) -> list[Change]:
    now = manifests.installed_packages()["versions"]
    changes = [
        f"{name} {recorded.get(name, 'missing')} -> {now.get(name, 'missing')}"
        for name in sorted({*recorded, *now})
        if recorded.get(name) != now.get(name)
    ]
    if not changes:
        return []
    more = len(changes) - _SHOWN_PACKAGES
    text = ", ".join(changes[:_SHOWN_PACKAGES]) + (f" and {more} more" if more > 0 else "")
    return [Change("packages", text)]


def require_unchanged(changes: list[Change], despite: tuple[str, ...] = ()) -> list[str]:
    """Returns the changes that are passed over, for people.

    Args:
        changes: What `changed_inputs` found.
        despite: Names of inputs that may have changed.

    Raises:
        DataError: Only the data changed.
        ConfigError: Another input changed.
    """
    refused = [change for change in changes if change.name not in despite]
    if refused:
        names = {change.name for change in refused}
        error = DataError if names <= {"data", "label_map"} else ConfigError
        told = "; ".join(f"{change.name}: {change.detail}" for change in refused)
        again = " ".join(f"--despite {name}" for name in CHECKED if name in names)
        raise error(
            f"The training cannot be made again: its inputs changed ({told}).",
            f"Bring back what it was made from, or compare all the same: {again}",
        )
    return [f"{change.name} changed: {change.detail}" for change in changes]


def train_again(manifest: Mapping[str, Any], inputs: TrainInputs, folder: Path) -> None:
    """Trains with a manifest's settings; the model goes to `folder`/model.

    Args:
        manifest: Content of manifest.json.
        inputs: Where the inputs are now.
        folder: For everything that comes up.
    """
    settings = manifest["settings"]
    values = dict(settings["train"])
    if manifest["checkpoint"] is not None:
        values["checkpoint_path"] = manifest["checkpoint"]["path"]
    if values.get("budget_seconds") is not None:
        # The number of steps came from a clock.
        values |= {"budget_seconds": None, "max_number_of_steps": manifest["result"]["num_steps"]}
    train(
        inputs,
        str(folder / "model"),
        str(folder / "work"),
        ModelConfig.model_validate(settings["model"]),
        TrainConfig.model_validate(values),
        ExportConfig.model_validate(settings["export"]),
    )


def compare(
    recorded: Mapping[str, Any], model: Path | None, new_model: Path, num_eval_images: int
) -> Verification:
    """Compares a recorded training with the one just made.

    Args:
        recorded: The recorded manifest.
        model: Folder of the recorded model; None where it is gone.
        new_model: Folder of the model just made, with its manifest.
        num_eval_images: That the accuracies were measured on.
    """
    new = files.read_json(new_model / contracts.MANIFEST_FILE)
    old_result, new_result = recorded["result"], new["result"]
    accuracy, new_accuracy = (r["best_eval_accuracy"] for r in (old_result, new_result))
    levels = [(m.get("determinism") or {}).get("level", SEEDED) for m in (recorded, new)]
    level = BIT_EQUAL if levels == [BIT_EQUAL, BIT_EQUAL] else SEEDED
    tolerance = accuracy_tolerance(accuracy, num_eval_images)
    verdict = DIFFERS
    if old_result["weights_digest"] == new_result["weights_digest"]:
        verdict = EQUAL
    elif level == SEEDED and abs(accuracy - new_accuracy) <= tolerance:
        verdict = WITHIN_TOLERANCE
    return Verification(
        verdict=verdict,
        level=level,
        weights_digest=old_result["weights_digest"],
        new_weights_digest=new_result["weights_digest"],
        best_eval_accuracy=accuracy,
        new_best_eval_accuracy=new_accuracy,
        accuracy_tolerance=tolerance,
        differences=None if model is None else _differences(model, new_model),
        notes=machine_changes(recorded, new),
    )


def accuracy_tolerance(accuracy: float, num_images: int) -> float:
    """How far a second accuracy may be, at the level SEEDED; at least one image.

    An accuracy of 0 or 1 is taken for one image less extreme, which has a deviation.
    """
    likely = min(max(accuracy, 1 / num_images), 1 - 1 / num_images)
    deviation = math.sqrt(max(likely * (1 - likely), 0.0) / num_images)
    return max(TOLERANCE_DEVIATIONS * deviation, 1 / num_images)


def machine_changes(recorded: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changes the order of sums, or the kernels, without being an input."""
    notes = []
    old_flags, new_flags = (set(m["machine"]["cpu_flags"]) for m in (recorded, new))
    if old_flags != new_flags:
        differing = ", ".join(sorted(old_flags ^ new_flags)[:5])
        notes.append(f"another processor: {recorded['machine']['cpu']}; flags differ: {differing}")
    if recorded["machine"]["num_cores"] != new["machine"]["num_cores"]:
        cores = (recorded["machine"]["num_cores"], new["machine"]["num_cores"])
        notes.append(f"{cores[0]} cores then, {cores[1]} now")
    for key, was in recorded["tensorflow"].items():
        if new["tensorflow"].get(key) != was:
            notes.append(f"TensorFlow's {key} was {was}, is {new['tensorflow'].get(key)}")
    return notes


def _differences(model: Path, new_model: Path) -> list[Difference] | None:
    checkpoints = model / contracts.CHECKPOINTS_FOLDER
    if not checkpoints.is_dir():
        return None
    return compare_checkpoints(checkpoints, new_model / contracts.CHECKPOINTS_FOLDER)
