"""How far what clients send is from what the model was trained on, and its answers from the test.

Images are compared by TFDV, as spans are (drift.py). Answers are compared with the evaluation of
the model: classes by the largest change of a share, confidence by the Jensen-Shannon divergence of
two histograms in the bins of the reliability diagram, is_known by its share.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimworks.components import contracts, files
from slimworks.components.calibration import reliability
from slimworks.components.serving.logged import Answer
from slimworks.components.statistics import drift
from slimworks.components.statistics.drift import (
    JENSEN_SHANNON,
    L_INFINITY,
    MIN_IMAGES,
    Comparison,
    Statistics,
)
from slimworks.components.statistics.live_requests import LiveRequests, read_requests

MAX_REQUESTS = 1_000
PREDICTED_CLASS, CONFIDENCE, IS_KNOWN = "predicted_class", "confidence", "is_known"
MEASURES = {
    **drift.MEASURES,
    PREDICTED_CLASS: L_INFINITY,
    CONFIDENCE: JENSEN_SHANNON,
    IS_KNOWN: L_INFINITY,
}


@dataclasses.dataclass(frozen=True)
class Reference:
    """What live requests are compared with.

    Attributes:
        statistics: Of the images that the model was trained on.
        num_images: Of the evaluation.
        class_shares: Share of the test images by predicted class; empty without an evaluation.
        confidence_counts: Test images in each bin of the reliability diagram.
        known_fraction: Of the eval images that count as known; None where all do.
    """

    statistics: Statistics | None
    num_images: int = 0
    class_shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    confidence_counts: Sequence[int] = ()
    known_fraction: float | None = None


def read_reference(
    statistics: Statistics | None,
    evaluation_dir: str | os.PathLike[str] | None,
    model_dir: str | os.PathLike[str] | None,
) -> Reference:
    """The reference of a model; what is missing, because it was removed, is not compared.

    Args:
        statistics: Of its training images.
        evaluation_dir: Evaluation artifact.
        model_dir: Model artifact.
    """
    metrics = _json(evaluation_dir, contracts.EVALUATION_METRICS_FILE)
    model = _json(model_dir, contracts.MODEL_FACTS_FILE)
    total = int(metrics.get("num_images", 0))
    bins = (metrics.get("reliability") or {}).get("bins", [])
    is_known = (model.get("calibration") or {}).get("is_known") or {}
    return Reference(
        statistics,
        total,
        {entry["class_name"]: entry["num_predicted"] / total for entry in metrics["classes"]}
        if total
        else {},
        [entry["count"] for entry in bins],
        is_known.get("known_rate"),
    )


@dataclasses.dataclass(frozen=True)
class LiveDrift:
    """Live requests against the reference.

    Attributes:
        requests: What was read; None where there is no log yet.
        inputs: Images against the training images.
        outputs: Answers against the evaluation.
        known_fraction: Of the live answers; None where the model does not say.
    """

    requests: LiveRequests | None
    inputs: Comparison
    outputs: Comparison
    known_fraction: float | None = None

    def above(self, threshold: float | None) -> dict[str, float]:
        """Features that reach a threshold, largest distance first; none with too few images."""
        over = {**self.inputs.above(threshold), **self.outputs.above(threshold)}
        return dict(sorted(over.items(), key=lambda item: -item[1]))

    @property
    def is_enough_data(self) -> bool:
        """Whether either comparison says more than chance."""
        return self.inputs.is_enough_data or self.outputs.is_enough_data

    @property
    def largest(self) -> tuple[str, float] | None:
        """Feature and distance that drifted most, of comparisons with enough images."""
        sides = [side for side in (self.inputs, self.outputs) if side.is_enough_data]
        found = [side.largest for side in sides if side.largest is not None]
        return max(found, key=lambda item: item[1], default=None)

    @property
    def distances(self) -> dict[str, float]:
        """All distances by feature."""
        return {**self.inputs.distances, **self.outputs.distances}

    def to_json(self) -> dict[str, Any]:
        """What drift.json and `slimworks drift --json` hold."""
        requests, largest = self.requests, self.largest
        return {
            "num_requests": requests.num_requests if requests else 0,
            "num_damaged": requests.num_damaged if requests else 0,
            "num_images": self.inputs.num_images,
            "num_reference_images": self.inputs.num_previous_images,
            "num_answers": self.outputs.num_images,
            "num_reference_answers": self.outputs.num_previous_images,
            "rejected": dict(requests.rejected) if requests else {},
            "versions": {str(k): v for k, v in requests.versions.items()} if requests else {},
            "known_fraction": self.known_fraction,
            "distances": {
                name: {"distance": distance, "measure": MEASURES[name]}
                for name, distance in self.distances.items()
            },
            "largest": largest and {"feature": largest[0], "distance": largest[1]},
            "is_enough_data": self.is_enough_data,
        }


NO_LOG = LiveDrift(None, Comparison(), Comparison())


def measure(
    log: str | os.PathLike[str], reference: Reference, max_requests: int = MAX_REQUESTS
) -> LiveDrift:
    """Compares the newest logged requests with a reference.

    Raises:
        DataError: There is no log.
    """
    requests = read_requests(log, max_requests)
    statistics = requests.statistics() if requests.images else None
    found = drift.compare(statistics, reference.statistics)
    # A request has no true class, and TFDV would call what is missing infinitely far.
    distances = {k: v for k, v in found.distances.items() if k != contracts.CLASS_NAME}
    inputs = dataclasses.replace(found, num_images=len(requests.images), distances=distances)
    known = [answer.is_known for answer in requests.answers if answer.is_known is not None]
    fraction = sum(known) / len(known) if known else None
    outputs = _compare_answers(requests.answers, reference, fraction)
    return LiveDrift(requests, inputs, outputs, fraction)


def _compare_answers(
    answers: Sequence[Answer], reference: Reference, known_fraction: float | None
) -> Comparison:
    answered = [answer for answer in answers if answer.class_names]
    distances: dict[str, float] = {}
    if answered and reference.class_shares:
        counts = collections.Counter(answer.class_names[0] for answer in answered)
        distances[PREDICTED_CLASS] = max(
            abs(counts[name] / len(answered) - reference.class_shares.get(name, 0.0))
            for name in {*counts, *reference.class_shares}
        )
    if answered and len(reference.confidence_counts) == reliability.NUM_BINS:
        confidence = np.array([answer.probabilities[0] for answer in answered])
        numbers = reliability.bin_numbers(confidence)
        live = np.bincount(numbers, minlength=reliability.NUM_BINS)
        distances[CONFIDENCE] = jensen_shannon(live, np.array(reference.confidence_counts))
    if known_fraction is not None and reference.known_fraction is not None:
        distances[IS_KNOWN] = abs(known_fraction - reference.known_fraction)
    return Comparison(len(answered), reference.num_images, distances)


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> float:
    """Divergence of two histograms of the same bins, in bits: 0 to 1. Lin 1991."""
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2
    return float((_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2)


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    some = p > 0
    return float((p[some] * np.log2(p[some] / q[some])).sum())


def sentence(live: LiveDrift) -> str:
    """What the largest drift is, for a reason."""
    if live.requests is None:
        return "no request is logged yet"
    if not live.is_enough_data or live.largest is None:
        sizes = [
            min(side.num_images, side.num_previous_images) for side in (live.inputs, live.outputs)
        ]
        return (
            f"too few logged images to speak of live drift: {max(sizes)} of at least {MIN_IMAGES}"
        )
    feature, distance = live.largest
    return (
        f"largest live drift {distance:.2f} of {feature} in {live.requests.num_requests:,} "
        "logged requests"
    )


def _json(folder: str | os.PathLike[str] | None, name: str) -> dict[str, Any]:
    path = None if folder is None else Path(folder) / name
    return files.read_json(path) if path is not None and path.is_file() else {}
