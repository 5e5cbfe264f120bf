"""Adds up what the served answers to the replayed images differ by."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slimworks.components.replay import comparison
from slimworks.components.replay.comparison import Difference, Expected, Mismatch

if TYPE_CHECKING:
    from slimworks.components.serving.answers import Prediction


@dataclasses.dataclass(frozen=True)
class ProtocolResult:
    """What came of one model by one protocol.

    Attributes:
        num_images: Images sent, each of them alone and in a batch.
        max_probability_difference: Largest one seen; None where one was not a number.
        num_top1_mismatches: Images whose best class differs by more than a tie.
        latency_ms: "p50" and "p99" of the requests with a single image.
        mismatches: One for each image that differs, in file order.
    """

    num_images: int
    max_probability_difference: float | None
    num_top1_mismatches: int
    latency_ms: dict[str, float]
    mismatches: tuple[Mismatch, ...]

    @property
    def top1_agreement(self) -> float:
        """Fraction of the images with the offline best class."""
        return 1 - self.num_top1_mismatches / self.num_images

    def to_json(self) -> dict[str, Any]:
        """Its part of replay.json."""
        return {
            "num_images": self.num_images,
            "num_mismatches": len(self.mismatches),
            "top1_agreement": self.top1_agreement,
            "max_probability_difference": self.max_probability_difference,
            "latency_ms": self.latency_ms,
        }


class Tally:
    """Collects answers; an image may be answered several times.

    Args:
        expected: Offline predictions by image id.
        tolerance: Largest difference of a probability that is no mismatch.
        protocol: That the answers came by.
    """

    def __init__(
        self, expected: Mapping[str, Expected], tolerance: float, protocol: str = "grpc"
    ) -> None:
        self._expected = expected
        self._tolerance = tolerance
        self._protocol = protocol
        self._image_ids: set[str] = set()
        self._seconds: list[float] = []
        self._largest = 0.0
        self._mismatches: dict[str, Mismatch] = {}

    def add_seconds(self, seconds: float) -> None:
        """Counts the latency of a request with a single image."""
        self._seconds.append(seconds)

    def compare(
        self, image_id: str, filename: str, answer: Prediction, num_images_in_request: int
    ) -> None:
        """Counts one answer; the worst one of an image is kept."""
        self._image_ids.add(image_id)
        expected = self._expected[image_id]
        difference = comparison.difference_of(
            expected, answer.class_indices, answer.probabilities, self._tolerance
        )
        if math.isnan(difference.probability) or difference.probability > self._largest:
            self._largest = difference.probability  # once NaN, it stays NaN
        if not difference.exceeds(self._tolerance):
            return
        earlier = self._mismatches.get(image_id)
        if earlier is None or _severity(difference) > _severity(earlier.difference):
            self._mismatches[image_id] = Mismatch(
                filename=filename,
                expected=_expected_best(expected),
                served=_served_best(answer),
                difference=difference,
                num_images_in_request=num_images_in_request,
                protocol=self._protocol,
            )

    def result(self) -> ProtocolResult:
        """What was seen; at least one latency must have been counted."""
        mismatches = tuple(self._mismatches.values())
        return ProtocolResult(
            num_images=len(self._image_ids),
            max_probability_difference=comparison.finite_or_none(self._largest),
            num_top1_mismatches=sum(not m.difference.is_same_class for m in mismatches),
            latency_ms={
                "p50": round(1_000 * percentile(self._seconds, 0.50), 3),
                "p99": round(1_000 * percentile(self._seconds, 0.99), 3),
            },
            mismatches=mismatches,
        )


def percentile(values: Sequence[float], fraction: float) -> float:
    """Nearest-rank percentile of at least one value."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(fraction * len(ranked)) - 1)]


def _severity(difference: Difference) -> tuple[bool, float]:
    is_nan = math.isnan(difference.probability)
    return (not difference.is_same_class, math.inf if is_nan else difference.probability)


def _expected_best(expected: Expected) -> dict[str, Any]:
    index = expected.class_index
    known = 0 <= index < len(expected.probabilities)
    probability = float(expected.probabilities[index]) if known else math.nan
    return {"class_index": index, "probability": probability}


def _served_best(answer: Prediction) -> dict[str, Any]:
    if not answer.class_indices or not answer.probabilities:
        return {"class_index": None, "probability": math.nan}
    return {"class_index": answer.class_indices[0], "probability": answer.probabilities[0]}
