"""The faults: how each gets into real artifacts, and who has to find it."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from fault_bench import exports, simulated
from fault_bench.healthy import (
    CLASS_NAMES,
    EVALUATE,
    Healthy,
    Outcome,
    copy_model,
    ingest_into,
    judge,
    of_decision,
    write_photos,
)

from slimworks.components import contracts, files
from slimworks.components.evaluator import measuring, predictions_file
from slimworks.components.evaluator.evaluate import evaluate
from slimworks.components.examples import encoding, reading, tfrecord
from slimworks.components.gate.blessing import bless
from slimworks.components.gate.config import GateConfig


@dataclasses.dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: For the table.
        wanted: Part of what `Outcome.caught_by` must say: the right reason.
        inject: Puts it into artifacts below an empty folder and lets the steps judge.
        verdicts: That are right.
    """

    name: str
    wanted: str
    inject: Callable[[Healthy, Path], Outcome]
    verdicts: tuple[str, ...] = ("fail",)


def _none(healthy: Healthy, work: Path) -> Outcome:
    return judge(healthy, healthy.model, work, with_replay=True)


def _swapped_channels(healthy: Healthy, work: Path) -> Outcome:
    model = exports.export(healthy, work / "model", before=lambda stored: stored[..., ::-1])
    return judge(healthy, model, work)


def _wrong_scale(healthy: Healthy, work: Path) -> Outcome:
    # [0, 1] instead of [-1, 1]
    model = exports.export(healthy, work / "model", after=lambda pixels: (pixels + 1.0) / 2.0)
    return judge(healthy, model, work)


def _wrong_size(healthy: Healthy, work: Path) -> Outcome:
    return judge(healthy, exports.export(healthy, work / "model", image_size=96), work)


def _permuted_labels(healthy: Healthy, work: Path) -> Outcome:
    order = list(np.random.default_rng(5).permutation(len(CLASS_NAMES)))
    moved = exports.with_classes_moved(order)
    return judge(healthy, exports.export(healthy, work / "model", weights=moved), work)


def _shifted_labels(healthy: Healthy, work: Path) -> Outcome:
    moved = exports.with_classes_moved([len(CLASS_NAMES) - 1, *range(len(CLASS_NAMES) - 1)])
    return judge(healthy, exports.export(healthy, work / "model", weights=moved), work)


def _stale_batch_norm(healthy: Healthy, work: Path) -> Outcome:
    stale = exports.with_stale_moving_averages
    return judge(healthy, exports.export(healthy, work / "model", weights=stale), work)


def _early_checkpoint(healthy: Healthy, work: Path) -> Outcome:
    model = exports.export(healthy, work / "model", weights_of=healthy.early_model)
    return judge(healthy, model, work)


def _nan_weights(healthy: Healthy, work: Path) -> Outcome:
    return judge(healthy, exports.export(healthy, work / "model", weights=exports.with_nan), work)


def _very_random_output(healthy: Healthy, work: Path) -> Outcome:
    return judge(healthy, exports.export(healthy, work / "model", noise=0.5), work)


def _slightly_random_output(healthy: Healthy, work: Path) -> Outcome:
    model = exports.export(healthy, work / "model", noise=0.008)
    return judge(healthy, model, work, with_replay=True)


def _truncated_model(healthy: Healthy, work: Path) -> Outcome:
    model = copy_model(healthy, work / "model")
    (data,) = (model / contracts.SAVED_MODEL_FOLDER).glob("variables/*.data-*")
    os.truncate(data, data.stat().st_size // 2)
    return judge(healthy, model, work)


def _changed_after_evaluation(healthy: Healthy, work: Path) -> Outcome:
    evaluation = work / "evaluation"
    evaluate(healthy.model, healthy.examples, healthy.label_map, evaluation, EVALUATE)
    early = exports.export(healthy, work / "model", weights_of=healthy.early_model)
    return of_decision(bless(evaluation, early, healthy.label_map, work / "blessing", GateConfig()))


def _lost_signature(healthy: Healthy, work: Path) -> Outcome:
    model = copy_model(healthy, work / "model")
    folder = str(model / contracts.SAVED_MODEL_FOLDER)
    loaded = tf.saved_model.load(folder)
    kept = {
        name: function
        for name, function in loaded.signatures.items()
        if name != contracts.SIGNATURE_CLASSIFY
    }
    shutil.rmtree(folder)
    tf.saved_model.save(loaded, folder, signatures=kept)
    return judge(healthy, model, work)


def _copied_examples(healthy: Healthy, work: Path) -> Path:
    shutil.copytree(healthy.examples, work / "examples")
    return work / "examples"


def _rewritten(examples: Path, split: str, wanted: Callable[[dict], bool]) -> None:
    """Keeps the examples that are wanted, in one shard."""
    kept = [
        serialized
        for shard in contracts.split_files(examples, split)
        for serialized in tfrecord.iterate_records(shard)
        if wanted(encoding.decode_example(serialized))
    ]
    folder = contracts.split_folder(examples, split)
    shutil.rmtree(folder)
    folder.mkdir()
    name = contracts.EXAMPLES_FILE_PATTERN.format(shard=0, num_shards=1)
    with open(folder / name, "wb") as stream:
        for serialized in kept:
            tfrecord.write_record(stream, serialized)


def _test_images_in_training(healthy: Healthy, work: Path) -> Outcome:
    examples = _copied_examples(healthy, work)
    (shard, *_) = contracts.split_files(examples, "test")
    shutil.copy(shard, contracts.split_folder(examples, "train") / "extra")
    return judge(healthy, healthy.model, work, examples=examples)


def _same_photos_in_two_splits(healthy: Healthy, work: Path) -> Outcome:
    """The user's manifest has half of the photos, under other names, in train and test."""
    del healthy
    manifest = write_photos(work / "photos", num_per_class=12)
    lines = ["path,class,camera,split"]
    for number, row in enumerate(manifest.read_text("utf-8").splitlines()[1:]):
        lines.append(f"{row},train")
        if number % 2:
            continue
        copy = f"copy-{row.partition(',')[0]}"
        shutil.copy(work / "photos" / row.partition(",")[0], work / "photos" / copy)
        lines.append(f"{copy},{row.partition(',')[2]},test")
    manifest.write_text("\n".join(lines), "utf-8")
    ingest_into(work, manifest)
    ids = {
        split: {example[contracts.IMAGE_ID] for example in _iterate(work / "examples", split)}
        for split in contracts.SPLITS
    }
    shared = ids["train"] & ids["test"]
    duplicates = (work / "report" / contracts.DUPLICATES_FILE).read_text("utf-8").splitlines()
    reason = f"{len(duplicates)} photos have a copy: each is in one split, none is in two."
    if shared or len(ids["test"]) != len(duplicates):
        return Outcome("", "missed", f"{len(shared)} images are in train and in test.")
    return Outcome("ingest", "repaired", reason)


def _iterate(examples: Path, split: str) -> list[dict]:
    if not any(contracts.split_folder(examples, split).glob("*")):
        return []
    return list(reading.iterate_examples(examples, split))


def _duplicated_test_images(healthy: Healthy, work: Path) -> Outcome:
    examples = _copied_examples(healthy, work)
    folder = contracts.split_folder(examples, "test")
    for shard in contracts.split_files(examples, "test"):
        shutil.copy(shard, folder / f"{Path(shard).name}-again")
    return judge(healthy, healthy.model, work, examples=examples)


def _missing_class(healthy: Healthy, work: Path) -> Outcome:
    examples = _copied_examples(healthy, work)
    _rewritten(examples, "test", lambda example: example[contracts.CLASS_NAME] != b"grey")
    return judge(healthy, healthy.model, work, examples=examples)


def _changed_label_order(healthy: Healthy, work: Path) -> Outcome:
    names = tuple(reversed(healthy.label_map.class_names))
    model = copy_model(healthy, work / "model")
    facts = files.read_json(model / contracts.MODEL_FACTS_FILE)
    facts.update(class_names=list(names), label_map_version=0)
    files.write_json(model / contracts.MODEL_FACTS_FILE, facts)
    return judge(healthy, model, work, label_map=contracts.LabelMap(names))


def _edited_metrics(healthy: Healthy, work: Path) -> Outcome:
    evaluation = work / "evaluation"
    evaluate(healthy.model, healthy.examples, healthy.label_map, evaluation, EVALUATE)
    path = evaluation / contracts.EVALUATION_METRICS_FILE
    files.write_json(path, {**files.read_json(path), "accuracy": 1.0 - 1e-6})
    return of_decision(
        bless(evaluation, healthy.model, healthy.label_map, work / "blessing", GateConfig())
    )


def _collapsed_slice(healthy: Healthy, work: Path) -> Outcome:
    """The candidate got better on the new camera's photos and lost the old camera's."""
    evaluation = work / "evaluation"
    evaluate(
        healthy.model, healthy.examples, healthy.label_map, evaluation, EVALUATE, healthy.model
    )
    rng = np.random.default_rng(9)
    columns = predictions_file.read_columns(
        evaluation / contracts.PREDICTIONS_FILE,
        [*predictions_file.SCHEMA.names, "slice/camera"],
    )
    is_old = columns["slice/camera"] == "old"
    wrong_now = is_old & (rng.random(len(is_old)) < 0.5)
    wrong_before = ~is_old & (rng.random(len(is_old)) < 0.5)
    _answer(healthy, evaluation / contracts.PREDICTIONS_FILE, columns, wrong_now)
    _answer(healthy, evaluation / contracts.BASELINE_PREDICTIONS_FILE, columns, wrong_before)
    names = list(healthy.label_map.class_names)
    path = evaluation / contracts.EVALUATION_METRICS_FILE
    measured = measuring.measure(
        evaluation / contracts.PREDICTIONS_FILE, names, len(names), EVALUATE
    )
    files.write_json(path, {**files.read_json(path), **measured})
    decided = bless(
        evaluation, healthy.model, healthy.label_map, work / "blessing", GateConfig(),
        healthy.model, healthy.examples,
    )  # fmt: skip
    assert decided.baseline is not None
    assert decided.baseline["relation"] == "better", "the average has to rise"
    return of_decision(decided)


def _answer(
    healthy: Healthy, path: Path, columns: dict[str, np.ndarray], wrong: np.ndarray
) -> None:
    """Writes a predictions file with these rows answered wrong, all others right."""
    num_classes = len(CLASS_NAMES)
    answers = (columns["class_index"] + wrong) % num_classes
    probabilities = np.full((len(answers), num_classes), 0.02, np.float32)
    probabilities[np.arange(len(answers)), answers] = 1.0 - 0.02 * (num_classes - 1)
    digest = files.sha256_of_tree(healthy.model / contracts.SAVED_MODEL_FOLDER)
    facts = predictions_file.Facts(split="test", model_digest=digest, transform_digest=None)
    slices = [{"camera": camera} for camera in columns["slice/camera"]]
    changed = {
        "predicted_index": answers,
        "probabilities": probabilities,
        "logits": np.log(probabilities),
    }
    rows = {name: columns[name] for name in predictions_file.SCHEMA.names} | changed
    with predictions_file.open_writer(path, facts) as writer:
        writer.write(rows, slices)


FAULTS = (
    Fault("none", "", _none, ("pass",)),
    Fault("RGB and BGR swapped at export", "as_trained", _swapped_channels),
    Fault("wrong mean and scale at export", "as_trained", _wrong_scale),
    Fault("wrong image size at export", "as_trained", _wrong_size),
    Fault("labels permuted", "as_trained", _permuted_labels),
    Fault("labels shifted by one", "as_trained", _shifted_labels),
    Fault("stale batch-norm statistics", "as_trained", _stale_batch_norm),
    Fault("early checkpoint exported", "as_trained", _early_checkpoint),
    Fault("NaN weights", "finite_probabilities", _nan_weights),
    Fault("random output", "as_trained", _very_random_output),
    Fault("slightly random output", "replay", _slightly_random_output, ("refused",)),
    Fault("truncated SavedModel", "evaluator", _truncated_model, ("refused",)),
    Fault("model changed after evaluation", "candidate_predictions", _changed_after_evaluation),
    Fault("signature lost", "signatures", _lost_signature),
    Fault("test images in training", "unseen_images", _test_images_in_training),
    Fault("same photos in two splits", "ingest", _same_photos_in_two_splits, ("repaired",)),
    Fault("duplicated test images", "consistent_metrics", _duplicated_test_images),
    Fault("one class missing", "every_class", _missing_class, ("inconclusive",)),
    Fault("changed label order", "label_map", _changed_label_order),
    Fault("metrics edited", "consistent_metrics", _edited_metrics),
    Fault("slice collapses, average rises", "camera=old", _collapsed_slice),
    Fault("noise called an improvement", "gate", simulated.noise, ("refused",)),
    Fault("unproven loss called equal", "gate", simulated.loss, ("refused",)),
)
