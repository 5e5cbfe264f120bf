"""Counts of true and predicted classes, and how they vary from one sample of images to another."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from slimworks.components.evaluator.intervals import Resampling
from slimworks.components.evaluator.scores import Scores


@dataclasses.dataclass(frozen=True, eq=False)
class Confusion:
    """How often each class was answered for each true class. C: classes.

    Attributes:
        matrix: [C, C] int64, rows true class, columns answers; images without an answer are in
            no column.
        unanswered: [C] int64, images of each true class without an answer.
    """

    matrix: np.ndarray
    unanswered: np.ndarray

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.unanswered)

    @functools.cached_property
    def correct(self) -> np.ndarray:
        """[C] int64, right answers of each class."""
        return np.diagonal(self.matrix)

    @functools.cached_property
    def support(self) -> np.ndarray:
        """[C] int64, images of each class."""
        return np.asarray(self.matrix.sum(axis=1) + self.unanswered)

    @functools.cached_property
    def num_predicted(self) -> np.ndarray:
        """[C] int64, answers that name each class."""
        return np.asarray(self.matrix.sum(axis=0))


@dataclasses.dataclass(frozen=True, eq=False)
class ClassRates:
    """F1 and recall of each class in one or more samples of images: [S, C] float64.

    Attributes:
        f1: 2 TP / (2 TP + FP + FN); NaN where the class neither occurs nor is predicted.
        recall: TP / (TP + FN); NaN where the class does not occur.
        support: Images of each class.
    """

    f1: np.ndarray
    recall: np.ndarray
    support: np.ndarray

    def macro_f1(self) -> np.ndarray:
        """[S]: mean F1 of the classes that occur."""
        return _mean(self.f1, self.support > 0)

    def weighted_f1(self) -> np.ndarray:
        """[S]: mean F1 of the images' classes."""
        return _mean(self.f1, self.support)

    def macro_recall(self) -> np.ndarray:
        """[S]: mean recall of the classes that occur ("balanced accuracy")."""
        return _mean(self.recall, self.support > 0)


Mean = Callable[[ClassRates], np.ndarray]
MEANS: dict[str, Mean] = {
    "macro_f1": ClassRates.macro_f1,
    "weighted_f1": ClassRates.weighted_f1,
    "macro_recall": ClassRates.macro_recall,
}


def count(scores: Scores, num_classes: int) -> Confusion:
    """Counts of all images."""
    finite = scores.is_finite
    cells = scores.class_index[finite] * num_classes + scores.answer[finite]
    matrix = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    unanswered = np.bincount(scores.class_index[~finite], minlength=num_classes)
    return Confusion(matrix.astype(np.int64), unanswered.astype(np.int64))


def class_rates(confusion: Confusion) -> ClassRates:
    """The rates of the counts themselves: one sample."""
    counts = (confusion.correct, confusion.support, confusion.num_predicted)
    return _rates(*(values[None].astype(np.float64) for values in counts))


def resampled(confusion: Confusion, resampling: Resampling) -> ClassRates:
    """The rates of bootstrap samples of the images (Efron 1979).

    Images of one cell of the matrix are alike, so that a sample of N images is one multinomial
    draw over the K cells that are not empty: S x K numbers instead of S x N.
    """
    # Unanswered images are of a class, and answer none: a column of their own.
    cells = np.concatenate([confusion.matrix, confusion.unanswered[:, None]], axis=1)
    true, answer = np.nonzero(cells)
    counts = cells[true, answer]
    generator = resampling.generator()
    parts = []
    for size in resampling.blocks(len(counts) + 4 * confusion.num_classes):
        drawn = generator.multinomial(counts.sum(), counts / counts.sum(), size)
        is_correct = true == answer
        parts.append(
            _rates(
                _summed(drawn[:, is_correct], true[is_correct], confusion.num_classes),
                _summed(drawn, true, confusion.num_classes),
                _summed(drawn, answer, confusion.num_classes + 1)[:, :-1],
            )
        )
    return ClassRates(
        *(np.concatenate(values) for values in zip(*map(_fields, parts), strict=True))
    )


def _rates(correct: np.ndarray, support: np.ndarray, num_predicted: np.ndarray) -> ClassRates:
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: not defined
        return ClassRates(2 * correct / (support + num_predicted), correct / support, support)


def _fields(rates: ClassRates) -> tuple[np.ndarray, ...]:
    return rates.f1, rates.recall, rates.support


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[S]: weighted mean over the classes; what is NaN has no weight there."""
    weighted = np.where(weights > 0, values, 0.0) * weights
    with np.errstate(invalid="ignore"):
        return np.asarray(weighted.sum(axis=1) / weights.sum(axis=1))


def _summed(values: np.ndarray, groups: np.ndarray, num_groups: int) -> np.ndarray:
    """[S, K] summed by the group of each column: [S, num_groups] float64."""
    sums = np.zeros((len(values), num_groups))
    if not len(groups):
        return sums
    order = np.argsort(groups, kind="stable")
    found, starts = np.unique(groups[order], return_index=True)
    sums[:, found] = np.add.reduceat(values[:, order], starts, axis=1)
    return sums
