"""What is known of each image after a prediction: a few numbers instead of its probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

TOP_K = 5
# Keras and TFMA clip at the same value: one confident mistake costs 16 nats, not infinity.
LOG_LOSS_CLIP = 1e-7


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """One value an image; NaN (False, -1) where a probability is not finite.

    Attributes:
        class_index: [N] int64, the true class.
        answer: [N] int64, the class that the model's answer counts as; -1 where it gave none.
        confidence: [N] float64, probability of the answer.
        log_loss: [N] float64, -log p(true class), nats.
        brier: [N] float64, sum over the classes of (p - 1[true class])^2, 0 to 2.
        is_top_k: [N] bool, the true class is among the TOP_K most probable.
    """

    class_index: np.ndarray
    answer: np.ndarray
    confidence: np.ndarray
    log_loss: np.ndarray
    brier: np.ndarray
    is_top_k: np.ndarray

    def __len__(self) -> int:
        return len(self.class_index)

    @property
    def is_finite(self) -> np.ndarray:
        """[N] bool: the model gave an answer."""
        return self.answer >= 0

    @property
    def is_correct(self) -> np.ndarray:
        """[N] bool: the answer is the true class."""
        return self.answer == self.class_index

    def where(self, rows: np.ndarray) -> Scores:
        """The images that `rows` ([N] bool or indices) selects."""
        return Scores(**{name: values[rows] for name, values in vars(self).items()})


def concatenate(parts: Sequence[Scores]) -> Scores:
    """Scores of all parts, in order; of no image where there is no part."""
    parts = parts or [score(np.zeros(0, np.int64), np.zeros((0, 1)))]
    names = [field.name for field in dataclasses.fields(Scores)]
    return Scores(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def score(
    class_index: np.ndarray, probabilities: np.ndarray, targets: np.ndarray | None = None
) -> Scores:
    """Scores of one batch.

    Args:
        class_index: [N] int64 in [0, C), the true classes.
        probabilities: [N, C] float.
        targets: [C] int64, the class that an answer counts as; None: itself. The answer is the
            most probable class before merging, as the model's clients read it.
    """
    answer = predicted_indices(probabilities)
    finite = answer >= 0
    rows = np.where(finite[:, None], probabilities, 0.0).astype(np.float64)
    if targets is not None:
        answer, rows = np.where(finite, targets[answer], -1), merge(rows, targets)
    number = np.arange(len(rows))
    true = rows[number, class_index]
    brier = (rows**2).sum(axis=1) - true**2 + (1.0 - true) ** 2
    return Scores(
        class_index=class_index,
        answer=answer,
        confidence=np.where(finite, rows[number, answer], np.nan),
        log_loss=np.where(finite, -np.log(np.clip(true, LOG_LOSS_CLIP, 1.0)), np.nan),
        brier=np.where(finite, brier, np.nan),
        is_top_k=finite & (ranks_of_true_class(class_index, rows) < TOP_K),
    )


def finite_rows(probabilities: np.ndarray) -> np.ndarray:
    """True for each row without NaN or infinity. probabilities: [N, C] float -> [N] bool."""
    return np.isfinite(probabilities).all(axis=1)


def predicted_indices(probabilities: np.ndarray) -> np.ndarray:
    """Most probable class of each row, -1 where a probability is not finite.

    [N, C] float -> [N] int64. Of equal probabilities the smallest class index wins.
    """
    finite = finite_rows(probabilities)
    safe = np.where(finite[:, None], probabilities, 0.0)
    return np.where(finite, safe.argmax(axis=1), -1).astype(np.int64)


def ranks_of_true_class(class_index: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Number of classes placed before the true one; ties by class index, as argmax does.

    class_index: [N] int64, probabilities: [N, C] finite -> [N] int64, 0 = most probable.
    """
    true = probabilities[np.arange(len(class_index)), class_index][:, None]
    before = np.arange(probabilities.shape[1])[None, :] < class_index[:, None]
    return ((probabilities > true) | ((probabilities == true) & before)).sum(axis=1)


def counted_as(num_classes: int, merged: Mapping[int, int]) -> np.ndarray:
    """[C] int64: the class that each class counts as, itself unless it was merged since.

    A class merged into one that the model does not know stays: it is no right answer any more.
    """
    return np.array(
        [into if (into := merged.get(i, i)) < num_classes else i for i in range(num_classes)],
        np.int64,
    )


def merge(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Probabilities [N, C] with those of merged classes added to their targets'."""
    summed = np.zeros_like(probabilities)
    np.add.at(summed.T, targets, probabilities.T)
    return summed


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits [N, C]; NaN where a logit is not finite."""
    finite = np.isfinite(logits).all(axis=1, keepdims=True)
    safe = np.where(finite, logits, 0.0).astype(np.float64)
    powers = np.exp(safe - safe.max(axis=1, keepdims=True, initial=-np.inf))
    return np.where(finite, powers / powers.sum(axis=1, keepdims=True), np.nan)
