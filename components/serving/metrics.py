"""Counts and latencies, in the text format of Prometheus and under TensorFlow Serving's names.

Its names begin with a colon and its counters do not end in `_total`, which the usual client
library for Prometheus does not write.
"""

from __future__ import annotations

import bisect
import contextlib
import threading
import time
from collections.abc import Iterator

from slimworks.components.serving.request_errors import Code, RequestError

REQUEST_COUNT = ":tensorflow:serving:request_count"
REQUEST_LATENCY = ":tensorflow:serving:request_latency"
RUNTIME_LATENCY = ":tensorflow:serving:runtime_latency"
WARMUP_LATENCY = ":tensorflow:serving:model_warmup_latency"
LOAD_ATTEMPTS = ":tensorflow:cc:saved_model:load_attempt_count"
REQUEST_LOG_COUNT = ":slimworks:serving:request_log_count"

Labels = tuple[tuple[str, str], ...]

HELP = {
    REQUEST_COUNT: "The total number of requests.",
    REQUEST_LATENCY: "Distribution of wall time (in microseconds) of requests.",
    RUNTIME_LATENCY: "Distribution of wall time (in microseconds) in the model's graph.",
    WARMUP_LATENCY: "Distribution of wall time (in microseconds) of warm-ups.",
    LOAD_ATTEMPTS: "The number of times a SavedModel was requested to be loaded.",
    REQUEST_LOG_COUNT: "The number of sampled requests that were logged, or dropped.",
}
_MICROS = 1_000_000
# monitoring::Buckets::Exponential(10, 1.8, 33) of TensorFlow Serving: 10 us to 26 minutes.
_BOUNDS = [10 * 1.8**power for power in range(33)]


class _Histogram:
    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect.bisect_left(_BOUNDS, value)] += 1
        self.sum += value


class Metrics:
    """What a server counts. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, dict[Labels, int]] = {}
        self._histograms: dict[str, dict[Labels, _Histogram]] = {}

    def count(self, name: str, **labels: str) -> None:
        """Adds one to a counter."""
        with self._lock:
            values = self._counters.setdefault(name, {})
            values[tuple(labels.items())] = values.get(tuple(labels.items()), 0) + 1

    def observe_seconds(self, name: str, seconds: float, **labels: str) -> None:
        """Adds a duration to a histogram of microseconds."""
        with self._lock:
            values = self._histograms.setdefault(name, {})
            values.setdefault(tuple(labels.items()), _Histogram()).add(seconds * _MICROS)

    @contextlib.contextmanager
    def timed(self, name: str, **labels: str) -> Iterator[None]:
        """Observes how long the block takes, whether it fails or not."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.observe_seconds(name, time.perf_counter() - started, **labels)

    @contextlib.contextmanager
    def request(self, model_name: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts a request with its status, and observes its latency where it succeeds.

        Args:
            model_name: A served model; anything else would let clients fill the memory.
            api: Predict, Classify, Regress, MultiInference or GetModelMetadata.
            entrypoint: GRPC or REST.
        """
        started, status = time.perf_counter(), Code.UNKNOWN.name
        try:
            yield
            status = Code.OK.name
            self.observe_seconds(
                REQUEST_LATENCY, time.perf_counter() - started,
                model_name=model_name, API=api, entrypoint=entrypoint,
            )  # fmt: skip
        except RequestError as error:
            status = Code(error.code).name if error.code in Code._value2member_map_ else status
            raise
        finally:
            self.count(REQUEST_COUNT, model_name=model_name, status=status)

    def total(self, name: str) -> int:
        """A counter's sum over all labels; 0 where nothing was counted."""
        with self._lock:
            return sum(self._counters.get(name, {}).values())

    def text(self) -> str:
        """Everything, in Prometheus' text format 0.0.4."""
        lines: list[str] = []
        with self._lock:
            for name, counters in sorted(self._counters.items()):
                lines += _header(name, "counter")
                lines += [f"{name}{_braced(labels)} {n}" for labels, n in counters.items()]
            for name, histograms in sorted(self._histograms.items()):
                lines += _header(name, "histogram")
                for labels, histogram in histograms.items():
                    lines += _histogram_lines(name, labels, histogram)
        return "\n".join(lines) + "\n"


def _header(name: str, kind: str) -> list[str]:
    return [f"# HELP {name} {HELP[name]}", f"# TYPE {name} {kind}"]


def _histogram_lines(name: str, labels: Labels, histogram: _Histogram) -> list[str]:
    lines, total = [], 0
    for bound, count in zip([*_BOUNDS, float("inf")], histogram.counts, strict=True):
        total += count
        shown = "+Inf" if bound == float("inf") else f"{bound:g}"
        lines.append(f"{name}_bucket{_braced((*labels, ('le', shown)))} {total}")
    lines.append(f"{name}_sum{_braced(labels)} {histogram.sum:g}")
    lines.append(f"{name}_count{_braced(labels)} {total}")
    return lines


def _braced(labels: Labels) -> str:
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
