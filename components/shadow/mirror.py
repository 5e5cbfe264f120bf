"""A gRPC proxy in front of the model that serves: clients get its answers, the candidate copies.

Requests and answers pass as bytes. Nothing that the candidate does, or fails to do, reaches a
client: copies wait in a bounded queue, and what it does not take is dropped and counted.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import random
import threading
import time
from concurrent import futures
from typing import Any

import grpc

from slimworks.components.errors import ServingError
from slimworks.components.serving import request_log
from slimworks.components.serving.bounded_queue import BoundedQueue
from slimworks.components.serving.logged import images_in, response_answers
from slimworks.components.serving.request_log import RequestLog
from slimworks.components.shadow.sides import (
    KINDS,
    METHODS,
    Side,
    channel_options,
    error_code,
    request_class,
    response_class,
)
from slimworks.components.shadow.tally import CANDIDATE, PRIMARY, Tally

MAX_QUEUED_REQUESTS = 256
MAX_QUEUED_BYTES = 256 << 20
_NUM_THREADS = 32
_NUM_MIRRORS = 2
_STOP_SECONDS = 5.0  # for requests that are being forwarded
# What a client needs. Changing what the primary serves is none of it.
_FORWARDED = (
    *(f"/tensorflow.serving.PredictionService/{method}" for method in (
        "Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata",
    )),
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/grpc.health.v1.Health/Check",
)  # fmt: skip
_OWN_METADATA = ("user-agent", "te", "content-type")

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Copy:
    """What a client asked and got."""

    kind: str
    request: bytes
    response: bytes


class Mirror(grpc.GenericRpcHandler):
    """Listens, forwards, mirrors; ends with the block.

    Args:
        listen: `host:port` for clients; port 0 lets the system choose.
        primary: Address of the server that answers.
        candidate: Gets copies; None: only the log does.
        tally: Counts.
        sampling_rate: Fraction of the requests that the candidate gets.
        log: Where the primary's answers are logged as well.

    Attributes:
        address: `host:port`, inside the block.

    Raises:
        ServingError: The port is taken.
    """

    def __init__(
        self,
        listen: str,
        primary: str,
        candidate: Side | None,
        tally: Tally,
        *,
        sampling_rate: float = 1.0,
        log: RequestLog | None = None,
    ) -> None:
        self.address = ""
        self._listen = listen
        self._candidate = candidate
        self._tally = tally
        self._sampling_rate = sampling_rate
        self._log = log
        self._random = random.Random()
        self._queue: BoundedQueue[_Copy] = BoundedQueue(MAX_QUEUED_REQUESTS, MAX_QUEUED_BYTES)
        self._channel = grpc.insecure_channel(primary, options=channel_options())
        self._calls = {method: self._channel.unary_unary(method) for method in _FORWARDED}
        self._handlers = {
            method: grpc.unary_unary_rpc_method_handler(functools.partial(self._forward, method))
            for method in _FORWARDED
        }
        self._mirrors = [
            threading.Thread(target=self._run, name="mirror", daemon=True)
            for _ in range(_NUM_MIRRORS)
        ]

    def __enter__(self) -> Mirror:
        pool = futures.ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="forward")
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        self._server = grpc.server(
            pool, options=options, maximum_concurrent_rpcs=_NUM_THREADS + MAX_QUEUED_REQUESTS
        )
        self._server.add_generic_rpc_handlers((self,))
        try:
            port = self._server.add_insecure_port(self._listen)
        except RuntimeError as error:  # all that grpc says
            self._channel.close()
            raise ServingError(
                f"Cannot listen on {self._listen}: the port is in use or the address is not of "
                "this machine.",
                "Choose another port: --listen PORT.",
            ) from error
        self.address = f"{self._listen.rpartition(':')[0]}:{port}"
        for mirror in self._mirrors:
            mirror.start()
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends running requests and asks the candidate what is queued; again does nothing."""
        self._server.stop(_STOP_SECONDS).wait()
        self._queue.close()
        for mirror in self._mirrors:
            mirror.join()
        self._channel.close()

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        """The handler of a method; None, UNIMPLEMENTED, of what is not forwarded."""
        return self._handlers.get(handler_call_details.method)

    def _forward(self, method: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        started = time.perf_counter()
        passed = [
            pair for pair in context.invocation_metadata()
            if pair[0] not in _OWN_METADATA and not pair[0].startswith("grpc-")
        ]  # fmt: skip
        call = self._calls[method].future(
            request, timeout=context.time_remaining(), metadata=passed
        )
        context.add_callback(call.cancel)  # a client that left waits for nothing
        try:
            response: bytes = call.result()
        except grpc.RpcError as error:
            self._tally.add_error(PRIMARY, error_code(error))
            context.set_trailing_metadata(error.trailing_metadata() or ())
            context.abort(error.code(), error.details())
        except grpc.FutureCancelledError:
            context.abort(grpc.StatusCode.CANCELLED, "The client left")
        if method in KINDS:
            self._copy(_Copy(KINDS[method], request, response), time.perf_counter() - started)
        return response

    def _copy(self, copy: _Copy, seconds: float) -> None:
        self._tally.add_seconds(PRIMARY, seconds)
        if self._log is not None and self._log.is_sampled():
            num_bytes = len(copy.request) + len(copy.response)
            self._log.offer(_record(copy, self._log, int(time.time())), num_bytes)
        if self._candidate is None or self._random.random() >= self._sampling_rate:
            return
        if not self._queue.offer(copy, len(copy.request) + len(copy.response)):
            self._tally.add_dropped()

    def _run(self) -> None:
        while not self._queue.is_over:
            copy = self._queue.take()
            if copy is None:
                continue
            try:
                self._ask_candidate(copy)
            except Exception:  # the mirror must go on; the client has its answer
                self._tally.add_skipped()
                _logger.exception("Cannot compare a request")

    def _ask_candidate(self, copy: _Copy) -> None:
        assert self._candidate is not None
        request, response = _parsed(copy)
        primary = response_answers(response)
        if not primary:
            self._tally.add_skipped()
            return
        images = images_in(request)
        try:
            answer, seconds = self._candidate.ask(copy.kind, request)
        except grpc.RpcError as error:
            self._tally.add_error(CANDIDATE, error_code(error), len(primary))
            return
        self._tally.add_seconds(CANDIDATE, seconds)
        self._tally.compare(images, primary, response_answers(answer))


def _parsed(copy: _Copy) -> tuple[Any, Any]:
    method = METHODS[copy.kind]
    return (
        request_class(method).FromString(copy.request),
        response_class(method).FromString(copy.response),
    )


def _record(copy: _Copy, log: RequestLog, seconds: int) -> Any:
    def make() -> bytes:
        request, response = _parsed(copy)
        rate = log.settings.sampling_rate
        spec = response.model_spec
        return request_log.prediction_log(copy.kind, request, response, spec, rate, seconds)

    return make
