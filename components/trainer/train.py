"""Trains and exports: a plain function of paths and settings."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

import slimworks
from slimworks.components import contracts, files
from slimworks.components.checkpoints import restore as checkpoint_restore
from slimworks.components.checkpoints import save as checkpoint_files
from slimworks.components.export.served_model import ServedModel, write_saved_model
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.nets.spec import NetSpec
from slimworks.components.preprocessing.families import get_preprocessing
from slimworks.components.trainer import dataset, steps
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.learning_rate import batch_norm_decay
from slimworks.components.trainer.loop import Loop, Plan
from slimworks.components.trainer.optimizers import Optimizer
from slimworks.components.trainer.state import Progress, TrainingState
from slimworks.components.transform.attach import decode_with_transform_graph

EVAL_BATCH_SIZE = 64

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
        output_dir: Gets saved_model/, checkpoints/, metrics.jsonl, logs/ and model.json.
        work_dir: Unfinished work. The same folder again continues from its last checkpoint.
        model: Network and input size.
        config: Training settings.
        export: What the exported model answers.

    Returns:
        The content of model.json.

    Raises:
        ConfigError: The checkpoint or the scopes do not fit.
        TrainingError: The loss is not a number.
    """
    spec = get_net(model.net)
    labels = contracts.LabelMap.read(inputs.label_map)
    decode = decode_with_transform_graph(inputs.transform_graph)
    examples = dataset.StoredExamples(
        folder=inputs.examples,
        stored_size=decode.settings.stored_size,
        num_channels=decode.settings.num_channels,
        image_size=model.resolved_image_size,
        preprocessing=get_preprocessing(decode.settings.family),
    )
    plan = Plan.of(config, examples.count("train"))
    module = _build(spec, labels.num_classes, examples, config, plan)
    trained = steps.trainable_variables(module, config.trainable_scopes)
    optimizer = Optimizer(config, trained)
    state = TrainingState(work_dir, {**module.variables_by_name, **optimizer.slots})
    progress = _start(state, module, spec, config)
    _log.info(
        "%s at %d px, %d classes: %d images, %d steps of %d, from %s",
        spec.name, examples.image_size, labels.num_classes, plan.num_train, plan.num_steps,
        plan.batch_size, _origin(progress, config),
    )  # fmt: skip
    if min(progress.step, progress.evaluated_step) < plan.num_steps:
        _run_loop(
            examples, module, optimizer, list(trained.values()), config, plan, state, progress
        )
    _restore_best(state, module, progress)
    served = ServedModel(
        module,
        decode,
        lambda stored: examples.preprocessing.for_eval(stored, examples.image_size),
        labels.class_names,
        top_k=export.top_k,
        min_probability=export.min_probability,
        image_size=examples.image_size,
        num_channels=examples.num_channels,
    )
    facts = _facts(spec, examples, labels, config, plan, progress)
    _write_outputs(output_dir, state, module, served, labels, facts)
    _log.info(
        "best eval accuracy %.4f at step %d: exported", progress.best_accuracy, progress.best_step
    )
    return facts


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
    """Continues from the work folder, else starts from the given checkpoint, else from scratch."""
    progress = state.restore()
    if progress is not None:
        return progress
    if state.metrics_path.exists():
        state.metrics_path.unlink()
    if config.checkpoint_path is not None:
        checkpoint_restore.restore(
            module.variables_by_name,
            config.checkpoint_path,
            exclude_scopes=config.checkpoint_exclude_scopes,
            head_scopes=spec.head_scopes,
            ignore_missing_vars=config.ignore_missing_vars,
            name_map=config.checkpoint_name_map,
            prefer_averages=config.checkpoint_moving_averages,
        )
    return Progress()


def _run_loop(
    examples: dataset.StoredExamples,
    module: SlimModule,
    optimizer: Optimizer,
    trained: list[tf.Variable],
    config: TrainConfig,
    plan: Plan,
    state: TrainingState,
    progress: Progress,
) -> None:
    batches = dataset.train_batches(
        examples,
        config.augmentation,
        batch_size=plan.batch_size,
        steps_per_epoch=plan.steps_per_epoch,
        first_step=progress.step,
        num_steps=plan.num_steps,
        seed=config.seed,
    )
    eval_set = dataset.eval_batches(examples, "eval", EVAL_BATCH_SIZE)
    eval_step = steps.make_eval_step(module)
    writer = tf.summary.create_file_writer(str(state.folder / contracts.LOGS_FOLDER))
    loop = Loop(
        module=module,
        optimizer=optimizer,
        trained=trained,
        config=config,
        plan=plan,
        state=state,
        progress=progress,
        evaluate=lambda: steps.evaluate_split(eval_step, eval_set),
        summary_writer=writer,
    )
    try:
        loop.run(batches)
    finally:
        writer.close()


def _restore_best(state: TrainingState, module: SlimModule, progress: Progress) -> None:
    reader = tf.train.load_checkpoint(state.best_prefix(progress.best_step))
    for name, variable in module.variables_by_name.items():
        variable.assign(reader.get_tensor(name))


def _facts(
    spec: NetSpec,
    examples: dataset.StoredExamples,
    labels: contracts.LabelMap,
    config: TrainConfig,
    plan: Plan,
    progress: Progress,
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
        "num_steps": plan.num_steps,
        "batch_size": plan.batch_size,
        "best_step": progress.best_step,
        "best_eval_accuracy": progress.best_accuracy,
        "train_seconds": round(progress.seconds, 1),
        "checkpoint_path": config.checkpoint_path,
        "seed": config.seed,
    }


def _write_outputs(
    output_dir: str,
    state: TrainingState,
    module: SlimModule,
    served: ServedModel,
    labels: contracts.LabelMap,
    facts: dict[str, Any],
) -> None:
    """Writes the Model artifact; model.json goes last, as the sign that all is there."""
    output = Path(output_dir)
    checkpoints = output / contracts.CHECKPOINTS_FOLDER
    checkpoints.mkdir(parents=True, exist_ok=True)
    prefix = str(checkpoints / f"model.ckpt-{facts['best_step']}")
    step = tf.Variable(facts["best_step"], dtype=tf.int64, trainable=False)
    checkpoint_files.save({**module.variables_by_name, "global_step": step}, prefix)
    checkpoint_files.update_state(str(checkpoints), prefix)
    shutil.copy2(state.metrics_path, output / contracts.METRICS_FILE)
    shutil.copytree(
        state.folder / contracts.LOGS_FOLDER, output / contracts.LOGS_FOLDER, dirs_exist_ok=True
    )
    saved_model = output / contracts.SAVED_MODEL_FOLDER
    write_saved_model(served, str(saved_model))
    labels.write(saved_model / contracts.EXTRA_ASSETS_FOLDER)
    facts["saved_model_bytes"] = sum(
        os.path.getsize(path) for path in saved_model.rglob("*") if path.is_file()
    )
    files.write_json(
        saved_model / contracts.EXTRA_ASSETS_FOLDER / contracts.MODEL_FACTS_FILE, facts
    )
    files.write_json(output / contracts.MODEL_FACTS_FILE, facts)
