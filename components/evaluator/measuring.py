"""Metrics of one predictions file: read once for the scores, once more for the rankings."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from slimworks.components.calibration import reliability
from slimworks.components.contracts import SLICE_PREFIX
from slimworks.components.errors import DataError
from slimworks.components.evaluator import (
    average_precision,
    confusion,
    metrics,
    predictions_file,
)
from slimworks.components.evaluator import scores as scoring
from slimworks.components.evaluator import slices as slicing
from slimworks.components.evaluator.average_precision import Ranking
from slimworks.components.evaluator.config import EvaluateConfig
from slimworks.components.evaluator.intervals import Resampling
from slimworks.components.evaluator.scores import Scores
from slimworks.components.evaluator.slices import Slice

# Probabilities of so many bytes are ranked at a time: 16 classes of a million images.
_RANKED_BYTES = 64 * 2**20
# Served probabilities that differ by more from softmax(logits) were calibrated.
_CALIBRATED_BY = 1e-4
# A table of classes for each slice grows with both: beyond, slices have the overall metrics.
MAX_CLASSES_BY_SLICE = 50


def measure(
    predictions_path: str | os.PathLike[str],
    class_names: Sequence[str],
    num_label_map_classes: int,
    config: EvaluateConfig,
    merged: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """Metrics of one predictions file, plus "num_unknown_class" where there are such rows.

    Args:
        predictions_path: File written by `prediction.predict_split`.
        class_names: Classes of the model, by class index.
        num_label_map_classes: Classes of the label map; rows of the classes that the model
            does not know are counted and left out.
        config: Confidence, bootstrap, slices.
        merged: Classes merged since the model was trained, and the class that each counts as.

    Returns:
        The keys "num_images" to "unsliced_columns" of metrics.json (see `metrics`).

    Raises:
        ConfigError: `evaluate.slices` names a dimension that the images do not have.
        DataError: The model's outputs do not fit its class names, or a class index of the
            examples is outside the label map.
    """
    resampling = Resampling(config.confidence, config.bootstrap_samples, config.bootstrap_seed)
    targets = scoring.counted_as(len(class_names), merged) if merged else None
    reader = Reader(predictions_path, len(class_names), num_label_map_classes, targets)
    scores, before = reader.read_scores()
    columns = reader.read_columns()
    slices = slicing.find(columns, class_names, config.slices)
    ranked_slices = slices if len(class_names) <= MAX_CLASSES_BY_SLICE else []
    sets = [np.ones(len(scores), bool), *(part.rows for part in ranked_slices)]
    rankings = reader.read_rankings(sets)
    whole = metrics.summarize(scores, class_names, rankings[0], resampling)
    result = {
        **whole,
        "confusion_matrix": confusion.count(scores, len(class_names)).matrix.tolist(),
        "reliability": _diagram(scores),
        "reliability_before": None if before is None else _diagram_before(before),
        "slices": [
            _slice_metrics(part, scores, class_names, ranking, resampling)
            for part, ranking in itertools.zip_longest(slices, rankings[1:])
        ],
        "unsliced_columns": [] if config.slices else _unsliced(columns, class_names),
    }
    num_unknown = reader.num_unknown
    return {"num_unknown_class": num_unknown, **result} if num_unknown else result


class Reader:
    """The rows of the classes that the model knows, read as often as needed."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        num_classes: int,
        num_label_map_classes: int,
        targets: np.ndarray | None,
    ) -> None:
        self._path = path
        self._num_classes = num_classes
        self._num_label_map_classes = num_label_map_classes
        self._targets = targets
        self.num_unknown = 0

    def read_scores(self) -> tuple[Scores, Scores | None]:
        """Scores of the served probabilities, and of softmax(logits) where they differ."""
        served, before = [], []
        difference = 0.0
        for class_index, columns in self._groups("probabilities", "logits"):
            served.append(scoring.score(class_index, columns["probabilities"], self._targets))
            uncalibrated = scoring.softmax(columns["logits"])
            before.append(scoring.score(class_index, uncalibrated, self._targets))
            gap = np.abs(uncalibrated - columns["probabilities"])
            difference = max(difference, np.nanmax(gap, initial=0.0))
        is_calibrated = difference > _CALIBRATED_BY
        return scoring.concatenate(served), scoring.concatenate(before) if is_calibrated else None

    def read_columns(self) -> predictions_file.Columns:
        """What slices are found by."""
        columns = predictions_file.read_columns(self._path)
        known = columns["class_index"] < self._num_classes
        self.num_unknown = int((~known).sum())
        return {name: values[known] for name, values in columns.items()}

    def read_rankings(self, sets: Sequence[np.ndarray]) -> list[list[Ranking]]:
        """Rankings of each set of rows ([N] bool) by class, some classes at a time."""
        rankings: list[list[Ranking]] = [[] for _ in sets]
        step = max(1, _RANKED_BYTES // (4 * max(len(sets[0]), 1)))
        for start in range(0, self._num_classes, step):
            classes = slice(start, min(start + step, self._num_classes))
            class_index, probabilities = self._read_probabilities(classes)
            for column, number in zip(probabilities.T, range(start, classes.stop), strict=True):
                for found, rows in zip(rankings, sets, strict=True):
                    is_positive = class_index[rows] == number
                    found.append(average_precision.rank(column[rows], is_positive))
        return rankings

    def _read_probabilities(self, classes: slice) -> tuple[np.ndarray, np.ndarray]:
        """[N] class indices; [N, classes] probabilities, NaN in rows that are not finite."""
        parts = []
        indices = [np.zeros(0, np.int64)]
        for class_index, columns in self._groups("probabilities"):
            rows = columns["probabilities"]
            finite = scoring.finite_rows(rows)[:, None]
            if self._targets is not None:
                rows = scoring.merge(rows, self._targets)
            indices.append(class_index)
            parts.append(np.where(finite, rows[:, classes], np.float32(np.nan)))
        empty = np.zeros((0, classes.stop - classes.start), np.float32)
        return np.concatenate(indices), np.concatenate([empty, *parts])

    def _groups(self, *names: str) -> Iterator[tuple[np.ndarray, predictions_file.Columns]]:
        for columns in predictions_file.read_row_groups(self._path, ["class_index", *names]):
            class_index = columns.pop("class_index")
            for name, values in columns.items():
                self._check(class_index, name, values.shape[1])
            known = class_index < self._num_classes
            yield class_index[known], {name: values[known] for name, values in columns.items()}

    def _check(self, class_index: np.ndarray, name: str, num_outputs: int) -> None:
        if num_outputs != self._num_classes:
            raise DataError(
                f"The model puts out {num_outputs} {name}, its model.json names "
                f"{self._num_classes} classes.",
                "Train the model again: slimworks train, or slimworks run --no-cache=trainer.",
            )
        limit = self._num_label_map_classes
        if len(class_index) and not 0 <= class_index.min() <= class_index.max() < limit:
            raise DataError(
                f"The examples hold the class index {class_index.max()}, the label map has "
                f"{limit} classes.",
                "Give the examples and the label map of one `slimworks ingest`.",
            )


def _diagram(scores: Scores) -> dict[str, Any]:
    answered = scores.where(scores.is_finite)
    return reliability.diagram(answered.confidence, answered.is_correct)


def _diagram_before(scores: Scores) -> dict[str, Any]:
    answered = scores.where(scores.is_finite)
    log_loss = float(answered.log_loss.mean()) if len(answered) else None
    return {"log_loss": log_loss, **_diagram(answered)}


def _slice_metrics(
    part: Slice,
    scores: Scores,
    class_names: Sequence[str],
    rankings: Sequence[Ranking] | None,
    resampling: Resampling,
) -> dict[str, Any]:
    found = metrics.summarize(scores.where(part.rows), class_names, rankings, resampling)
    if rankings is None:
        del found["classes"]
    return {"slice": part.values, **found}


def _unsliced(columns: predictions_file.Columns, class_names: Sequence[str]) -> list[str]:
    sliced = {name for (name,) in slicing.default_dimensions(columns, class_names)}
    names = (key.removeprefix(SLICE_PREFIX) for key in columns if key.startswith(SLICE_PREFIX))
    return [name for name in names if name not in sliced]
