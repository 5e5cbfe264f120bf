"""TensorFlow Model Analysis over a predictions file: no model is loaded, none is run."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import parquet

from slimworks.components.evaluator import metrics, prediction

if TYPE_CHECKING:
    import tensorflow_model_analysis as tfma

LABEL_KEY = "class_index"
PREDICTION_KEY = "probabilities"

# TFMA keeps two metrics per class and example: 25 ms of set-up per class, and 10,000 images of
# 10 classes take 7 s more. The confusion matrix, written for any number of classes, says the
# same.
MAX_CLASSES_APART = 50


def write(
    predictions_path: str | os.PathLike[str],
    num_classes: int,
    output_dir: str | os.PathLike[str],
) -> None:
    """Writes what `tfma.load_eval_result(output_dir)` reads.

    Overall: example_count, sparse_categorical_accuracy, sparse_categorical_crossentropy and the
    confusion matrix (as a multi-class confusion matrix plot). Per class, up to
    MAX_CLASSES_APART classes: precision and recall under the sub key (class_id, top_k=1). Rows
    whose probabilities are not finite are left out: TFMA would rank NaN as it falls.
    """
    import apache_beam as beam
    import tensorflow_model_analysis as tfma
    from apache_beam.runners.portability import fn_api_runner

    path = str(predictions_path)
    with parquet.ParquetFile(path) as source:
        num_groups = source.num_row_groups
    # In this process: starting another runner would cost more than the work.
    with beam.Pipeline(runner=fn_api_runner.FnApiRunner()) as pipeline:
        _ = (
            pipeline
            | "RowGroups" >> beam.Create(list(range(num_groups)))
            | "Read" >> beam.Map(read_record_batch, path)
            | "Finite" >> beam.Filter(len)
            | tfma.ExtractEvaluateAndWriteResults(
                eval_config=eval_config(num_classes), output_path=str(output_dir)
            )
        )


def read_record_batch(group: int, predictions_path: str) -> pa.RecordBatch:
    """One row group for TFMA: label list<int64> and probabilities list<float32>, finite rows."""
    with parquet.ParquetFile(predictions_path) as source:
        table = source.read_row_group(group, columns=[LABEL_KEY, PREDICTION_KEY])
    batch = prediction.arrays_of(table)
    finite = metrics.finite_rows(batch[PREDICTION_KEY])
    labels, probabilities = batch[LABEL_KEY][finite], batch[PREDICTION_KEY][finite]
    return pa.RecordBatch.from_arrays(
        [
            prediction.lists_of(labels[:, None], pa.int64()),
            prediction.lists_of(probabilities, pa.float32()),
        ],
        names=[LABEL_KEY, PREDICTION_KEY],
    )


def eval_config(num_classes: int) -> tfma.EvalConfig:
    """TFMA's configuration for a classifier with `num_classes` classes."""
    import tensorflow_model_analysis as tfma

    overall = tfma.MetricsSpec(
        metrics=[
            tfma.MetricConfig(class_name="ExampleCount"),
            tfma.MetricConfig(class_name="SparseCategoricalAccuracy"),
            tfma.MetricConfig(class_name="SparseCategoricalCrossentropy"),
            # The threshold 0 makes every row predict its most probable class.
            tfma.MetricConfig(
                class_name="MultiClassConfusionMatrixPlot", config=json.dumps({"thresholds": [0.0]})
            ),
        ]
    )
    specs = [overall]
    if num_classes <= MAX_CLASSES_APART:
        specs.append(_per_class(num_classes))
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(label_key=LABEL_KEY, prediction_key=PREDICTION_KEY)],
        metrics_specs=specs,
        slicing_specs=[tfma.SlicingSpec()],
    )


def _per_class(num_classes: int) -> tfma.MetricsSpec:
    import tensorflow_model_analysis as tfma

    # top_k=1: a class counts as predicted where it is the most probable one, not where its
    # probability is above one half.
    top_1 = json.dumps({"top_k": 1})
    return tfma.MetricsSpec(
        metrics=[
            tfma.MetricConfig(class_name="Precision", config=top_1),
            tfma.MetricConfig(class_name="Recall", config=top_1),
        ],
        binarize=tfma.BinarizationOptions(class_ids={"values": list(range(num_classes))}),
    )
