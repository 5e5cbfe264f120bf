"""Trains and exports: a plain function of paths and settings."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

import slimworks
from slimworks.components import contracts, files
from slimworks.components.checkpoints import restore as checkpoint_restore
from slimworks.components.export.served_model import ServedModel, inference_network
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.spec import NetSpec
from slimworks.components.preprocessing.families import get_preprocessing
from slimworks.components.trainer import dataset, outputs, steps
from slimworks.components.trainer.budget import deadline_of
from slimworks.components.trainer.calibrating import calibrate
from slimworks.components.trainer.cluster import (
    Cluster,
    check_cluster,
    cluster_from_environment,
    require_chief,
)
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.determinism import determinism_facts, make_deterministic
from slimworks.components.trainer.distribution import Distribution, lost_workers_reported, start
from slimworks.components.trainer.finishing import load_best
from slimworks.components.trainer.job import TrainingJob
from slimworks.components.trainer.kubernetes_api import KubernetesApi
from slimworks.components.trainer.launch import SEVERAL_PROCESSES, Workers
from slimworks.components.trainer.learning_rate import batch_norm_decay
from slimworks.components.trainer.loop import Plan, deferred_interrupts
from slimworks.components.trainer.manifest import checkpoint_facts, result_facts, training_manifest
from slimworks.components.trainer.moving_averages import MovingAverages
from slimworks.components.trainer.phases import Phase, plan_phases
from slimworks.components.trainer.precision import bfloat16_if
from slimworks.components.trainer.state import Progress, TrainingState
from slimworks.components.trainer.summaries import Summaries
from slimworks.components.trainer.tfjob_run import POD_NAME_VARIABLE, TFJobRun, pod_settings
from slimworks.components.trainer.trained_answers import trained_answers
from slimworks.components.trainer.training import Training
from slimworks.components.trainer.warmup_requests import write_warmup_requests
from slimworks.components.transform.attach import decode_with_transform_graph

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class TrainInputs:
    """Folders that a training reads.

    Attributes:
        examples: Transformed examples (splits train and eval).
        transform_graph: TFT's output: becomes the head of the exported graph.
        label_map: Class names by index.
    """

    examples: str
    transform_graph: str
    label_map: str


def train(
    inputs: TrainInputs,
    output_dir: str,
    work_dir: str,
    model: ModelConfig,
    config: TrainConfig,
    export: ExportConfig,
) -> dict[str, Any]:
    """Trains a network, keeps the best by eval accuracy and exports it.

    Args:
        inputs: What to read.
        output_dir: Gets saved_model/, checkpoints/, metrics.jsonl, logs/, manifest.json and
            model.json.
        work_dir: Unfinished work. The same folder again continues from its last checkpoint.
        model: Network and input size.
        config: Training settings.
        export: What the exported model answers.

    Returns:
        The content of model.json.

    Raises:
        ConfigError: The checkpoint or the scopes do not fit.
        TrainingError: Losses are no numbers, a single image needs more memory than there is, or
            the disk is full.
    """
    cluster = cluster_from_environment()
    check_cluster(cluster, config)
    job = TrainingJob(dataclasses.asdict(inputs), output_dir, work_dir, model, config, export)
    if config.distribution not in SEVERAL_PROCESSES:
        return take_part(job, None)
    if cluster is not None:
        require_chief(cluster, job.path)
    pod = pod_settings() if cluster is None else None
    workers: Workers | TFJobRun
    if pod is not None:
        own_pod = os.environ.get(POD_NAME_VARIABLE, "")
        workers = TFJobRun(job, pod, KubernetesApi.in_cluster(), own_pod)
    else:
        workers = Workers(job, cluster, len(tf.config.list_physical_devices("GPU")))
    with deferred_interrupts() as interrupt:
        workers.run(interrupt.is_set)
    facts: dict[str, Any] = files.read_json(Path(output_dir) / contracts.MODEL_FACTS_FILE)
    return facts


def take_part(job: TrainingJob, cluster: Cluster | None) -> dict[str, Any]:
    """Does this process's part of a training: see `train`; only the chief has a result.

    Raises:
        WorkerLostError: Another process died; all have to start again.
    """
    with lost_workers_reported(cluster):
        distribution = start(job.config, cluster)
        with distribution.own_work_folder(job.work_dir) as own_work:
            facts = _train(dataclasses.replace(job, work_dir=own_work), distribution)
            distribution.barrier()  # none leaves before the chief has written everything
    return facts


def _train(job: TrainingJob, distribution: Distribution) -> dict[str, Any]:
    inputs, config, export = TrainInputs(**job.inputs), job.config, job.export
    prepared = prepare(inputs, job.work_dir, job.model, config, distribution)
    training, phases, labels = prepared.training, prepared.phases, prepared.labels
    examples, plan, progress = training.examples, training.plan, training.progress
    with contextlib.closing(training.summaries), bfloat16_if(config.bfloat16):
        phases = training.run(phases, is_resumed=prepared.is_resumed)
    plan = dataclasses.replace(plan, num_steps=phases[-1].end)  # a deadline may have cut some
    if not distribution.is_chief:
        return {}
    training = _alone(training)
    batch_norm = load_best(training, phases[-1])
    facts = _facts(
        training.module.spec, examples, labels, config, plan, progress, phases, distribution.facts
    )
    facts["batch_norm"] = batch_norm
    network = inference_network(training.module)
    with training.averaged():
        calibration, facts["calibration"] = calibrate(training, network, labels.class_names, export)
    served = ServedModel(
        training.module,
        prepared.decode,
        lambda stored: examples.preprocessing.for_eval(stored, examples.image_size),
        labels.class_names,
        top_k=export.top_k,
        min_probability=export.min_probability,
        image_size=examples.image_size,
        num_channels=examples.num_channels,
        calibration=calibration,
        network=network,
    )
    settings = {"model": job.model, "train": config, "export": export}
    made_from = training_manifest(settings, inputs.examples, labels, progress.checkpoint)
    _finish(training, served, labels, Path(job.output_dir), facts, made_from)
    _log.info(
        "best eval accuracy %.4f at step %d: exported", progress.best_accuracy, progress.best_step
    )
    return facts


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A training about to begin, or to go on.

    Attributes:
        labels: Classes by index.
        decode: The transform graph, as the exported model will hold it.
        training: With the network's variables as they are at the first step.
        phases: Of the whole training.
        is_resumed: Whether the work folder has a checkpoint to go on from.
    """

    labels: contracts.LabelMap
    decode: Any
    training: Training
    phases: Sequence[Phase]
    is_resumed: bool


def prepare(
    inputs: TrainInputs,
    work_dir: str,
    model: ModelConfig,
    config: TrainConfig,
    distribution: Distribution | None = None,
) -> Prepared:
    """Reads the inputs, builds the network and restores what there is to restore.

    Raises:
        ConfigError: The checkpoint or the scopes do not fit.
    """
    if config.deterministic:
        make_deterministic()
    spec = model.spec
    labels = contracts.LabelMap.read(inputs.label_map)
    decode = decode_with_transform_graph(inputs.transform_graph)
    examples = dataset.StoredExamples(
        folder=inputs.examples,
        stored_size=decode.settings.stored_size,
        num_channels=decode.settings.num_channels,
        image_size=model.resolved_image_size,
        preprocessing=get_preprocessing(decode.settings.family),
        num_classes=labels.num_classes,
    )
    distribution = distribution or Distribution()
    plan = Plan.of(config, examples.count("train"), distribution.num_replicas)
    with distribution.scope():
        module = _build(spec, labels.num_classes, examples, config, plan)
    state = TrainingState(work_dir)
    saved = state.read()
    progress = saved or _start(state, module, spec, config)
    _log.info(
        "%s at %d px, %d classes: %d images, %d steps of %d, from %s",
        spec.name, examples.image_size, labels.num_classes, plan.num_train, plan.num_steps,
        plan.batch_size, _origin(progress, config),
    )  # fmt: skip
    phases = _phases(module, config, plan, progress)
    training = _training(examples, module, config, plan, state, progress, distribution)
    return Prepared(labels, decode, training, phases, is_resumed=saved is not None)


def _build(
    spec: NetSpec,
    num_classes: int,
    examples: dataset.StoredExamples,
    config: TrainConfig,
    plan: Plan,
) -> SlimModule:
    return SlimModule(
        spec,
        num_classes=num_classes,
        image_size=examples.image_size,
        num_channels=examples.num_channels,
        weight_decay=config.weight_decay,
        batch_norm_decay=batch_norm_decay(config, spec.batch_norm_decay, plan.num_steps),
        seed=config.seed,
    )


def _origin(progress: Progress, config: TrainConfig) -> str:
    if progress.step:
        return f"the checkpoint of step {progress.step}"
    return config.checkpoint_path or "scratch"


def _start(
    state: TrainingState, module: SlimModule, spec: NetSpec, config: TrainConfig
) -> Progress:
    """Starts from the given checkpoint, else from scratch."""
    for path in (state.metrics_path, state.folder / contracts.NAN_BATCHES_FILE):
        path.unlink(missing_ok=True)
    if config.checkpoint_path is None:
        return Progress()
    report = checkpoint_restore.restore(
        module.variables_by_name,
        config.checkpoint_path,
        exclude_scopes=config.checkpoint_exclude_scopes,
        head_scopes=spec.head_scopes,
        ignore_missing_vars=config.ignore_missing_vars,
        name_map=config.checkpoint_name_map,
        prefer_averages=config.checkpoint_moving_averages,
    )
    return Progress(
        new_variables=(*report.excluded, *report.missing),
        checkpoint=checkpoint_facts(config.checkpoint_path),
    )


def _phases(module: SlimModule, config: TrainConfig, plan: Plan, progress: Progress) -> list[Phase]:
    return plan_phases(
        list(steps.trainable_variables(module, config.trainable_scopes)),
        progress.new_variables,
        config,
        steps_per_epoch=plan.steps_per_epoch,
        num_steps=plan.num_steps,
    )


def _training(
    examples: dataset.StoredExamples,
    module: SlimModule,
    config: TrainConfig,
    plan: Plan,
    state: TrainingState,
    progress: Progress,
    distribution: Distribution,
) -> Training:
    logs = str(state.folder / contracts.LOGS_FOLDER)
    return Training(
        examples=examples,
        module=module,
        config=config,
        plan=plan,
        state=state,
        progress=progress,
        averages=_averages(config, module, distribution),
        summaries=Summaries(logs, config, examples.preprocessing.family),
        distribution=distribution,
        deadline=deadline_of(state.folder.parent, config.budget_seconds),
    )


def _averages(
    config: TrainConfig, module: SlimModule, distribution: Distribution
) -> MovingAverages | None:
    if config.moving_average_decay is None:
        return None
    with distribution.scope():
        return MovingAverages(config.moving_average_decay, module.variables_by_name)


def _alone(training: Training) -> Training:
    """The same with variables of this process alone: what the chief does without the others."""
    if training.distribution.is_alone:
        return training
    config, plan, alone = training.config, training.plan, Distribution()
    spec, num_classes = training.module.spec, training.module.num_classes
    module = _build(spec, num_classes, training.examples, config, plan)
    averages = _averages(config, module, alone)
    return dataclasses.replace(training, module=module, averages=averages, distribution=alone)


def _finish(
    training: Training,
    served: ServedModel,
    labels: contracts.LabelMap,
    output: Path,
    facts: dict[str, Any],
    made_from: dict[str, Any],
) -> None:
    """Writes the Model artifact of the weights as they are."""
    with training.averaged():
        facts["saved_model_bytes"] = outputs.write_model(output, served, labels)
        files.write_json(output / contracts.TRAINED_ANSWERS_FILE, trained_answers(training))
    saved_model = output / contracts.SAVED_MODEL_FOLDER
    facts["saved_model_bytes"] += write_warmup_requests(training.examples, saved_model)
    outputs.write_checkpoint(output, training.variables, training.progress.best_step)
    files.write_json(output / contracts.MANIFEST_FILE, {**made_from, **result_facts(output, facts)})
    outputs.write_records(output, training.state, facts)


def _facts(
    spec: NetSpec,
    examples: dataset.StoredExamples,
    labels: contracts.LabelMap,
    config: TrainConfig,
    plan: Plan,
    progress: Progress,
    phases: Sequence[Phase],
    distribution: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "slimworks": slimworks.__version__,
        "net": spec.name,
        "image_size": examples.image_size,
        "stored_size": examples.stored_size,
        "num_channels": examples.num_channels,
        "preprocessing": examples.preprocessing.family,
        "class_names": list(labels.class_names),
        contracts.LABEL_MAP_VERSION: labels.version,
        contracts.LABEL_MAP_DIGEST: labels.digest,
        "num_train_images": plan.num_train,
        "class_counts": dict(zip(labels.class_names, examples.class_counts("train"), strict=True)),
        "num_steps": plan.num_steps,
        "batch_size": plan.batch_size,
        "phases": [phase.facts for phase in phases],
        "best_step": progress.best_step,
        "best_eval_accuracy": progress.best_accuracy,
        "stopped_early": progress.has_stopped_early,
        "train_seconds": round(progress.seconds, 1),
        "checkpoint_path": config.checkpoint_path,
        "seed": config.seed,
        "distribution": distribution,
        "determinism": determinism_facts(
            progress.num_repairs,
            is_asynchronous=config.distribution == "parameter_server",
            has_budget=config.budget_seconds is not None,
        ),
        "features": {"cached_phases": progress.cached_phases},
        "watchdog": {
            "num_repairs": progress.num_repairs,
            "rate_scale": progress.rate_scale,
            "micro_batch_size": progress.micro_batch_size,
        },
    }
