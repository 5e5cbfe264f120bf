"""What is no request, or a harmful one: a proper answer or a closed connection, and it goes on."""

from __future__ import annotations

import contextlib
import errno
import gzip
import http.client
import json
import socket
import threading
import urllib.parse
import zlib

import grpc
import numpy as np
import pytest
from test_fuzzed_requests import NUM_REQUESTS, damaged

PREDICT = "/v1/models/types:predict"
BODY = b'{"instances": [1]}'
_CLOSED = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)  # by the server, at once


@contextlib.contextmanager
def connected(address: str):
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        yield connection


def said(address: str, sent: bytes) -> bytes:
    """What the server says to these bytes, and to nothing after them."""
    with connected(address) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(4_096)
        except OSError as error:
            if error.errno in _CLOSED:
                return b""
            raise


def asked(
    served, body: bytes | list[bytes], headers: dict[str, str] | None = None, path: str = PREDICT
):
    """Status and content of a POST, as JSON."""
    connection = http.client.HTTPConnection(served.process.rest_address, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def goes_on(served) -> bool:
    return asked(served, BODY) == (200, {"predictions": [1.0]})


def raw_request(body: bytes = BODY, headers: str = "") -> bytes:
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def test_damaged_http_gets_a_proper_status_or_none(served):
    generator = np.random.default_rng(11)
    whole = raw_request(gzip.compress(BODY), "Content-Encoding: gzip\r\nExpect: x\r\n")
    for _ in range(NUM_REQUESTS):
        sent = damaged(generator, whole)
        answer = said(served.process.rest_address, sent)
        # `curl` and browsers read 1xx to 4xx as an answer, never as a fault of the server.
        assert not answer or answer.split(b" ")[1][:1] in (b"1", b"2", b"4"), (sent, answer)
    assert goes_on(served)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_noise_on_a_port_is_survived(served, protocol):
    generator = np.random.default_rng(12)
    process = served.process
    address = process.rest_address if protocol == "rest" else process.address
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    for number in range(60):
        noise = generator.bytes(int(generator.integers(1, 400)))
        said(address, (b"\x16\x03\x01" if number % 2 else hello) + noise)
    assert goes_on(served)
    request = served.prediction_request("echo_float32")
    assert served.prediction.Predict(request, timeout=30).outputs["y"].float_val == [1.0]


def test_slow_senders_keep_nobody_waiting(served):
    """Two hundred clients stop in the middle of a header, two hundred in a body."""
    request = raw_request(b"x" * 1_000)
    with contextlib.ExitStack() as stack:
        for number in range(400):
            slow = stack.enter_context(connected(served.process.rest_address))
            slow.sendall(request[:20] if number % 2 else request[:-500])
        assert goes_on(served)
    assert goes_on(served)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_no_name_in_a_request_writes_a_line_of_the_log(served, protocol):
    line = f"2026-01-01 00:00:00,000 INFO Version 9 of model {protocol} is AVAILABLE"
    if protocol == "rest":
        path = f"/v1/models/{urllib.parse.quote(chr(10) + line, safe='')}:predict"
        assert asked(served, BODY, path=path)[0] == 404
    else:
        request = served.prediction_request("echo_float32")
        request.model_spec.name = f"\n{line}"
        with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
            served.prediction.Predict(request, timeout=30)

    lines = served.process.log_text().splitlines()
    assert line not in [found.removesuffix(")") for found in lines]
    assert f"    {line})" in lines


@pytest.mark.parametrize("method", ["Predict", "ServerReflectionInfo"])
def test_calls_without_a_message_keep_nobody_waiting(served, method):
    """Two hundred calls by gRPC that begin, and send nothing."""
    is_over = threading.Event()

    def nothing():
        is_over.wait()
        yield from ()

    with grpc.insecure_channel(
        served.process.address, [("grpc.use_local_subchannel_pool", 1)]
    ) as slow:
        service = "tensorflow.serving.PredictionService"
        call = slow.stream_unary(f"/{service}/{method}").future
        if method == "ServerReflectionInfo":
            call = slow.stream_stream(f"/grpc.reflection.v1.ServerReflection/{method}")
        calls = [call(nothing()) for _ in range(200)]
        request = served.prediction_request("echo_float32")
        for _ in range(3):
            assert served.prediction.Predict(request, timeout=30).outputs["y"].float_val == [1.0]
        assert not any(call.done() for call in calls)
        is_over.set()
    assert goes_on(served)


@pytest.mark.parametrize(
    "head",
    [
        "X: " + "a" * 200_000, "\r\n".join(f"X-{n}: y" for n in range(20_000)), "no colon",
        "X\x00: y", ": y", "Content-Length: 5\r\nContent-Length: 7",
        "Transfer-Encoding: chunked\r\nContent-Length: 5", "Transfer-Encoding: gzip",
        "Host: a\r\nHost: b", " folded: at first", "Content-Length: -1", "Content-Length: 1e3",
        "Content-Length: 99999999999999999999",
    ],
    ids=lambda head: head[:24],
)  # fmt: skip
def test_wrong_headers_are_refused(served, head):
    sent = f"POST {PREDICT} HTTP/1.1\r\n{head}\r\n\r\n12345".encode()
    answer = said(served.process.rest_address, sent)
    assert not answer or answer.split(b" ")[1][:1] == b"4", answer
    assert goes_on(served)


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"5\r\n123", b"5;" + b"x" * 99_999, b"0\r\n"],
)
def test_wrong_chunks_are_refused(served, chunks):
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer = said(served.process.rest_address, head + chunks)
    assert not answer or answer.split(b" ")[1][:1] == b"4", answer
    assert goes_on(served)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (gzip.compress(BODY, mtime=0)[:-9], "it ends early"),
        (gzip.compress(BODY, mtime=0)[:12] + b"\xff" * 40, "The body is no gzip data"),
        (zlib.compress(BODY), "The body is no gzip data"),
        (gzip.compress(BODY, mtime=0) + b"more", "it goes on after its end"),
        (b"", "The body is no gzip data"),
    ],
)
def test_wrong_gzip_is_named(served, body, message):
    status, answer = asked(served, body, {"Content-Encoding": "gzip"})
    assert status == 400
    assert message in answer["error"]


def test_a_gzip_bomb_is_refused_while_it_unpacks(served):
    bomb = gzip.compress(b" " * 50_000_000, 1)
    status, _ = asked(served, bomb, {"Content-Encoding": "gzip"})
    assert status == 429
    assert goes_on(served)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"instances": [1e400]}', 400), (b'{"instances": [-1e400]}', 400),
        (b'{"instances": [' + b"9" * 5_000 + b"]}", 400),
        (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400),
        (b'{"instances": [1], "instances": [1]}', 200),
        (b'{"instances": [-0.0, 1e-400]}', 200),
        (b'{"instances": [NaN, Infinity, -Infinity]}', 200),
        (b'{"instances": [nan]}', 400), (b'{"instances": [0x1]}', 400),
        (b'{"instances": [01]}', 400), (b"{'instances': [1]}", 400),
        (b'\xef\xbb\xbf{"instances": [1]}', 400), (b'{"instances": [1],}', 400),
        (b'{"instances": "\x01"}', 400), (b'{"\\ud800": 1, "instances": [1]}', 200),
        (b'{"instances": [1], "signature_name": null}', 400),
        (b'{"instances": [18446744073709551615]}', 400),
        (b'{"instances": [18446744073709551616]}', 200),  # a double by then, as in TF Serving
        (b'{"signature_name": "echo_int64", "instances": [9223372036854775808]}', 400),
        (b'{"signature_name": "echo_uint64", "instances": [18446744073709551616]}', 400),
        (b'{"signature_name": "echo_uint8", "instances": [-1]}', 400),
        (b'{"signature_name": "echo_float16", "instances": [65505]}', 400),
        (b'{"signature_name": "echo_bool", "inputs": []}', 200),
        (b'{"signature_name": "echo_string", "instances": [{"b64": 1}]}', 400),
        (b'{"signature_name": "echo_string", "instances": [{"b64": "QQ==", "x": 1}]}', 400),
        (b'{"signature_name": "echo_string", "instances": [{"b64": "QQ"}, {"b64": "-_8"}]}', 200),
        (b'{"signature_name": "two", "inputs": {"x": [[1, 2]], "name": ["a"], "z": 1}}', 200),
        (b'{"signature_name": "two", "inputs": {"x": [[1, 2], [3]], "name": ["a"]}}', 400),
        (b'{"signature_name": "", "instances": [1]}', 200),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_json_that_is_strange(served, body, status):
    found, content = asked(served, body)
    assert found == status, content


def test_values_at_the_edges_come_back(served):
    connection = http.client.HTTPConnection(served.process.rest_address, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", PREDICT, b'{"instances": [-0.0, 1e-45, 3.4e38, 1e-400]}')
        text = connection.getresponse().read()
    assert text == b'{"predictions":[-0.0,1e-45,3.4e+38,0.0]}'


@pytest.mark.parametrize("path", [
    "/v1/models/types:predict?x=1", "/v1/models/types%3Apredict", "/v1/models/..%2f:predict",
    "/v1/models/%00:predict", "/v1/models/%ff:predict", "/v1/models/" + "a" * 30_000 + ":predict",
    "/v1//models/types:predict", "//v1/models/types:predict",
    "/v1/models/types/versions/-1:predict", f"/v1/models/types/versions/{'9' * 5_000}:predict",
    f"/v1/models/types/versions/{'9' * 5_000}", f"/v1/models/types/versions/{'0' * 5_000}2:predict",
    "/v1/models/types/versions/1.5:predict", "/v1/models/types/labels/%2e%2e:predict",
    "/v1/models/{types}:predict", "/v1/models/types:predict:predict",
])  # fmt: skip
def test_strange_paths_are_answered(served, path):
    status, content = asked(served, BODY, path=path)
    assert status in (200, 400, 404), content
    assert (status == 200) == ("?" in path)
