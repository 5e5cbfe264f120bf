"""Everything of the report that shows test images, read in as few passes as possible."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts
from slimworks.components.contracts import LabelMap
from slimworks.components.errors import DataError
from slimworks.components.report import galleries, label_errors
from slimworks.components.report.answers import read_answers
from slimworks.components.report.classes import MAX_MATRIX_CLASSES
from slimworks.components.report.galleries import Changes, Gallery, Shown
from slimworks.components.report.label_errors import Suspect
from slimworks.components.report.pictures import Picture, read_pictures


@dataclasses.dataclass(frozen=True)
class ImagesView:
    """Galleries of the report.

    Attributes:
        worst: The surest mistakes.
        changes: Images fixed and broken against the baseline; None without a baseline.
        examples: A few images by cell of the confusion matrix, (true, predicted).
        suspects: All probable label errors, the likeliest first.
        labels: The first of them with pictures.
        lines: The line of label_errors.csv of each image of `labels`, without its last cell.
        split: The split that all of them are from.
        note: Why there are no pictures; empty where there are.
    """

    worst: Gallery
    changes: Changes | None
    examples: Mapping[tuple[int, int], Sequence[Shown]]
    suspects: Sequence[Suspect]
    labels: Gallery
    lines: Sequence[str]
    split: str
    note: str

    def examples_of(self, true: int, predicted: int) -> Sequence[Shown]:
        """Examples of one cell; empty where it has none."""
        return self.examples.get((true, predicted), ())


def images_view(
    evaluation_dir: str | os.PathLike[str] | None,
    metrics: Mapping[str, Any] | None,
    examples_dir: str | os.PathLike[str] | None,
    label_map: LabelMap | None,
    num_worst: int,
) -> ImagesView | None:
    """Chooses the images, then reads their pictures; None without predictions.

    Args:
        evaluation_dir: Evaluation artifact.
        metrics: Content of its metrics.json.
        examples_dir: Examples artifact with the original images.
        label_map: Of the run.
        num_worst: Mistakes to show.
    """
    folder = None if evaluation_dir is None else Path(evaluation_dir)
    if folder is None or metrics is None:
        return None
    predictions = folder / contracts.PREDICTIONS_FILE
    if not predictions.is_file():
        return None
    chosen = _choose(predictions, folder, metrics, label_map, num_worst)
    pictures, note = _pictures(_image_ids(chosen), examples_dir, metrics["split"])
    changes = chosen.changes
    return dataclasses.replace(
        chosen,
        worst=galleries.with_pictures(chosen.worst, pictures),
        changes=None if changes is None else _illustrated(changes, pictures),
        examples={
            cell: galleries.illustrated(shown, pictures) for cell, shown in chosen.examples.items()
        },
        labels=galleries.with_pictures(chosen.labels, pictures),
        note=note,
    )


def _choose(
    predictions: Path,
    folder: Path,
    metrics: Mapping[str, Any],
    label_map: LabelMap | None,
    num_worst: int,
) -> ImagesView:
    names = [entry["class_name"] for entry in metrics["classes"]]
    answers = read_answers(predictions)
    baseline = galleries.baseline_file(folder, metrics)
    num_known = len((metrics.get("baseline") or {}).get("class_names") or ())
    suspects = label_errors.find_suspects(predictions, names)
    has_matrix = metrics["num_classes"] <= MAX_MATRIX_CLASSES
    return ImagesView(
        worst=galleries.worst_mistakes(answers, names, num_worst),
        changes=galleries.changed_images(answers, names, baseline, num_known, label_map),
        examples=galleries.examples_of_cells(answers, names) if has_matrix else {},
        suspects=suspects,
        labels=galleries.suspects_shown(suspects),
        lines=label_errors.csv_lines(suspects[: galleries.MAX_SUSPECTS_SHOWN]),
        split=metrics["split"],
        note="",
    )


def _image_ids(view: ImagesView) -> set[str]:
    changed = (view.changes.fixed, view.changes.broken) if view.changes else ()
    shown = [image for gallery in (view.worst, view.labels, *changed) for image in gallery.images]
    shown += [image for cell in view.examples.values() for image in cell]
    return {image.image_id for image in shown}


def _pictures(
    image_ids: set[str], examples_dir: str | os.PathLike[str] | None, split: str
) -> tuple[dict[str, Picture], str]:
    if not image_ids:
        return {}, ""
    if examples_dir is None:
        return {}, "The examples are gone: no pictures."
    try:
        return read_pictures(image_ids, examples_dir, split), ""
    except DataError as error:
        return {}, f"No pictures: {error.cause}"


def _illustrated(changes: Changes, pictures: Mapping[str, Picture]) -> Changes:
    return dataclasses.replace(
        changes,
        fixed=galleries.with_pictures(changes.fixed, pictures),
        broken=galleries.with_pictures(changes.broken, pictures),
    )
