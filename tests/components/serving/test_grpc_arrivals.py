"""Calls whose message is slow to come, on a server of one turn at a time."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Iterator

import grpc
import pytest

from slimworks.components.serving.grpc_arrivals import Arrivals


class Echo:
    """Answers what it was asked, and how many calls ran at once at most."""

    def __init__(self) -> None:
        self.num_running = self.most_running = 0
        self._lock = threading.Lock()

    def answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self._lock:
            self.num_running += 1
            self.most_running = max(self.most_running, self.num_running)
        threading.Event().wait(0.01)
        with self._lock:
            self.num_running -= 1
        if request == b"fail":
            raise ValueError
        return request

    def each(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from requests


@pytest.fixture(params=[0.4, 300.0], ids=["impatient", "patient"])
def echo(request: pytest.FixtureRequest) -> Iterator[tuple[Echo, grpc.Channel]]:
    echo = Echo()
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(40),
        interceptors=[Arrivals(1, most_seconds=request.param)],
    )
    handlers = {
        "One": grpc.unary_unary_rpc_method_handler(echo.answer),
        "Each": grpc.stream_stream_rpc_method_handler(echo.each),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield echo, channel
    server.stop(0).wait()


def _held(messages: list[bytes], is_over: threading.Event) -> Iterator[bytes]:
    is_over.wait(30)
    yield from messages


@pytest.mark.parametrize("echo", [300.0], indirect=True)
def test_slow_messages_hold_no_turn_and_are_answered(echo: tuple[Echo, grpc.Channel]) -> None:
    answering, channel = echo
    is_over = threading.Event()
    slow = [channel.stream_unary("/Echo/One").future(_held([b"late"], is_over)) for _ in range(12)]

    assert channel.unary_unary("/Echo/One")(b"now", timeout=20) == b"now"
    assert not any(call.done() for call in slow)
    is_over.set()

    assert [call.result(20) for call in slow] == [b"late"] * 12
    assert answering.most_running == 1


@pytest.mark.parametrize("echo", [300.0], indirect=True)
def test_a_turn_is_given_back_whatever_becomes_of_a_call(echo: tuple[Echo, grpc.Channel]) -> None:
    answering, channel = echo
    one = channel.unary_unary("/Echo/One")
    for _ in range(3):
        with pytest.raises(grpc.RpcError, match="UNKNOWN"):
            one(b"fail", timeout=20)
        with pytest.raises(grpc.RpcError, match="has no request message"):
            channel.stream_unary("/Echo/One")(iter(()), timeout=20)
        with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
            channel.stream_unary("/Echo/One")(_held([], threading.Event()), timeout=0.2)
        assert one(b"now", timeout=20) == b"now"

    calls = [one.future(b"%d" % n) for n in range(30)]
    assert [call.result(20) for call in calls] == [b"%d" % n for n in range(30)]
    assert answering.most_running == 1


@pytest.mark.parametrize("echo", [0.4], indirect=True)
def test_who_sends_nothing_is_cancelled(echo: tuple[Echo, grpc.Channel]) -> None:
    _, channel = echo
    is_over = threading.Event()
    one = channel.stream_unary("/Echo/One").future(_held([], is_over))
    each = channel.stream_stream("/Echo/Each")(_held([], is_over))

    assert one.code() == each.code() == grpc.StatusCode.CANCELLED  # each waits for the end
    is_over.set()


def test_streams_come_back_message_by_message(echo: tuple[Echo, grpc.Channel]) -> None:
    _, channel = echo

    found = channel.stream_stream("/Echo/Each")(iter([b"1", b"2"]), timeout=20)

    assert list(found) == [b"1", b"2"]
