"""A running server under load: swaps and its end by gRPC and REST, connections, deadlines."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import resource
import shutil
import socket
import threading
from concurrent import futures

import grpc
import pytest
import tensorflow as tf
from serving_models import png
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from test_server_process import POLL_SECONDS, publish, states, wait_until

from slimworks.components.serving.client import Client
from slimworks.components.serving.process import ServerProcess

NUM_CONNECTIONS = 1_000
BODY = json.dumps({"instances": [{"b64": base64.b64encode(png("red")).decode()}]})


def grpc_asker(address: str, stack: contextlib.ExitStack):
    """Asks by gRPC; returns the version that answered."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto([png("red")]))
    channel = stack.enter_context(grpc.insecure_channel(address))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return lambda: stub.Predict(request, timeout=30).model_spec.version.value


def rest_asker(address: str, stack: contextlib.ExitStack):
    """Asks by REST on one connection, opened again where the server closed it."""
    connection = http.client.HTTPConnection(address, timeout=30)
    stack.callback(connection.close)

    def ask() -> str:
        connection.request("POST", "/v1/models/m:predict", BODY)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status == 200, content
        return content["predictions"][0]["classes"][0]

    return ask


@contextlib.contextmanager
def asked(*asks):
    """Each asker asks again and again, until its first failure or the end of the block."""
    answers: list[list[object]] = [[] for _ in asks]
    failures: list[Exception] = []
    done = threading.Event()

    def run(ask, found) -> None:
        try:
            while not done.is_set():
                found.append(ask())
        except Exception as error:
            failures.append(error)

    with futures.ThreadPoolExecutor(len(asks)) as pool:
        try:
            for ask, found in zip(asks, answers, strict=True):
                pool.submit(run, ask, found)
            yield answers, failures
        finally:
            done.set()


def test_swaps_under_load_fail_no_request(base_path, color_model, blue_model):
    with (
        ServerProcess(base_path, "m", poll_wait_seconds=POLL_SECONDS) as server,
        contextlib.ExitStack() as stack,
        Client(server.address, "m") as client,
    ):
        asks = [grpc_asker(server.address, stack) for _ in range(2)]
        asks += [rest_asker(server.rest_address, stack) for _ in range(2)]
        with asked(*asks) as (answers, failures):
            wait_until(lambda: all(answers))
            for version, model, color in ((2, blue_model, "blue"), (3, color_model, "red")):
                publish(model, base_path, version)
                wait_until(
                    lambda version=version, color=color: failures or (
                        all(found[-1] == version for found in answers[:2])
                        and all(found[-1] == color for found in answers[2:])
                    )
                )  # fmt: skip
            wait_until(lambda: states(client) == {3: "AVAILABLE", 2: "END", 1: "END"})
    assert not failures
    assert all({1, 2, 3} == set(found) for found in answers[:2])
    assert all({"red", "blue"} == set(found) for found in answers[2:])


def test_the_end_under_load_cuts_off_no_request(base_path):
    with (
        ServerProcess(base_path, "m") as server,
        contextlib.ExitStack() as stack,
    ):
        asks = [grpc_asker(server.address, stack) for _ in range(3)]
        asks += [rest_asker(server.rest_address, stack) for _ in range(3)]
        with asked(*asks) as (answers, failures):
            wait_until(lambda: all(len(found) > 20 for found in answers))
            assert server.terminate() == 0
            wait_until(lambda: len(failures) == len(asks))
    refused = [error for error in failures if isinstance(error, ConnectionRefusedError)]
    unavailable = [error.code() for error in failures if isinstance(error, grpc.RpcError)]
    assert len(refused) == 3, failures
    assert unavailable == [grpc.StatusCode.UNAVAILABLE] * 3, failures


@contextlib.contextmanager
def file_limit(number: int):
    """So many open files for this process and those that it starts, at first."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] != resource.RLIM_INFINITY and limits[1] < number:
        pytest.skip(f"this process may open {limits[1]} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def save_counting_model(folder) -> None:
    """x int64 [] -> y int64 [], counted up to x one by one."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.int64, [])
        y = v1.while_loop(lambda i: i < x, lambda i: i + 1, [tf.constant(0, tf.int64)])
        v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})


@pytest.fixture(scope="module")
def counting(color_model, tmp_path_factory):
    """A server of `colors` and `counts` with one thread for each protocol and a low file limit."""
    base = tmp_path_factory.mktemp("counting")
    shutil.copytree(color_model, base / "colors" / "1")
    save_counting_model(base / "counts" / "1")
    (base / "models.config").write_text(
        "model_config_list { "
        + " ".join(
            f'config {{ name: "{name}" base_path: "{base / name}" model_platform: "tensorflow" }}'
            for name in ("colors", "counts")
        )
        + " }"
    )
    flags = (
        f"--model_config_file={base / 'models.config'}", "--grpc_max_threads=1",
        "--rest_api_num_threads=1", "--rest_api_timeout_in_ms=1500",
    )  # fmt: skip
    with file_limit(512), ServerProcess("/unused", "m", extra_flags=flags) as running:
        yield running


def test_a_thousand_connections_by_each_are_held(counting):
    """Each has begun to speak; then others are still answered."""
    hello = {
        counting.address: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]),
        counting.rest_address: b"GET /v1/models/colors HTTP/1.1\r\nHost: a\r\n\r\n",
    }
    with file_limit(2 * NUM_CONNECTIONS + 200), contextlib.ExitStack() as stack:
        for address, sent in hello.items():
            host, _, port = address.partition(":")
            opened = [
                stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
                for _ in range(NUM_CONNECTIONS)
            ]
            for connection in opened:
                connection.sendall(sent)
            assert all(connection.recv(5) for connection in opened), "all are spoken to"
        with Client(counting.address, "colors") as client:
            assert client.predict_bytes([png("red")])[0].class_names[0] == "red"
        connection = http.client.HTTPConnection(counting.rest_address, timeout=30)
        stack.callback(connection.close)
        connection.request("GET", "/v1/models/colors")
        assert connection.getresponse().status == 200


def test_a_deadline_ends_the_run_of_the_graph(counting):
    """Each protocol has one thread: it is free again, though the graph would count for hours."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "counts"
    with grpc.insecure_channel(counting.address) as channel:
        predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(10**15, tf.int64))
        with pytest.raises(grpc.RpcError) as caught:
            predict(request, timeout=1)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(3, tf.int64))
        assert predict(request, timeout=30).outputs["y"].int64_val == [3]
    connection = http.client.HTTPConnection(counting.rest_address, timeout=30)
    for sent, status in ((10**15, 504), (3, 200)):
        connection.request("POST", "/v1/models/counts:predict", json.dumps({"inputs": sent}))
        answer = connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status == status, content
    assert content == {"outputs": 3}
    connection.close()
