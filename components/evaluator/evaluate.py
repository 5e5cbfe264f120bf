"""Evaluates a candidate, and the baseline on the same images."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.evaluator import metrics, prediction, tfma_output
from slimworks.components.evaluator.config import EvaluateConfig

_LOGGER = logging.getLogger(__name__)


def evaluate(
    model_dir: str | os.PathLike[str],
    examples_dir: str | os.PathLike[str],
    label_map: contracts.LabelMap,
    output_dir: str | os.PathLike[str],
    config: EvaluateConfig,
    baseline_model_dir: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Writes predictions, metrics.json and TFMA output of one split.

    Args:
        model_dir: Model artifact of the candidate (saved_model/, model.json).
        examples_dir: Examples artifact with the original encoded images.
        label_map: Classes by class index.
        output_dir: Receives predictions.parquet, baseline_predictions.parquet, metrics.json
            and tfma/.
        config: Split, batch size, confidence.
        baseline_model_dir: Model artifact to be compared with on the same images.

    Returns:
        The content of metrics.json (see `metrics`).

    Raises:
        DataError: A model does not fit the label map, or cannot be run over the split.
    """
    started = time.monotonic()
    class_names = list(label_map.class_names)
    _LOGGER.info("evaluating %s on split %s of %s", model_dir, config.split, examples_dir)
    _check_label_map(model_dir, label_map)
    output = Path(output_dir)
    predictions_path = output / contracts.PREDICTIONS_FILE
    _predict(model_dir, examples_dir, predictions_path, config)
    result = {
        "format": metrics.METRICS_FORMAT,
        "split": config.split,
        "confidence": config.confidence,
        **measure(predictions_path, class_names, len(class_names), config.confidence),
        "baseline": None,
    }
    if baseline_model_dir is not None:
        result["baseline"] = _evaluate_baseline(
            baseline_model_dir, examples_dir, output, label_map, config
        )
    if config.tfma:
        tfma_output.write(predictions_path, len(class_names), output / contracts.TFMA_FOLDER)
    files.write_json(output / contracts.EVALUATION_METRICS_FILE, result)
    _LOGGER.info(
        "evaluated %d images in %.1f s, accuracy %s: %s",
        result["num_images"],
        time.monotonic() - started,
        "unknown" if result["accuracy"] is None else f"{result['accuracy']:.4f}",
        output,
    )
    return result


def measure(
    predictions_path: str | os.PathLike[str],
    class_names: Sequence[str],
    num_label_map_classes: int,
    confidence: float,
    merged: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """Metrics of one predictions file, plus "num_unknown_class" where there are such rows.

    Args:
        predictions_path: File written by `prediction.predict_split`.
        class_names: Classes of the model, by class index.
        num_label_map_classes: Classes of the label map; rows of the classes that the model
            does not know are counted and left out.
        confidence: Coverage of the intervals.
        merged: Classes merged since the model was trained, and the class that each counts as.

    Raises:
        DataError: The model's outputs do not fit its class names, or a class index of the
            examples is outside the label map.
    """
    counts = metrics.empty_counts(len(class_names))
    counted_as = metrics.counted_as(len(class_names), merged) if merged else None
    num_unknown = 0
    columns = ["class_index", "probabilities"]
    for batch in prediction.read_row_groups(predictions_path, columns):
        class_index, probabilities = batch["class_index"], batch["probabilities"]
        _check_batch(class_index, probabilities.shape[1], len(class_names), num_label_map_classes)
        known = class_index < len(class_names)
        num_unknown += int((~known).sum())
        counts += metrics.count(class_index[known], probabilities[known], counted_as)
    result = metrics.summarize(counts, class_names, confidence)
    return {"num_unknown_class": num_unknown, **result} if num_unknown else result


def _predict(
    model_dir: str | os.PathLike[str],
    examples_dir: str | os.PathLike[str],
    output_path: Path,
    config: EvaluateConfig,
) -> None:
    saved_model = Path(model_dir) / contracts.SAVED_MODEL_FOLDER
    prediction.predict_split(
        saved_model, examples_dir, config.split, output_path, config.batch_size
    )


def _evaluate_baseline(
    model_dir: str | os.PathLike[str],
    examples_dir: str | os.PathLike[str],
    output: Path,
    label_map: contracts.LabelMap,
    config: EvaluateConfig,
) -> dict[str, Any]:
    class_names = list(contracts.read_class_names(model_dir))
    predictions_path = output / contracts.BASELINE_PREDICTIONS_FILE
    _predict(model_dir, examples_dir, predictions_path, config)
    merged = label_map.merged_since(contracts.read_label_map_version(model_dir))
    measured = measure(
        predictions_path, class_names, label_map.num_classes, config.confidence, merged
    )
    return {"class_names": class_names, "num_unknown_class": 0, **measured}


def _check_label_map(model_dir: str | os.PathLike[str], label_map: contracts.LabelMap) -> None:
    of_model = contracts.read_class_names(model_dir)
    if of_model != label_map.class_names:
        raise DataError(
            f"{model_dir} was trained for the classes {_shown(of_model)}, the label map says "
            f"{_shown(label_map.class_names)}.",
            "Evaluate the model with the label map that it was trained with.",
        )
    version = contracts.read_label_map_version(model_dir)
    if version not in (0, label_map.version):  # same names: classes were merged
        raise DataError(
            f"{model_dir} was trained with version {version} of the label map, the examples have "
            f"their classes by version {label_map.version}.",
            "Evaluate the model with the examples that it was trained with, or train it again.",
        )


def _check_batch(
    class_index: Any, num_outputs: int, num_classes: int, num_label_map_classes: int
) -> None:
    if num_outputs != num_classes:
        raise DataError(
            f"The model puts out {num_outputs} classes, its model.json names {num_classes}.",
            "Train the model again: slimworks train, or slimworks run --no-cache=trainer.",
        )
    if len(class_index) and not 0 <= class_index.min() <= class_index.max() < num_label_map_classes:
        raise DataError(
            f"The examples hold the class index {class_index.max()}, the label map has "
            f"{num_label_map_classes} classes.",
            "Give the examples and the label map of one `slimworks ingest`.",
        )


def _shown(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
