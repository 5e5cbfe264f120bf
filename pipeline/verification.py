"""`slimworks verify`: finds a run's manifest and inputs, trains again, compares."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimworks.components import contracts, formats
from slimworks.components.errors import ConfigError, DataError
from slimworks.pipeline import training

if TYPE_CHECKING:
    from slimworks.components.trainer.train import TrainInputs
    from slimworks.components.trainer.verification import Verification


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A training that can be made again.

    Attributes:
        name: Run id, or folder of the model.
        manifest: Content of manifest.json.
        model: Folder of the model, or None where it is gone.
    """

    name: str
    manifest: Mapping[str, Any]
    model: Path | None


def read_recorded(folder: Path, name: str) -> Recorded:
    """Reads a run's folder, or a model that `slimworks train` wrote.

    Raises:
        ConfigError: There is no manifest of a training, or a newer SlimWorks wrote it.
    """
    path = folder / contracts.MANIFEST_FILE
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist: there is no record to compare with.",
            "Give a run that ended, or the output of `slimworks train`.",
        )
    manifest = formats.read(path)
    if "result" not in manifest:
        raise ConfigError(
            f"{name} trained nothing: its manifest has no result.",
            "List the runs with their states: slimworks runs",
        )
    model = Path(manifest.get("model", folder))
    return Recorded(name, manifest, model if model.is_dir() else None)


def verify(recorded: Recorded, despite: tuple[str, ...]) -> Verification:
    """Makes a training again in a temporary folder and compares the weights.

    Args:
        recorded: The training.
        despite: Names of inputs (trainer/verification.CHECKED) that may have changed.

    Raises:
        DataError: The data changed or are gone.
        ConfigError: Another input changed.
    """
    from slimworks.components.examples.reading import count_examples
    from slimworks.components.trainer import verification

    with tempfile.TemporaryDirectory(prefix="slimworks-verify-") as temporary:
        folder = Path(temporary)
        inputs = _inputs(recorded.manifest, folder)
        changes = verification.changed_inputs(recorded.manifest, inputs)
        notes = verification.require_unchanged(changes, despite)
        verification.train_again(recorded.manifest, inputs, folder)
        num_eval_images = count_examples(inputs.examples, "eval")
        result = verification.compare(
            recorded.manifest, recorded.model, folder / "model", num_eval_images
        )
    return dataclasses.replace(result, notes=[*notes, *result.notes])


def _inputs(manifest: Mapping[str, Any], folder: Path) -> TrainInputs:
    """The stored examples where they are still there, else made again from the ingested ones."""
    from slimworks.components.trainer.train import TrainInputs

    source = manifest["source"]
    label_map = source["label_map"]
    if label_map is None or not Path(label_map).is_dir():
        raise _gone("label map", label_map)
    stored, graph = manifest["data"]["stored_examples"], source["transform_graph"]
    if graph is not None and Path(graph).is_dir() and Path(stored).is_dir():
        return TrainInputs(stored, graph, label_map)
    return _transformed(source, folder)


def _transformed(source: Mapping[str, Any], folder: Path) -> TrainInputs:
    from slimworks.components.transform.config import TransformSettings

    examples = source["examples"]
    if examples is None or not Path(examples).is_dir() or source["transform"] is None:
        raise _gone("ingested examples", examples)
    settings = TransformSettings.model_validate(source["transform"])
    training.transform_into(folder, Path(examples), settings)
    return training.inputs_of(folder, Path(source["label_map"]))


def _gone(what: str, path: str | None) -> DataError:
    return DataError(
        f"The {what} of this training are not there any more: {path}.",
        "Bring the folder back, or ingest and train again.",
    )
