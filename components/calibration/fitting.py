"""Fits a calibration to what the finished network makes of the eval split."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from slimworks.components.calibration import known, reliability, temperature, thresholds
from slimworks.components.calibration.calibration import Calibration, KnownRule

# One number cannot be told from fewer, and one in twenty images would count as unknown.
MIN_IMAGES = 20

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Observed:
    """What the network makes of some images.

    Attributes:
        logits: [N, K].
        embeddings: [N, D].
        class_index: True classes, int64 [N].
    """

    logits: np.ndarray
    embeddings: np.ndarray
    class_index: np.ndarray

    def finite(self) -> Observed:
        """Without the images of which a logit or an embedding is no number."""
        rows = np.isfinite(self.logits).all(axis=1) & np.isfinite(self.embeddings).all(axis=1)
        return Observed(self.logits[rows], self.embeddings[rows], self.class_index[rows])


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What to fit.

    Attributes:
        temperature: Whether to fit one.
        min_precision: That answers of each class must have to count; None: all count.
        known_by: How unknown images are told; none: not at all.
        known_rate: Fraction of the eval images that count as known.
    """

    temperature: bool = True
    min_precision: float | None = None
    known_by: known.Method | Literal["none"] = "distance"
    known_rate: float = 0.99


def fit(
    observed: Observed,
    class_names: Sequence[str],
    wanted: Wanted,
    train_means: np.ndarray | None = None,
) -> tuple[Calibration, dict[str, Any]]:
    """Fits temperature, thresholds of classes and the rule for unknown images, in this order.

    Images with a value that is no number are left out. Too few images, or none that tells, leave
    out a part; the facts then hold the reason.

    Args:
        observed: The eval split.
        class_names: By class index.
        wanted: What to fit.
        train_means: `known.class_means` of training images, for the method distance.

    Returns:
        The calibration, and what model.json says of it: docs/calibration.md lists the keys.
    """
    images = observed.finite()
    notes: list[str] = []
    fitted = _temperature(images, wanted, notes)
    probabilities = temperature.softmax(images.logits, fitted)
    of_classes = _thresholds(probabilities, images.class_index, class_names, wanted, notes)
    rule, rule_facts = _known_rule(images, probabilities, wanted, train_means, notes)
    for note in notes:
        _log.warning("calibration: %s", note)
    facts = {
        "split": "eval",
        "num_images": len(images.class_index),
        "temperature": fitted,
        **_before_and_after(images, fitted),
        "min_precision": wanted.min_precision,
        "thresholds": None
        if of_classes is None
        else dict(zip(class_names, of_classes, strict=True)),
        "is_known": rule_facts,
        "notes": notes,
    }
    thresholds_ = None if of_classes is None else tuple(of_classes)
    return Calibration(fitted, thresholds_, rule), facts


def _temperature(images: Observed, wanted: Wanted, notes: list[str]) -> float:
    if not wanted.temperature:
        return 1.0
    reason = _no_temperature(images)
    if reason is not None:
        notes.append(f"probabilities are as the network gives them: {reason}")
        return 1.0
    fitted = temperature.fit_temperature(images.logits, images.class_index)
    if fitted in (temperature.MIN_TEMPERATURE, temperature.MAX_TEMPERATURE):
        notes.append(f"the temperature is at its bound, {fitted:g}")
    return fitted


def _no_temperature(images: Observed) -> str | None:
    """Why the eval split tells no temperature."""
    truth = images.class_index
    if len(truth) < MIN_IMAGES:
        return f"{len(truth)} eval images, {MIN_IMAGES} are needed"
    if len(np.unique(truth)) < 2:
        return "all eval images are of one class"
    if (images.logits.argmax(axis=1) == truth).all():
        # The loss falls for ever as T does: the next mistake would be made with probability 1.
        return "every eval image is recognised, so that they bound no temperature"
    return None


def _thresholds(
    probabilities: np.ndarray,
    class_index: np.ndarray,
    class_names: Sequence[str],
    wanted: Wanted,
    notes: list[str],
) -> list[float | None] | None:
    if wanted.min_precision is None:
        return None
    found = thresholds.precision_thresholds(probabilities, class_index, wanted.min_precision)
    never = [name for name, value in zip(class_names, found, strict=True) if value is None]
    if never:
        notes.append(
            f"answers {', '.join(never)} never count as known: no threshold is shown to give a "
            f"precision of {wanted.min_precision:g}, which takes at least "
            f"{thresholds.num_needed(wanted.min_precision)} eval images with that answer"
        )
    return found


def _known_rule(
    images: Observed,
    probabilities: np.ndarray,
    wanted: Wanted,
    train_means: np.ndarray | None,
    notes: list[str],
) -> tuple[KnownRule | None, dict[str, Any] | None]:
    if wanted.known_by == "none":
        return None, None
    if (num_images := len(images.class_index)) < MIN_IMAGES:
        notes.append(
            f"every image counts as known: {num_images} eval images, {MIN_IMAGES} are needed"
        )
        return None, None
    sign = 1.0
    if wanted.known_by == "probability":
        scores = probabilities.max(axis=1)
    elif wanted.known_by == "energy":
        scores = known.energy(images.logits)
    elif train_means is not None:
        scores, sign = -known.distance(images.embeddings, train_means), -1.0
    else:
        notes.append("every image counts as known: no training image has an embedding of numbers")
        return None, None
    lowest = known.lowest_kept(scores, wanted.known_rate)
    means = train_means if wanted.known_by == "distance" else None
    rule = KnownRule(wanted.known_by, sign * lowest, means)
    facts = {
        "method": rule.method,
        "threshold": rule.threshold,
        "known_rate": wanted.known_rate,
        "kept_rate": float(np.mean(scores >= lowest)),
    }
    return rule, facts


def _before_and_after(images: Observed, fitted: float) -> dict[str, Any]:
    """Log loss, calibration error and reliability diagram without and with the temperature."""
    facts: dict[str, Any] = {}
    for when, value in (("before", 1.0), ("after", fitted)):
        probabilities = temperature.softmax(images.logits, value)
        is_correct = probabilities.argmax(axis=1) == images.class_index
        found = reliability.diagram(probabilities.max(axis=1, initial=0.0), is_correct)
        has_images = len(images.class_index) > 0
        facts[f"log_loss_{when}"] = (
            temperature.log_loss(images.logits, images.class_index, value) if has_images else None
        )
        facts[f"ece_{when}"] = found["ece"]
        facts[f"reliability_{when}"] = {"bins": found["bins"]}
    return facts
