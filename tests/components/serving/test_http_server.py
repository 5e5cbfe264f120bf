"""Load, time limits and the end of the REST server, in front of an application that can be held."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import http.client
import json
import socket
import threading
import time

import pytest

from slimworks.components.serving import http_server
from slimworks.components.serving.http_server import RestServer
from slimworks.components.serving.rest import Answer


class Held:
    """Answers its path once it may; counts what runs."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.has_started = threading.Event()

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        self.has_started.set()
        if path == "/held":
            assert self.may_answer.wait(20)
        return Answer(200, json.dumps([method, path, len(body)]).encode())


@contextlib.contextmanager
def started(application: Held, **options):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    limits = {
        "num_threads": 2, "max_waiting": 8, "timeout_seconds": 20.0, "max_body_bytes": 1_000,
    }  # fmt: skip
    server = RestServer(application, listener, **{**limits, **options})
    server.start()
    try:
        yield server, address
    finally:
        application.may_answer.set()
        if server._thread.is_alive():
            server.stop(5.0)


def ask(address: str, path: str, body: bytes | None = None) -> tuple[int, object]:
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("POST" if body else "GET", path, body)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


def test_running_requests_end_before_the_server():
    application = Held()
    with started(application) as (server, address), concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(ask, address, "/held")
        assert application.has_started.wait(20)
        stopping = pool.submit(server.stop, 20.0)
        assert not stopping.done()
        application.may_answer.set()
        assert slow.result() == (200, ["GET", "/held", 0])
        stopping.result()
        with pytest.raises(ConnectionRefusedError):
            ask(address, "/")


def test_what_runs_too_long_is_cut_off_at_the_end():
    application = Held()
    with started(application) as (server, address), concurrent.futures.ThreadPoolExecutor() as pool:
        slow = pool.submit(ask, address, "/held")
        assert application.has_started.wait(20)
        server.stop(0.05)
        assert isinstance(slow.exception(), http.client.RemoteDisconnected | ConnectionError)
        application.may_answer.set()


def test_a_late_answer_is_a_timeout():
    with started(Held(), timeout_seconds=0.05) as (_, address):
        status, answer = ask(address, "/held")
    assert status == 504
    assert answer == {"error": "No answer within 0.05 s (--rest_api_timeout_in_ms)."}


def test_requests_beyond_the_queue_are_refused():
    application = Held()
    with (
        started(application, num_threads=1, max_waiting=0) as (_, address),
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        slow = pool.submit(ask, address, "/held")
        assert application.has_started.wait(20)
        status, answer = ask(address, "/quick")
        assert (status, answer["error"][:22]) == (429, "1 requests are running")
        application.may_answer.set()
        assert slow.result()[0] == 200
        assert ask(address, "/quick")[0] == 200


def test_idle_connections_do_not_keep_others_waiting():
    with started(Held()) as (_, address), contextlib.ExitStack() as idle:
        host, _, port = address.partition(":")
        for _ in range(300):
            idle.enter_context(socket.create_connection((host, int(port))))
        assert ask(address, "/quick", b"123") == (200, ["POST", "/quick", 3])


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01",  # TLS
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n12",  # and goes away
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 100_000,
    ],
)
def test_what_is_no_request_does_not_harm_the_server(sent):
    with started(Held()) as (_, address):
        host, _, port = address.partition(":")
        with (
            socket.create_connection((host, int(port))) as client,
            contextlib.suppress(ConnectionError),
        ):
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            client.recv(1_000)
        assert ask(address, "/quick") == (200, ["GET", "/quick", 0])


def test_a_body_that_unpacks_to_a_multiple_of_its_size_is_refused(monkeypatch):
    monkeypatch.setattr(http_server, "_MAX_FREELY_UNPACKED_BYTES", 1_000_000)
    with started(Held(), max_body_bytes=2**31 - 1) as (_, address):
        for content, status in ((b" " * 900_000, 200), (b" " * 9_000_000, 429)):
            connection = http.client.HTTPConnection(address, timeout=20)
            packed = gzip.compress(content)
            connection.request("POST", "/", packed, {"Content-Encoding": "gzip"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == status
            connection.close()
    assert b"unpacks to more than 100 times its size" in text


def test_kept_connections_are_closed_with_their_last_answer():
    application = Held()
    with started(application) as (server, address), concurrent.futures.ThreadPoolExecutor() as pool:
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.request("GET", "/quick")
        connection.getresponse().read()
        slow = pool.submit(ask, address, "/held")
        assert application.has_started.wait(20)
        stopping = pool.submit(server.stop, 20.0)
        while not server.is_draining:
            assert not stopping.done()
            time.sleep(0.001)
        connection.request("GET", "/quick")
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Connection")) == (200, "close")
        connection.close()
        application.may_answer.set()
        stopping.result()
        assert slow.result()[0] == 200


def test_chunked_bodies_are_read_up_to_the_limit():
    with started(Held()) as (_, address):
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.request("POST", "/", iter([b"12", b"345"]), encode_chunked=True)
        assert json.loads(connection.getresponse().read()) == ["POST", "/", 5]
        connection.close()
        assert ask(address, "/", b"x" * 1_001)[0] == 429
