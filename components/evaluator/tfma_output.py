"""Results for TensorFlow Model Analysis, in its own files and under its own keys.

TFMA itself updates its accumulators in Python for each image, class and slice: 0.7 ms an image of
10 classes, more than many a network takes. All of it follows from the counts that metrics.json is
computed from, so that these are written instead; a test runs TFMA over the same predictions file
and compares every number. One differs, on purpose: for a class that no answer names, TFMA 0.47
gives a precision (the share of its images) and a recall of one, where there is none and zero.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slimworks.components import files
from slimworks.components.evaluator import confusion, measuring
from slimworks.components.evaluator import slices as slicing
from slimworks.components.evaluator.confusion import Confusion
from slimworks.components.evaluator.scores import Scores
from slimworks.components.evaluator.slices import Slice
from slimworks.components.examples import tfrecord

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from tensorflow_model_analysis.proto import config_pb2
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2 as proto

LABEL_KEY = "class_index"
PREDICTION_KEY = "probabilities"

# A class has its own metrics under a sub key. With more classes TFMA's page takes long to show
# them; the confusion matrix, written for any number of classes, says the same.
MAX_CLASSES_APART = 50


def write(
    predictions_path: str | os.PathLike[str],
    class_names: Sequence[str],
    declared_slices: Sequence[Sequence[str]] | None,
    output_dir: str | os.PathLike[str],
) -> None:
    """Writes what `tfma.load_eval_result(output_dir)` reads.

    Overall and by slice: example_count, sparse_categorical_accuracy,
    sparse_categorical_crossentropy and the confusion matrix (as a multi-class confusion matrix
    plot). Per class, up to MAX_CLASSES_APART classes: precision and recall under the sub key
    (class_id, top_k=1). Images whose probabilities are not finite are left out: TFMA would rank
    NaN as it falls.
    """
    reader = measuring.Reader(predictions_path, len(class_names), len(class_names), None)
    scores, _ = reader.read_scores()
    slices = slicing.find(reader.read_columns(), class_names, declared_slices)
    metrics, plots = [], []
    for part in [Slice({}, np.ones(len(scores), bool)), *slices]:
        chosen = scores.where(part.rows & scores.is_finite)
        if len(chosen):
            counts = confusion.count(chosen, len(class_names))
            metrics.append(_metrics(part, chosen, counts))
            plots.append(_plots(part, counts))
    output = Path(output_dir)
    _write_records(output / "metrics-00000-of-00001.tfrecord", metrics)
    _write_records(output / "plots-00000-of-00001.tfrecord", plots)
    dimensions = list(dict.fromkeys(tuple(part.values) for part in slices))
    # Last: it is what a reader looks for first.
    files.write_text(output / "eval_config.json", _eval_run(len(class_names), dimensions))


def eval_config(num_classes: int, dimensions: Sequence[Sequence[str]]) -> config_pb2.EvalConfig:
    """TFMA's configuration for a classifier: what it would compute itself for these results."""
    from tensorflow_model_analysis.proto import config_pb2

    overall = config_pb2.MetricsSpec(
        metrics=[
            config_pb2.MetricConfig(class_name="ExampleCount"),
            config_pb2.MetricConfig(class_name="SparseCategoricalAccuracy"),
            config_pb2.MetricConfig(class_name="SparseCategoricalCrossentropy"),
            # The threshold 0 makes every row predict its most probable class.
            config_pb2.MetricConfig(
                class_name="MultiClassConfusionMatrixPlot", config=json.dumps({"thresholds": [0.0]})
            ),
        ]
    )
    specs = [overall]
    if num_classes <= MAX_CLASSES_APART:
        specs.append(_per_class(num_classes))
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(label_key=LABEL_KEY, prediction_key=PREDICTION_KEY)],
        metrics_specs=specs,
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=list(names)) for names in dimensions),
        ],
    )


def _per_class(num_classes: int) -> config_pb2.MetricsSpec:
    from tensorflow_model_analysis.proto import config_pb2

    # top_k=1: a class counts as predicted where it is the most probable one, not where its
    # probability is above one half.
    top_1 = json.dumps({"top_k": 1})
    return config_pb2.MetricsSpec(
        metrics=[
            config_pb2.MetricConfig(class_name="Precision", config=top_1),
            config_pb2.MetricConfig(class_name="Recall", config=top_1),
        ],
        binarize=config_pb2.BinarizationOptions(class_ids={"values": list(range(num_classes))}),
    )


def _eval_run(num_classes: int, dimensions: Sequence[Sequence[str]]) -> str:
    import tensorflow_model_analysis as tfma
    from google.protobuf import json_format
    from tensorflow_model_analysis.proto import config_pb2

    config = tfma.utils.update_eval_config_with_defaults(eval_config(num_classes, dimensions))
    run = config_pb2.EvalRun(eval_config=config, version=tfma.version.VERSION)
    return str(json_format.MessageToJson(run))


def _metrics(part: Slice, scores: Scores, counts: Confusion) -> proto.MetricsForSlice:
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2 as proto

    message = proto.MetricsForSlice(slice_key=_slice_key(part))
    overall = {
        "example_count": float(len(scores)),
        "sparse_categorical_accuracy": float(scores.is_correct.mean()),
        "sparse_categorical_crossentropy": float(scores.log_loss.mean()),
    }
    for name, value in overall.items():
        _add(message, name, value)
    if counts.num_classes > MAX_CLASSES_APART:
        return message
    for name, totals in (("precision", counts.num_predicted), ("recall", counts.support)):
        for index, total in enumerate(totals):
            value = counts.correct[index] / total if total else float("nan")
            _add(message, name, float(value), index)
    return message


def _add(
    message: proto.MetricsForSlice, name: str, value: float, class_index: int | None = None
) -> None:
    entry = message.metric_keys_and_values.add()
    entry.key.name = name
    entry.key.example_weighted.SetInParent()  # present and empty, as in TFMA's own files
    if class_index is not None:
        entry.key.sub_key.class_id.value = class_index
        entry.key.sub_key.top_k.value = 1
    entry.value.double_value.value = value


def _plots(part: Slice, counts: Confusion) -> proto.PlotsForSlice:
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2 as proto

    message = proto.PlotsForSlice(slice_key=_slice_key(part))
    entry = message.plot_keys_and_values.add()
    entry.key.name = "multi_class_confusion_matrix_plot"
    entry.key.example_weighted.SetInParent()
    matrix = entry.value.multi_class_confusion_matrix_at_thresholds.matrices.add(threshold=0.0)
    for true, answer in np.argwhere(counts.matrix):
        matrix.entries.add(
            actual_class_id=int(true),
            predicted_class_id=int(answer),
            num_weighted_examples=float(counts.matrix[true, answer]),
        )
    return message


def _slice_key(part: Slice) -> proto.SliceKey:
    from tensorflow_model_analysis.proto import metrics_for_slice_pb2 as proto

    key = proto.SliceKey()
    for dimension, value in part.values.items():
        key.single_slice_keys.add(column=dimension, bytes_value=value.encode("utf-8"))
    return key


def _write_records(path: Path, messages: Sequence[Message]) -> None:
    with files.replaced(path) as stream:
        for message in messages:
            tfrecord.write_record(stream, message.SerializeToString(deterministic=True))
