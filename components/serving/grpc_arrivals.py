"""Calls by gRPC whose message is slow to come: they hold up no other, and end.

grpc's server waits for a call's message in a thread of its pool, for ever where the client gave no
deadline: as many silent calls as there are threads would end all service.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

NUM_SPARE_THREADS = 256  # for calls that wait: for their message, or for their turn
_PROMPT_SECONDS = 0.05  # most messages are there by then; the turn of others goes to the next
_MOST_SECONDS = 300.0  # for one message; a phone sends 30 MB in that time
_NO_MESSAGE = object()


class Arrivals(grpc.ServerInterceptor):
    """Lets so many calls run at once, and none of them wait for its message meanwhile.

    A call takes its turn before its message is read, so that the memory of a load of messages is
    that of the running ones.

    Args:
        num_running: Calls that run at once.
        most_seconds: For a message; then the call is cancelled.
    """

    def __init__(self, num_running: int, most_seconds: float = _MOST_SECONDS) -> None:
        self._turns = threading.Semaphore(num_running)
        self._most_seconds = most_seconds
        # By call, since when its message is awaited: with a turn, and any. Each change is one
        # operation of a dict, which Python's lock makes whole.
        self._holding: dict[grpc.ServicerContext, float] = {}
        self._awaited: dict[grpc.ServicerContext, float] = {}
        threading.Thread(target=self._watch, name="arrivals", daemon=True).start()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """The usual handler, behind the wait for its messages."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                lambda requests, context: handler.stream_stream(
                    self._each(requests, context), context
                ),
                handler.request_deserializer,
                handler.response_serializer,
            )
        # On the wire a single message is a stream of one.
        return grpc.stream_unary_rpc_method_handler(
            lambda requests, context: self._answer(handler.unary_unary, requests, context),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _answer(
        self,
        answer: Callable[[Any, grpc.ServicerContext], Any],
        requests: Iterator[Any],
        context: grpc.ServicerContext,
    ) -> Any:
        self._turns.acquire()
        try:
            self._holding[context] = time.monotonic()
            try:
                request = self._next(requests, context)
            finally:
                if self._holding.pop(context, None) is None:  # another has it by now
                    self._turns.acquire()
            if request is _NO_MESSAGE:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "The call has no request message.")
            return answer(request, context)
        finally:
            self._turns.release()

    def _each(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        while (request := self._next(requests, context)) is not _NO_MESSAGE:
            yield request

    def _next(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        self._awaited[context] = time.monotonic()
        try:
            return next(requests, _NO_MESSAGE)
        finally:
            del self._awaited[context]

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(_PROMPT_SECONDS):
            now = time.monotonic()
            for context, since in self._holding.copy().items():
                is_late = now - since > _PROMPT_SECONDS
                if is_late and self._holding.pop(context, None) is not None:
                    self._turns.release()
            for context, since in self._awaited.copy().items():
                if now - since > self._most_seconds:
                    context.cancel()
