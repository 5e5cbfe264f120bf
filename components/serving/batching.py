"""Runs requests that arrive together as one, by TensorFlow Serving's batching parameters.

There are no threads here: the first request of a batch waits for others, runs the graph for all of
them and hands out the results. While all slots are busy, the next batch goes on growing.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from slimworks.components.errors import ConfigError
from slimworks.components.serving.gap_messages import BatchingParameters
from slimworks.components.serving.model_config import read_text_proto
from slimworks.components.serving.request_errors import Code, RequestError

PER_MODEL_FILE = "batching_params.pbtxt"  # in the version's folder

Feeds = Mapping[str, np.ndarray[Any, Any]]
Compute = Callable[[Feeds, Sequence[str]], Sequence[Any]]

_MICROS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Parameters:
    """How to batch; defaults are TensorFlow Serving's.

    Attributes:
        max_batch_size: Most examples in one run.
        timeout_seconds: How long the first request waits for others.
        max_enqueued_batches: Batches that may wait for a slot, for each kind of request.
        num_slots: Batches that run at once.
        allowed_batch_sizes: Runs are padded to one of these; empty allows all.
        splits_large: Whether a request larger than a batch is run in pieces, not refused.
    """

    max_batch_size: int = 1_000
    timeout_seconds: float = 0.0
    max_enqueued_batches: int = 10
    num_slots: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()
    splits_large: bool = False


def read_parameters(path: str) -> Parameters:
    """Reads a file of --batching_parameters_file; without a name the defaults.

    Raises:
        ConfigError: The file cannot be read, does not parse or contradicts itself.
    """
    message = BatchingParameters()
    if path:
        name = "tensorflow.serving.BatchingParameters"
        read_text_proto(path, message, "batching_parameters_file", name)
    given: dict[str, Any] = {
        field: getattr(message, wire).value
        for field, wire in (
            ("max_batch_size", "max_batch_size"),
            ("max_enqueued_batches", "max_enqueued_batches"),
            ("num_slots", "num_batch_threads"),
            ("splits_large", "enable_large_batch_splitting"),
        )
        if message.HasField(wire)
    }
    if message.HasField("batch_timeout_micros"):
        given["timeout_seconds"] = message.batch_timeout_micros.value / _MICROS
    parameters = Parameters(allowed_batch_sizes=tuple(message.allowed_batch_sizes), **given)
    _check(parameters, path)
    return parameters


def _check(parameters: Parameters, path: str) -> None:
    for field in ("max_batch_size", "max_enqueued_batches", "num_slots"):
        if getattr(parameters, field) < 1:
            raise ConfigError(
                f"{path}: {field} is {getattr(parameters, field)}.", "Write a number above zero."
            )
    sizes = parameters.allowed_batch_sizes
    if any(small >= large for small, large in itertools.pairwise(sizes)):
        raise ConfigError(
            f"{path}: allowed_batch_sizes {list(sizes)} do not increase.", "Sort them."
        )
    if sizes and sizes[-1] != parameters.max_batch_size:
        raise ConfigError(
            f"{path}: the last of allowed_batch_sizes is {sizes[-1]}, max_batch_size "
            f"{parameters.max_batch_size}.",
            "Make them equal.",
        )


class _Part:
    """One request's share of a batch."""

    def __init__(self, feeds: Feeds, size: int, timeout_seconds: float | None) -> None:
        self.feeds = feeds
        self.size = size
        self.deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self.values: Sequence[Any] = ()
        self.error: BaseException | None = None
        self.is_done = threading.Event()

    @property
    def is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline


class _Batch:
    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.size = 0
        self.is_full = threading.Event()


class Batcher:
    """Batches the runs of one model.

    Args:
        parameters: How to batch.
        slots: Batches that run at once, of all models together.
    """

    def __init__(self, parameters: Parameters, slots: threading.Semaphore) -> None:
        self._parameters = parameters
        self._slots = slots
        self._lock = threading.Lock()
        self._open: dict[Any, _Batch] = {}
        self._num_waiting: dict[Any, int] = {}

    def run(
        self,
        feeds: Feeds,
        fetches: Sequence[str],
        compute: Compute,
        timeout_seconds: float | None = None,
    ) -> Sequence[Any]:
        """Computes tensors by name from others, perhaps together with other requests.

        Args:
            feeds: Arrays by tensor name, all with the batch as dimension 0.
            fetches: Names of the tensors to compute.
            compute: Runs the graph.
            timeout_seconds: For this request; a batch with others in it runs to its end.

        Raises:
            RequestError: The arrays cannot be batched, the queue is full, or an op fails.
        """
        if not feeds:
            return compute(feeds, fetches)
        size = _batch_size(feeds)
        most = self._parameters.max_batch_size
        if size <= most:
            return self._run_together(feeds, size, fetches, compute, timeout_seconds)
        if not self._parameters.splits_large:
            raise RequestError(
                Code.INVALID_ARGUMENT,
                f"Task size {size} is larger than maximum input batch size {most}",
            )
        pieces = [
            self._run_together(
                {name: array[start : start + most] for name, array in feeds.items()},
                min(most, size - start), fetches, compute, timeout_seconds,
            )
            for start in range(0, size, most)
        ]  # fmt: skip
        return [np.concatenate(values) for values in zip(*pieces, strict=True)]

    def _run_together(
        self,
        feeds: Feeds,
        size: int,
        fetches: Sequence[str],
        compute: Compute,
        timeout_seconds: float | None,
    ) -> Sequence[Any]:
        # Arrays of other shapes cannot be joined: they wait in a batch of their own.
        shapes = tuple((name, a.dtype.str, a.shape[1:]) for name, a in feeds.items())
        key = (shapes, tuple(fetches))
        part = _Part(feeds, size, timeout_seconds)
        batch, leads = self._joined(key, part)
        if leads:
            self._lead(key, batch, fetches, compute)
        if not part.is_done.wait(timeout_seconds):
            raise _too_late()
        if part.error:
            raise part.error
        return part.values

    def _joined(self, key: Any, part: _Part) -> tuple[_Batch, bool]:
        """The batch that takes the part, and whether the part is its first."""
        most = self._parameters.max_batch_size
        with self._lock:
            batch = self._open.get(key)
            if batch and batch.size + part.size > most:
                self._close(key)
                batch = None
            leads = batch is None
            if batch is None:
                if self._num_waiting.get(key, 0) >= self._parameters.max_enqueued_batches:
                    raise RequestError(
                        Code.UNAVAILABLE,
                        "The batch scheduling queue to which this task was submitted is full",
                    )
                batch = self._open[key] = _Batch()
                self._num_waiting[key] = self._num_waiting.get(key, 0) + 1
            batch.parts.append(part)
            batch.size += part.size
            if batch.size == most:
                self._close(key)
        return batch, leads

    def _close(self, key: Any) -> None:
        self._open.pop(key).is_full.set()

    def _lead(self, key: Any, batch: _Batch, fetches: Sequence[str], compute: Compute) -> None:
        batch.is_full.wait(self._parameters.timeout_seconds)
        try:
            with self._slots:
                with self._lock:
                    if self._open.get(key) is batch:
                        self._close(key)
                    self._num_waiting[key] -= 1
                    if not self._num_waiting[key]:  # keys come from clients
                        del self._num_waiting[key]
                self._compute(_in_time(batch.parts), fetches, compute)
        finally:  # after the slot: the next batch runs while these answers are written
            for part in batch.parts:
                part.is_done.set()

    def _compute(self, parts: list[_Part], fetches: Sequence[str], compute: Compute) -> None:
        if not parts:
            return
        try:
            self._share(parts, self._joint_values(parts, fetches, compute))
        except RequestError as error:
            if len(parts) == 1:
                parts[0].error = error
            else:  # one bad image must not cost the others their answers
                for part in parts:
                    self._compute([part], fetches, compute)
        except BaseException as error:
            for part in parts:
                part.error = error
            raise

    def _joint_values(
        self, parts: list[_Part], fetches: Sequence[str], compute: Compute
    ) -> list[np.ndarray[Any, Any]]:
        size = sum(part.size for part in parts)
        padding = self._padded_size(size) - size
        feeds = {}
        for name in parts[0].feeds:
            arrays = [part.feeds[name] for part in parts]
            if padding:
                first = next(array for array in arrays if len(array))
                arrays.append(np.repeat(first[:1], padding, axis=0))
            feeds[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        values = [np.asarray(value) for value in compute(feeds, fetches)]
        for name, value in zip(fetches, values, strict=True):
            _check_output(name, value, size + padding)
        return values

    def _padded_size(self, size: int) -> int:
        if not size:
            return 0
        return next((s for s in self._parameters.allowed_batch_sizes if s >= size), size)

    def _share(self, parts: list[_Part], values: list[np.ndarray[Any, Any]]) -> None:
        start = 0
        for part in parts:
            part.values = [value[start : start + part.size] for value in values]
            start += part.size


def _in_time(parts: list[_Part]) -> list[_Part]:
    """Those that somebody still waits for; the others get their error."""
    for part in parts:
        if part.is_late:
            part.error = _too_late()
    return [part for part in parts if part.error is None]


def _too_late() -> RequestError:
    return RequestError(
        Code.DEADLINE_EXCEEDED, "Run() timeout exceeded while waiting in batching queue"
    )


def _batch_size(feeds: Feeds) -> int:
    if any(not np.ndim(array) for array in feeds.values()):
        raise RequestError(
            Code.INVALID_ARGUMENT,
            "Batching session Run() input tensors must have at least one dimension.",
        )
    sizes = {len(array) for array in feeds.values()}
    if len(sizes) > 1:
        raise RequestError(
            Code.INVALID_ARGUMENT,
            "Batching session Run() input tensors must have equal 0th-dimension size.",
        )
    return sizes.pop()


def _check_output(name: str, value: np.ndarray[Any, Any], size: int) -> None:
    if not value.ndim:
        raise RequestError(
            Code.FAILED_PRECONDITION, f"Batched output tensor {name} has 0 dimensions"
        )
    if len(value) != size:
        raise RequestError(
            Code.FAILED_PRECONDITION,
            f"Batched output tensor {name}'s 0th dimension does not equal the sum of the 0th "
            "dimension sizes of the input tensors",
        )
