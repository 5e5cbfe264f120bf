"""Images whose class is probably wrong, by confident learning.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR
70 (2021): a class is likely where its probability reaches the mean that the model gives to the
images of that class; images of one class that are likely of another one are suspects. The model
must not have been trained on the images.
"""

from __future__ import annotations

import csv
import dataclasses
import heapq
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slimworks.components import files
from slimworks.components.labels import corrections
from slimworks.components.report.answers import RowGroup, probability_of, row_groups

LABEL_ERRORS_FILE = "label_errors.csv"
HEADER = ",".join(corrections.SUSPECT_COLUMNS)
# 100,000 lines are a spreadsheet that still opens.
MAX_SUSPECTS = 100_000


@dataclasses.dataclass(frozen=True)
class Suspect:
    """One image that is probably of another class.

    Attributes:
        image_id: Of the image.
        filename: As the source names it.
        given: The class it has.
        suggested: The class it probably is.
        confidence: Probability of the suggested class.
        margin: That minus the probability of the given class: suspects are ranked by it.
    """

    image_id: str
    filename: str
    given: str
    suggested: str
    confidence: float
    margin: float


def thresholds(predictions_path: Path, num_classes: int) -> np.ndarray:
    """Mean probability of each class on its own images: [C] float64, infinite without images."""
    sums, counts = np.zeros(num_classes), np.zeros(num_classes)
    for group in row_groups(predictions_path):
        usable = _usable(group)
        given = group.class_index[usable]
        own = probability_of(group.probabilities[usable], given)
        sums += np.bincount(given, own, num_classes)
        counts += np.bincount(given, minlength=num_classes)
    means = np.full(num_classes, np.inf)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def find_suspects(predictions_path: Path, class_names: Sequence[str]) -> list[Suspect]:
    """Suspects of one predictions file, the likeliest first, at most MAX_SUSPECTS.

    Images without a usable answer, and of classes that the model does not know, are none. Nor is
    an image for whose own class the model speaks most.
    """
    bounds = thresholds(predictions_path, len(class_names))
    heap: list[tuple[float, str, Suspect]] = []
    for group in row_groups(predictions_path):
        for suspect in _suspects_of(group, bounds, class_names):
            heapq.heappush(heap, (suspect.margin, suspect.image_id, suspect))
            if len(heap) > MAX_SUSPECTS:
                heapq.heappop(heap)
    ranked = sorted(heap, key=lambda item: (-item[0], item[1]))
    return [suspect for *_, suspect in ranked]


def _suspects_of(group: RowGroup, bounds: np.ndarray, class_names: Sequence[str]) -> list[Suspect]:
    probabilities = np.where(_usable(group)[:, None], group.probabilities, 0.0)
    # float32 sums and means differ in the last digit: a class alone would miss its own mean.
    likely = np.where(probabilities >= bounds - 1e-6, probabilities, -1.0)
    suggested = likely.argmax(axis=1)
    confidence = likely.max(axis=1)
    margin = confidence - probability_of(probabilities, group.class_index)
    is_suspect = _usable(group) & (suggested != group.class_index) & (margin > 0)
    return [
        Suspect(
            image_id=str(group.image_ids[row]),
            filename=str(group.filenames[row]),
            given=class_names[group.class_index[row]],
            suggested=class_names[suggested[row]],
            confidence=float(confidence[row]),
            margin=float(margin[row]),
        )
        for row in np.flatnonzero(is_suspect)
    ]


def _usable(group: RowGroup) -> np.ndarray:
    """[N] bool: a finite answer to an image of a class that the model knows."""
    is_known = (group.class_index >= 0) & (group.class_index < group.probabilities.shape[1])
    usable: np.ndarray = is_known & (group.predicted_index >= 0)
    return usable


def csv_lines(suspects: Sequence[Suspect]) -> list[str]:
    """Lines of label_errors.csv, whose last cell, `accept`, is left for people to fill in."""
    stream = io.StringIO()
    lines = []
    for suspect in suspects:
        texts = (suspect.filename, suspect.given, suspect.suggested)
        safe = (corrections.as_cell(text) for text in texts)
        row = (suspect.image_id, *safe, f"{suspect.confidence:.4f}", "")
        csv.writer(stream, lineterminator="").writerow(row)
        lines.append(stream.getvalue())
        stream.seek(0)
        stream.truncate()
    return lines


def write_csv(path: str | os.PathLike[str], suspects: Sequence[Suspect]) -> None:
    """Writes label_errors.csv atomically; `slimworks apply-fixes` takes the accepted rows."""
    text = "\n".join([HEADER, *csv_lines(suspects), ""])
    # A name may hold bytes that are no text; they come back as they were.
    files.write_bytes(path, text.encode("utf-8", "surrogateescape"))
