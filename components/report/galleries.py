"""Which images the report shows: worst mistakes, fixed and broken ones, examples of confusions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimworks.components import contracts
from slimworks.components.contracts import LabelMap
from slimworks.components.report.answers import Answers, read_answers
from slimworks.components.report.label_errors import Suspect
from slimworks.components.report.pictures import NO_PICTURE, Picture

# Images of each of the galleries "fixed" and "broken", and of suspected label errors.
MAX_CHANGED = 12
MAX_SUSPECTS_SHOWN = 24
# Examples of one cell of the confusion matrix, and of the whole matrix.
MAX_EXAMPLES_OF_CELL = 3
MAX_EXAMPLES = 60


@dataclasses.dataclass(frozen=True)
class Shown:
    """One image with what a model says of it and what it truly is."""

    image_id: str
    filename: str
    true: str
    predicted: str
    confidence: float
    true_probability: float
    picture: Picture = NO_PICTURE
    baseline: str = ""  # what the baseline says, where that is shown


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Some images of `count` that there are."""

    images: Sequence[Shown]
    count: int


@dataclasses.dataclass(frozen=True)
class Changes:
    """Images that only the candidate answers right (fixed), or only the baseline (broken)."""

    fixed: Gallery
    broken: Gallery
    num_compared: int


def worst_mistakes(answers: Answers, class_names: Sequence[str], limit: int) -> Gallery:
    """The surest wrong answers first. Images without a usable answer (NaN) are none of them."""
    rows = np.flatnonzero(answers.is_wrong)
    return _gallery(answers, class_names, rows, limit)


def changed_images(
    candidate: Answers,
    class_names: Sequence[str],
    baseline_path: Path | None,
    num_baseline_classes: int,
    label_map: LabelMap | None,
) -> Changes | None:
    """Images that one of two models answers right; None without a baseline.

    As in the gate, only images of classes that the baseline knows are compared, and an answer of
    the baseline that names a merged class counts as the class that it was merged into.

    Args:
        candidate: Answers of the candidate.
        class_names: Of the candidate.
        baseline_path: Predictions of the baseline.
        num_baseline_classes: Classes that the baseline knows.
        label_map: Of this run, for its merges.
    """
    if baseline_path is None:
        return None
    baseline = read_answers(baseline_path)
    order = np.argsort(baseline.image_ids, kind="stable")
    places = np.searchsorted(baseline.image_ids[order], candidate.image_ids)
    found = order[np.minimum(places, len(order) - 1)] if len(order) else np.empty(0, np.int64)
    if not len(order):
        return None
    is_same = baseline.image_ids[found] == candidate.image_ids
    is_compared = is_same & (candidate.class_index < num_baseline_classes)
    predicted = _merged(baseline.predicted_index[found], label_map)
    is_right = candidate.predicted_index == candidate.class_index
    was_right = predicted == candidate.class_index
    fixed = np.flatnonzero(is_compared & is_right & ~was_right)
    broken = np.flatnonzero(is_compared & ~is_right & was_right)
    said = dict(zip(candidate.image_ids, predicted, strict=True))
    return Changes(
        _with_baseline(_gallery(candidate, class_names, fixed, MAX_CHANGED), said, class_names),
        _with_baseline(_gallery(candidate, class_names, broken, MAX_CHANGED), said, class_names),
        int(is_compared.sum()),
    )


def _with_baseline(
    gallery: Gallery, said: Mapping[Any, Any], class_names: Sequence[str]
) -> Gallery:
    """Adds what the baseline says; `said` are class indices by image id."""
    images = []
    for image in gallery.images:
        index = int(said[image.image_id])
        known = 0 <= index < len(class_names)
        name = class_names[index] if known else "no usable answer"
        images.append(dataclasses.replace(image, baseline=name))
    return dataclasses.replace(gallery, images=images)


def _merged(predicted: np.ndarray, label_map: LabelMap | None) -> np.ndarray:
    merged = label_map.merged_since(0) if label_map is not None else {}
    for index, into in merged.items():
        predicted = np.where(predicted == index, into, predicted)
    return predicted


def examples_of_cells(
    answers: Answers, class_names: Sequence[str]
) -> dict[tuple[int, int], list[Shown]]:
    """A few images of each cell of the confusion matrix, (true, predicted); the surest first.

    Confusions come before the diagonal, so that they are never the ones to be left out.
    """
    usable = np.flatnonzero(
        (answers.predicted_index >= 0) & (answers.class_index < len(class_names))
    )
    is_wrong = answers.is_wrong[usable]
    ranked = usable[np.lexsort((-answers.confidence[usable], ~is_wrong))]
    cells: dict[tuple[int, int], list[Shown]] = {}
    left = MAX_EXAMPLES
    for row in ranked:
        cell = int(answers.class_index[row]), int(answers.predicted_index[row])
        shown = cells.setdefault(cell, [])
        if len(shown) < MAX_EXAMPLES_OF_CELL and left:
            left -= 1
            shown.append(_shown(answers, class_names, int(row)))
    return {cell: shown for cell, shown in cells.items() if shown}


def suspects_shown(suspects: Sequence[Suspect]) -> Gallery:
    """The likeliest label errors."""
    images = [
        Shown(
            image_id=suspect.image_id,
            filename=suspect.filename,
            true=suspect.given,
            predicted=suspect.suggested,
            confidence=suspect.confidence,
            true_probability=suspect.confidence - suspect.margin,
        )
        for suspect in suspects[:MAX_SUSPECTS_SHOWN]
    ]
    return Gallery(images, len(suspects))


def with_pictures(gallery: Gallery, pictures: Mapping[str, Picture]) -> Gallery:
    """The gallery with the pictures that there are."""
    return dataclasses.replace(gallery, images=illustrated(gallery.images, pictures))


def illustrated(images: Sequence[Shown], pictures: Mapping[str, Picture]) -> list[Shown]:
    """The images with the pictures that there are."""
    return [
        dataclasses.replace(image, picture=pictures.get(image.image_id, NO_PICTURE))
        for image in images
    ]


def baseline_file(evaluation_dir: Path | None, metrics: Mapping[str, Any] | None) -> Path | None:
    """The baseline's predictions, where the run compared with one."""
    if evaluation_dir is None or not (metrics or {}).get("baseline"):
        return None
    path = evaluation_dir / contracts.BASELINE_PREDICTIONS_FILE
    return path if path.is_file() else None


def _gallery(answers: Answers, class_names: Sequence[str], rows: np.ndarray, limit: int) -> Gallery:
    """The surest of some rows; of equally sure ones by image id."""
    ranked = rows[np.lexsort((answers.image_ids[rows].astype(str), -answers.confidence[rows]))]
    images = [_shown(answers, class_names, int(row)) for row in ranked[:limit]]
    return Gallery(images, len(rows))


def _shown(answers: Answers, class_names: Sequence[str], row: int) -> Shown:
    true, predicted = int(answers.class_index[row]), int(answers.predicted_index[row])
    return Shown(
        image_id=str(answers.image_ids[row]),
        filename=str(answers.filenames[row]),
        true=class_names[true] if true < len(class_names) else f"class {true}",
        predicted=class_names[predicted] if predicted >= 0 else "no usable answer",
        confidence=float(answers.confidence[row]),
        true_probability=float(answers.true_probability[row]),
    )
