"""Adds up what a candidate answers otherwise than the primary, in bounded memory."""

from __future__ import annotations

import collections
import dataclasses
import heapq
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from slimworks.components import contracts, formats
from slimworks.components.serving.logged import Answer
from slimworks.components.shadow import comparison

FORMAT = formats.NEWEST[contracts.SHADOW_FILE]
PRIMARY, CANDIDATE = "primary", "candidate"
MAX_SHOWN = 48
# Of latencies and differences the newest are kept: a mirror may run for weeks.
MAX_KEPT = 100_000
_MAX_CHANGES = 10_000  # pairs of classes
_MAX_LISTED_CHANGES = 20

MakePicture = Callable[[bytes | None], str | None]


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """One image with another best class; `picture` is a data URI."""

    primary: Answer
    candidate: Answer
    difference: float
    picture: str | None

    def to_json(self) -> dict[str, Any]:
        """Its entry of shadow.json, without the picture."""
        return {
            side: {"class_name": answer.class_names[0], "probability": answer.probabilities[0]}
            for side, answer in ((PRIMARY, self.primary), (CANDIDATE, self.candidate))
        } | {"probability_difference": finite_or_none(self.difference)}


@dataclasses.dataclass(frozen=True)
class ShadowResult:
    """What came of shadowing.

    Attributes:
        num_requests: Requests that both were asked, the candidate's failures included.
        num_images: Images in them.
        num_agreeing: Images with the same best class.
        differences: "p50", "p90", "p99", "max" of the probability difference; empty without one.
        num_not_finite: Images with a probability that is not a number.
        latency_ms: By side, "p50" and "p99"; empty where nothing was measured.
        errors: By side, number of failed requests by gRPC status.
        num_dropped: Requests that the full queue did not mirror.
        num_skipped: Requests whose answers name no classes, and kinds that are not compared.
        num_damaged: Records of the log that could not be read.
        changes: Number of images by (primary's class, candidate's class), most frequent first.
        disagreements: The farthest apart first.
    """

    num_requests: int
    num_images: int
    num_agreeing: int
    differences: Mapping[str, float]
    num_not_finite: int
    latency_ms: Mapping[str, Mapping[str, float]]
    errors: Mapping[str, Mapping[str, int]]
    num_dropped: int
    num_skipped: int
    num_damaged: int
    changes: Mapping[tuple[str, str], int]
    disagreements: Sequence[Disagreement]

    @property
    def agreement(self) -> float | None:
        """Fraction of the images with the same best class; None without an image."""
        return self.num_agreeing / self.num_images if self.num_images else None

    @property
    def latency_ratio(self) -> float | None:
        """The candidate's p99 over the primary's; None where one was not measured."""
        of = [self.latency_ms[side].get("p99") for side in (PRIMARY, CANDIDATE)]
        return of[1] / of[0] if of[0] and of[1] is not None else None

    def to_json(self) -> dict[str, Any]:
        """Its part of shadow.json."""
        names = (
            "num_requests", "num_images", "num_agreeing", "agreement", "num_not_finite",
            "latency_ms", "latency_ratio", "errors", "num_dropped", "num_skipped", "num_damaged",
        )  # fmt: skip
        return {
            "format": FORMAT,
            **{name: getattr(self, name) for name in names},
            "probability_difference": dict(self.differences),
            "changes": [
                {"primary": primary, "candidate": candidate, "num_images": count}
                for (primary, candidate), count in self.changes.items()
            ],
            "disagreements": [found.to_json() for found in self.disagreements],
        }


class Tally:
    """Collects answers. From any thread.

    Args:
        make_picture: Small data URI of an encoded image, or None.
    """

    def __init__(self, make_picture: MakePicture = lambda image: None) -> None:
        self._make_picture = make_picture
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._errors = {side: collections.Counter[str]() for side in (PRIMARY, CANDIDATE)}
        self._seconds = {
            side: collections.deque[float](maxlen=MAX_KEPT) for side in (PRIMARY, CANDIDATE)
        }
        self._differences: collections.deque[float] = collections.deque(maxlen=MAX_KEPT)
        self._changes: collections.Counter[tuple[str, str]] = collections.Counter()
        # (difference, number: no two compare equal, what is shown)
        self._shown: list[tuple[float, int, Disagreement]] = []

    def add_seconds(self, side: str, seconds: float) -> None:
        """Counts the latency of one answered request."""
        with self._lock:
            self._seconds[side].append(seconds)

    def add_error(self, side: str, code: str, num_images: int = 0) -> None:
        """Counts a failed request; of the candidate its images count as not agreeing."""
        with self._lock:
            self._errors[side][code] += 1
            if side == CANDIDATE:
                self._counts["requests"] += 1
                self._counts["images"] += num_images

    def add_dropped(self) -> None:
        """Counts a request that was not mirrored."""
        with self._lock:
            self._counts["dropped"] += 1

    def add_skipped(self) -> None:
        """Counts a request that cannot be compared."""
        with self._lock:
            self._counts["skipped"] += 1

    def add_damaged(self, number: int) -> None:
        """Counts records that could not be read."""
        with self._lock:
            self._counts["damaged"] += number

    def compare(
        self,
        images: Sequence[bytes | None],
        primary: Sequence[Answer],
        candidate: Sequence[Answer],
    ) -> None:
        """Counts the answers to one request, row by row.

        Args:
            images: Encoded images, as far as they are known.
            primary: At least one answer.
            candidate: One with fewer answers disagrees on the others.
        """
        with self._lock:
            self._counts["requests"] += 1
        for row, answer in enumerate(primary):
            other = candidate[row] if row < len(candidate) else Answer((), ())
            self._compare_image(images[row] if row < len(images) else None, answer, other)

    def _compare_image(self, image: bytes | None, primary: Answer, candidate: Answer) -> None:
        found = comparison.compare(primary, candidate)
        is_finite = math.isfinite(found.probability)
        with self._lock:
            self._counts["images"] += 1
            self._counts["agreeing"] += found.is_same_class
            self._counts["not_finite"] += not is_finite
            if is_finite:
                self._differences.append(found.probability)
            if found.is_same_class or not primary.class_names or not candidate.class_names:
                return
            pair = primary.class_names[0], candidate.class_names[0]
            if pair in self._changes or len(self._changes) < _MAX_CHANGES:
                self._changes[pair] += 1
            rank, number = found.probability if is_finite else math.inf, self._counts["images"]
            if len(self._shown) >= MAX_SHOWN and rank <= self._shown[0][0]:
                return
        # Outside of the lock: a picture takes milliseconds.
        shown = Disagreement(primary, candidate, found.probability, self._make_picture(image))
        with self._lock:
            push = heapq.heappushpop if len(self._shown) >= MAX_SHOWN else heapq.heappush
            push(self._shown, (rank, number, shown))

    @property
    def num_requests(self) -> int:
        """Requests that the candidate was asked so far."""
        with self._lock:
            return self._counts["requests"]

    def result(self) -> ShadowResult:
        """What was seen so far."""
        with self._lock:
            return ShadowResult(
                num_requests=self._counts["requests"],
                num_images=self._counts["images"],
                num_agreeing=self._counts["agreeing"],
                differences=_quantiles(self._differences),
                num_not_finite=self._counts["not_finite"],
                latency_ms={side: _latency(seconds) for side, seconds in self._seconds.items()},
                errors={side: dict(counts) for side, counts in self._errors.items()},
                num_dropped=self._counts["dropped"],
                num_skipped=self._counts["skipped"],
                num_damaged=self._counts["damaged"],
                changes=dict(self._changes.most_common(_MAX_LISTED_CHANGES)),
                disagreements=[shown for _, _, shown in sorted(self._shown, reverse=True)],
            )


def finite_or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _latency(seconds: Sequence[float]) -> dict[str, float]:
    ranked = sorted(seconds)
    if not ranked:
        return {}
    return {f"p{rank}": round(1_000 * _ranked(ranked, rank / 100), 3) for rank in (50, 99)}


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    ranked = sorted(values)
    if not ranked:
        return {}
    quantiles = {f"p{rank}": _ranked(ranked, rank / 100) for rank in (50, 90, 99)}
    return quantiles | {"max": ranked[-1]}


def _ranked(ranked: Sequence[float], fraction: float) -> float:
    """Nearest-rank percentile of at least one value."""
    return ranked[max(0, math.ceil(fraction * len(ranked)) - 1)]
