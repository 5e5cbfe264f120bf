"""`slimworks train`: one training, or one look for a learning rate, on plain paths."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimworks.components import contracts, files
from slimworks.pipeline import budget, manifest
from slimworks.pipeline.config import PipelineConfig
from slimworks.pipeline.dag import checkpoint_state, export_config, transform_settings

if TYPE_CHECKING:
    from slimworks.components.trainer.train import TrainInputs
    from slimworks.components.transform.config import TransformSettings

RATE_FILE = "learning_rate.json"
RATE_CURVE_FILE = "learning_rate.svg"


def train(source: Path, target: Path, config: PipelineConfig, command: str) -> dict[str, Any]:
    """Trains on ingested examples; a killed training goes on when it is asked for again.

    Args:
        source: Output of `slimworks ingest`.
        target: New folder for the model.
        config: The configuration.
        command: What was typed, for the manifest.

    Returns:
        The content of model.json.
    """
    from slimworks.components.trainer.train import train

    started = time.time()
    work = _work_folder(source, target, config)
    if not (work / "transform.done").exists():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        _transformed(source, work, config)
        (work / "transform.done").touch()
    inputs = inputs_of(work, source / "label_map")
    budget.set_training_deadline(work, started, config.train.budget_seconds)
    with files.new_folder(target) as folder:
        facts = train(
            inputs,
            str(folder),
            str(work / "training"),
            config.model,
            config.train,
            export_config(config),
        )
        manifest.add_source(folder, _source_facts(source, config), command)
    shutil.rmtree(work)
    return facts


def _source_facts(source: Path, config: PipelineConfig) -> dict[str, Any]:
    return manifest.source_facts(
        examples=str((source / "examples").resolve()),
        label_map=str((source / "label_map").resolve()),
        transform_graph=None,  # removed with the work folder
        summary=files.read_json(source / "report" / contracts.SUMMARY_FILE),
        transform=transform_settings(config).model_dump(mode="json"),
    )


def _work_folder(source: Path, target: Path, config: PipelineConfig) -> Path:
    """Beside the output, by what goes in: another training never goes on from this one's."""
    key = [source.resolve(), files.sha256_of_file(source / "report" / contracts.SUMMARY_FILE)]
    key += [transform_settings(config).canonical_json(), config.model.canonical_json()]
    key += [config.train.canonical_json(), checkpoint_state(config.train.checkpoint_path)]
    key += [config.model.source_digest]
    digest = hashlib.sha256("\n".join(str(part) for part in key).encode("utf-8")).hexdigest()[:16]
    return target.parent / f".{target.name}.work-{digest}"


def _transformed(source: Path, work: Path, config: PipelineConfig) -> None:
    transform_into(work, source / "examples", transform_settings(config))


def transform_into(work: Path, examples: Path, settings: TransformSettings) -> None:
    """Transforms ingested examples for one training. `inputs_of` says where the result is."""
    from slimworks.components.transform.transform import TransformOutputs, transform

    outputs = TransformOutputs(
        graph_dir=str(work / "transform_graph"), examples_dir=str(work / "examples")
    )
    transform(str(examples), outputs, settings)


def inputs_of(work: Path, label_map: Path) -> TrainInputs:
    """What `transform_into` left in a folder, with a label map."""
    from slimworks.components.trainer.train import TrainInputs

    return TrainInputs(
        examples=str(work / "examples"),
        transform_graph=str(work / "transform_graph"),
        label_map=str(label_map),
    )


def trained_lines(facts: Mapping[str, Any], source: Path, target: Path) -> list[str]:
    """What a training came to, its files, and what to type next."""
    model = shlex.quote(str(target))
    written = {
        f"{contracts.SAVED_MODEL_FOLDER}/": "for TensorFlow Serving and `slimworks serve`",
        f"{contracts.CHECKPOINTS_FOLDER}/": "with TF-Slim's variable names",
        contracts.METRICS_FILE: "losses, accuracies and learning rates by step",
        f"{contracts.LOGS_FOLDER}/": f"tensorboard --logdir {model}/{contracts.LOGS_FOLDER}",
        contracts.MANIFEST_FILE: f"what it was made from: slimworks verify {model}",
    }
    return [
        f"{facts['net']}: best eval accuracy {facts['best_eval_accuracy']:.4f} at step "
        f"{facts['best_step']} of {facts['num_steps']}",
        f"wrote {target}",
        *(f"  {name:<15}{what}" for name, what in written.items()),
        f"next: slimworks evaluate --model {model} --examples {shlex.quote(str(source))} "
        f"--output {shlex.quote(f'{target}-evaluation')}",
    ]


def find_learning_rate(source: Path, target: Path, config: PipelineConfig) -> dict[str, Any]:
    """Sweeps the learning rate; writes the curve and its numbers into a new folder.

    Args:
        source: Output of `slimworks ingest`.
        target: New folder.
        config: The configuration.

    Returns:
        The sweep: rates, losses, what is suggested.
    """
    from slimworks.components.report.rate_curve import write_rate_curve
    from slimworks.components.trainer.find_lr import find_learning_rate

    with tempfile.TemporaryDirectory(prefix="slimworks-find-lr-") as temporary:
        work = Path(temporary)
        _transformed(source, work, config)
        inputs = inputs_of(work, source / "label_map")
        sweep = find_learning_rate(inputs, config.model, config.train)
    with files.new_folder(target) as folder:
        files.write_json(folder / RATE_FILE, sweep.to_json())
        write_rate_curve(
            folder / RATE_CURVE_FILE,
            title=f"{config.model.net}, {config.train.optimizer}",
            rates=sweep.rates,
            losses=sweep.losses,
            smoothed=sweep.smoothed,
            suggested=sweep.suggested,
        )
    return {**sweep.to_json(), "curve": str(target / RATE_CURVE_FILE)}


def sweep_lines(sweep: Mapping[str, Any], target: Path, command: str) -> list[str]:
    """The suggestion, where it comes from, the file, and what to type next."""
    exploded = sweep["exploded"]
    end = "the loss never explodes" if exploded is None else f"it explodes above {exploded:.2g}"
    return [
        f"suggested learning rate: {sweep['suggested']:g}",
        f"  the loss falls fastest at {sweep['steepest']:.2g} and is lowest at "
        f"{sweep['lowest']:.2g}; {end}",
        f"curve: {target / RATE_CURVE_FILE}",
        f"next: {command.replace(' --find-lr', '')} "
        f"--set train.learning_rate={sweep['suggested']:g}, with another --output",
    ]
