"""A predictions file as small arrays: what every gallery of the report is chosen from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from slimworks.components.arrow import parquet

_COLUMNS = ["image_id", "filename", "class_index", "predicted_index", "probabilities"]


@dataclasses.dataclass(frozen=True)
class Answers:
    """What one model answered, image by image.

    Attributes:
        image_ids: [N] texts.
        filenames: [N] texts.
        class_index: [N] int64, the true class.
        predicted_index: [N] int64; -1 where a probability was not finite.
        confidence: [N] float32, probability of the predicted class; 0 where there is none.
        true_probability: [N] float32, that of the true class; 0 where the model does not know it.
    """

    image_ids: np.ndarray
    filenames: np.ndarray
    class_index: np.ndarray
    predicted_index: np.ndarray
    confidence: np.ndarray
    true_probability: np.ndarray

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def is_wrong(self) -> np.ndarray:
        """[N] bool: a usable answer that is not the true class."""
        return (self.predicted_index >= 0) & (self.predicted_index != self.class_index)


@dataclasses.dataclass(frozen=True)
class RowGroup:
    """Rows of a predictions file, as `Answers` has them, with all probabilities [N, C]."""

    image_ids: np.ndarray
    filenames: np.ndarray
    class_index: np.ndarray
    predicted_index: np.ndarray
    probabilities: np.ndarray


def row_groups(predictions_path: Path) -> Iterator[RowGroup]:
    """Yields a predictions file a row group at a time: memory does not grow with its images."""
    with parquet.ParquetFile(str(predictions_path)) as source:
        for number in range(source.num_row_groups):
            table = source.read_row_group(number, columns=_COLUMNS)
            columns = {name: table.column(name).to_numpy() for name in _COLUMNS[:-1]}
            values = table.column("probabilities").combine_chunks().flatten().to_numpy()
            yield RowGroup(
                image_ids=columns["image_id"],
                filenames=columns["filename"],
                class_index=columns["class_index"],
                predicted_index=columns["predicted_index"],
                probabilities=values.reshape(table.num_rows, -1),
            )


def read_answers(predictions_path: Path) -> Answers:
    """Reads a whole predictions file, without the probabilities of all classes."""
    columns: list[list[np.ndarray]] = []
    for group in row_groups(predictions_path):
        columns.append(
            [
                group.image_ids,
                group.filenames,
                group.class_index,
                group.predicted_index,
                probability_of(group.probabilities, group.predicted_index),
                probability_of(group.probabilities, group.class_index),
            ]
        )
    if not columns:
        texts, indices, floats = np.empty(0, object), np.empty(0, np.int64), np.empty(0, np.float32)
        return Answers(texts, texts, indices, indices, floats, floats)
    return Answers(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))


def probability_of(probabilities: np.ndarray, class_index: np.ndarray) -> np.ndarray:
    """Probability of one class each, 0 where the index is no class of the model.

    Args:
        probabilities: [N, C].
        class_index: [N].

    Returns:
        [N] float32.
    """
    is_known = (class_index >= 0) & (class_index < probabilities.shape[1])
    columns = np.where(is_known, class_index, 0)[:, None]
    found = np.take_along_axis(probabilities, columns, axis=1)[:, 0]
    return np.where(is_known, found, 0.0).astype(np.float32)
