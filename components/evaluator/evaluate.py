"""Evaluates a candidate, and the baseline on the same images."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.evaluator import as_trained, metrics, prediction, tfma_output
from slimworks.components.evaluator.config import EvaluateConfig
from slimworks.components.evaluator.measuring import measure

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
        config: Split, batch size, intervals, slices.
        baseline_model_dir: Model artifact to be compared with on the same images.

    Returns:
        The content of metrics.json (see `metrics`).

    Raises:
        ConfigError: `evaluate.slices` names a dimension that the images do not have.
        DataError: A model does not fit the label map, or cannot be run over the split.
    """
    started = time.monotonic()
    class_names = list(label_map.class_names)
    _LOGGER.info("evaluating %s on split %s of %s", model_dir, config.split, examples_dir)
    _check_label_map(model_dir, label_map)
    output = Path(output_dir)
    predictions_path = output / contracts.PREDICTIONS_FILE
    model = _predict(model_dir, examples_dir, predictions_path, config, config.embeddings)
    result = {
        "format": metrics.METRICS_FORMAT,
        "split": config.split,
        "confidence": config.confidence,
        "bootstrap": {"samples": config.bootstrap_samples, "seed": config.bootstrap_seed},
        **measure(predictions_path, class_names, len(class_names), config),
        "as_trained": as_trained.compare(model_dir, examples_dir, model),
        "baseline": None,
    }
    if baseline_model_dir is not None:
        result["baseline"] = _evaluate_baseline(
            baseline_model_dir, examples_dir, output, label_map, config
        )
    if config.tfma:
        tfma = output / contracts.TFMA_FOLDER
        tfma_output.write(predictions_path, class_names, config.slices, tfma)
    files.write_json(output / contracts.EVALUATION_METRICS_FILE, result)
    _LOGGER.info(
        "evaluated %d images in %.1f s, accuracy %s: %s",
        result["num_images"],
        time.monotonic() - started,
        "unknown" if result["accuracy"] is None else f"{result['accuracy']:.4f}",
        output,
    )
    return result


def _predict(
    model_dir: str | os.PathLike[str],
    examples_dir: str | os.PathLike[str],
    output_path: Path,
    config: EvaluateConfig,
    embeddings: bool = False,
) -> prediction.Model:
    saved_model = Path(model_dir) / contracts.SAVED_MODEL_FOLDER
    model = prediction.load_model(saved_model, embeddings)
    prediction.predict_split(
        saved_model, examples_dir, config.split, output_path, config.batch_size, embeddings, model
    )
    return model


def _evaluate_baseline(
    model_dir: str | os.PathLike[str],
    examples_dir: str | os.PathLike[str],
    output: Path,
    label_map: contracts.LabelMap,
    config: EvaluateConfig,
) -> dict[str, Any]:
    class_names = list(contracts.read_class_names(model_dir))
    predictions_path = output / contracts.BASELINE_PREDICTIONS_FILE
    # Without embeddings: a baseline may be from before models gave them.
    _predict(model_dir, examples_dir, predictions_path, config)
    merged = label_map.merged_since(contracts.read_label_map_version(model_dir))
    measured = measure(predictions_path, class_names, label_map.num_classes, config, merged)
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


def _shown(names: Sequence[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
