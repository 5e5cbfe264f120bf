"""Logs what was asked and answered, in TensorFlow Serving's PredictionLog: sampled and bounded.

Answering never waits for the log: what the writer's queue does not take is counted and dropped, and
a disk that is full costs records, not requests.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimworks.components.serving.bounded_queue import BoundedQueue
from slimworks.components.serving.log_files import LogFiles
from slimworks.components.serving.metrics import REQUEST_LOG_COUNT, Metrics
from slimworks.components.serving.request_errors import Code, RequestError

if TYPE_CHECKING:
    from slimworks.components.serving.flags import ServerFlags
    from slimworks.components.serving.model_config import ModelConfig

MAX_QUEUED_RECORDS = 1_024
MAX_QUEUED_BYTES = 64 << 20
WRITTEN, DROPPED, FAILED = "written", "dropped", "failed"

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class LogSettings:
    """Where requests are logged, and how many of them.

    Attributes:
        filename_prefix: Absolute path that the files' names start with.
        sampling_rate: Fraction of the requests, in [0, 1].
    """

    filename_prefix: str
    sampling_rate: float


@dataclasses.dataclass(frozen=True)
class LogLimits:
    """What all logs of a server keep to.

    Attributes:
        max_bytes: On disk, for each prefix; the oldest file goes first.
        max_file_seconds: Age at which a file is closed, so that readers see it.
    """

    max_bytes: int = 1 << 30
    max_file_seconds: float = 60.0


class RequestLog:
    """One prefix: samples, queues, and writes in a thread of its own.

    Args:
        settings: Prefix and rate.
        limits: Bounds on disk.
        metrics: Counts records that were written, dropped, or failed.

    Raises:
        OSError: The folder cannot be used.
    """

    def __init__(self, settings: LogSettings, limits: LogLimits, metrics: Metrics) -> None:
        self.settings = settings
        self._metrics = metrics
        self._files = LogFiles(
            settings.filename_prefix,
            max_bytes=limits.max_bytes,
            max_file_seconds=limits.max_file_seconds,
        )
        self._random = random.Random()
        self._queue: BoundedQueue[Callable[[], bytes]] = BoundedQueue(
            MAX_QUEUED_RECORDS, MAX_QUEUED_BYTES
        )
        self._has_failed = False
        self._writer = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._writer.start()

    def is_sampled(self) -> bool:
        """Whether the request at hand is one of those to log."""
        return self._random.random() < self.settings.sampling_rate

    def offer(self, make: Callable[[], bytes], num_bytes: int) -> None:
        """Queues a record, or drops it where the queue is full. Never waits for the disk.

        Args:
            make: Serializes the record, in the writer's thread.
            num_bytes: Roughly what it holds in memory until then.
        """
        if not self._queue.offer(make, num_bytes):
            self._count(DROPPED)

    def close(self) -> None:
        """Writes what is queued and closes the file."""
        self._queue.close()
        self._writer.join()

    def _run(self) -> None:
        while not self._queue.is_over:
            make = self._queue.take(self._files.seconds_left())
            if make is not None:
                self._guarded(functools.partial(self._write, make))
            self._guarded(self._files.close_if_old)
        self._guarded(self._files.close)

    def _write(self, make: Callable[[], bytes]) -> None:
        self._count(WRITTEN if self._files.write(make()) else DROPPED)
        self._has_failed = False

    def _guarded(self, act: Callable[[], None]) -> None:
        """What fails is counted, and told once until it works again: the writer must go on."""
        try:
            act()
        except Exception as error:
            self._count(FAILED)
            if not self._has_failed:
                is_disk = isinstance(error, OSError)  # else a fault of ours: its traceback is told
                _logger.error(
                    "Cannot log to %s: %s", self.settings.filename_prefix, error,
                    exc_info=not is_disk,
                )  # fmt: skip
            self._has_failed = True

    def _count(self, status: str) -> None:
        self._metrics.count(REQUEST_LOG_COUNT, prefix=self.settings.filename_prefix, status=status)


class RequestLogs:
    """The logs of all models of a server.

    Args:
        metrics: For all logs.
        limits: For all logs.
        default: For models whose configuration says nothing; None: those are not logged.
    """

    def __init__(
        self,
        metrics: Metrics,
        limits: LogLimits | None = None,
        default: LogSettings | None = None,
    ) -> None:
        self._metrics = metrics
        self._limits = limits or LogLimits()
        self._default = default
        self._logs: dict[LogSettings, RequestLog] = {}
        self._by_model: Mapping[str, RequestLog] = {}
        self._lock = threading.Lock()

    def configure(self, configs: Iterable[ModelConfig]) -> None:
        """Logs what these models ask for, and nothing else; unchanged logs go on.

        Raises:
            RequestError: INVALID_ARGUMENT, a folder cannot be used; nothing is changed.
        """
        wanted = {config.name: config.logging or self._default for config in configs}
        used = {s for s in wanted.values() if s is not None and s.sampling_rate > 0}
        with self._lock:
            logs = {settings: log for settings, log in self._logs.items() if settings in used}
            logs |= self._opened(used - logs.keys())
            before, self._logs = self._logs, logs
            self._by_model = {
                name: logs[settings]
                for name, settings in wanted.items()
                if settings is not None and settings in logs
            }
        for settings in before.keys() - logs.keys():
            before[settings].close()

    def check_folders(self, configs: Iterable[ModelConfig]) -> None:
        """Lets a config from the network write only where the operator already has a log.

        Raises:
            RequestError: PERMISSION_DENIED.
        """
        known = {Path(settings.filename_prefix).parent for settings in self._logs}
        if self._default is not None:
            known.add(Path(self._default.filename_prefix).parent)
        for config in configs:
            if config.logging and Path(config.logging.filename_prefix).parent not in known:
                raise RequestError(
                    Code.PERMISSION_DENIED,
                    f"Model {config.name} asks to log to {config.logging.filename_prefix}: by RPC "
                    "only folders of --request_log and of --model_config_file are written.",
                )

    def sampled(self, model_name: str) -> RequestLog | None:
        """The log that this request of a model goes to; None for most."""
        log = self._by_model.get(model_name)
        return log if log is not None and log.is_sampled() else None

    def close(self) -> None:
        """Writes what is queued and closes the files."""
        self.configure(())

    def _opened(self, wanted: Iterable[LogSettings]) -> dict[LogSettings, RequestLog]:
        opened: dict[LogSettings, RequestLog] = {}
        for settings in wanted:
            try:
                opened[settings] = RequestLog(settings, self._limits, self._metrics)
            except OSError as error:
                for log in opened.values():
                    log.close()
                raise RequestError(
                    Code.INVALID_ARGUMENT,
                    f"Cannot log requests to {settings.filename_prefix}: {error.strerror}",
                ) from error
        return opened


def request_logs_of(flags: ServerFlags, metrics: Metrics) -> RequestLogs:
    """The logs that a server's flags ask for; none are open yet."""
    default = None
    if flags.request_log:
        default = LogSettings(os.path.abspath(flags.request_log), flags.request_log_sampling_rate)
    limits = LogLimits(flags.request_log_max_bytes, flags.request_log_max_file_seconds)
    return RequestLogs(metrics, limits, default)


def offer(log: RequestLog, kind: str, request: Any, response: Any, spec: Any) -> None:
    """Logs one request with its answer.

    Args:
        log: Where to.
        kind: "predict_log", "classify_log", "regress_log" or "multi_inference_log".
        request: The request's message; nobody changes it any more.
        response: The answer's, likewise.
        spec: ModelSpec with the version and signature that answered.
    """
    seconds = int(time.time())
    rate = log.settings.sampling_rate
    log.offer(
        lambda: prediction_log(kind, request, response, spec, rate, seconds),
        request.ByteSize() + response.ByteSize(),
    )


def offer_arrays(
    log: RequestLog,
    spec: Any,
    used: Any,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    num_bytes: int,
) -> None:
    """Logs a run on arrays as the Predict that it stands for.

    Args:
        log: Where to.
        spec: ModelSpec that was asked for.
        used: ModelSpec with the version and signature that answered.
        inputs: Arrays by alias; nobody changes them any more.
        outputs: Likewise.
        num_bytes: Roughly those of both.
    """
    seconds = int(time.time())

    def make() -> bytes:
        from tensorflow_serving.apis import predict_pb2

        from slimworks.components.serving import tensors

        request = predict_pb2.PredictRequest(model_spec=spec)
        response = predict_pb2.PredictResponse(model_spec=used)
        for message, arrays in ((request.inputs, inputs), (response.outputs, outputs)):
            for alias, array in arrays.items():
                message[alias].CopyFrom(tensors.to_proto(array))
        rate = log.settings.sampling_rate
        return prediction_log("predict_log", request, response, used, rate, seconds)

    log.offer(make, num_bytes)


def prediction_log(
    kind: str, request: Any, response: Any, spec: Any, sampling_rate: float, seconds: int
) -> bytes:
    """A serialized PredictionLog. See `offer`; seconds: since the epoch."""
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    entry = getattr(log, kind)
    entry.request.CopyFrom(request)
    entry.response.CopyFrom(response)
    metadata = log.log_metadata
    metadata.model_spec.CopyFrom(spec)
    metadata.sampling_config.sampling_rate = sampling_rate
    metadata.timestamp_secs = seconds
    serialized: bytes = log.SerializeToString()
    return serialized
