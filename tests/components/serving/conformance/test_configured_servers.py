"""Config files, labels, reloads, TLS, batching and limits of running servers."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from serving_models import png
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from slimworks.components.errors import ServingError
from slimworks.components.serving.process import ServerProcess

POLL_SECONDS = 0.05
ALLOW = "--allow_version_labels_for_unavailable_models"


def wait_until(condition):
    deadline = time.monotonic() + 60
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "not reached in time"
        pause.wait(0.02)


def one_config(name, base_path, extra=""):
    return (
        f'config {{ name: "{name}" base_path: "{base_path}" model_platform: "tensorflow" {extra} }}'
    )


def config_text(*configs):
    return "model_config_list { " + " ".join(configs) + " }"


def reload_request(*configs, metric_names=()):
    request = model_management_pb2.ReloadConfigRequest(metric_names=metric_names)
    text_format.Parse(config_text(*configs), request.config)
    return request


def predict(channel, name, label=""):
    """Class of a red image, and the version that says so."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    if label:
        request.model_spec.version_label = label
    request.inputs["images"].CopyFrom(tf.make_tensor_proto([png("red")]))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    response = stub.Predict(request, timeout=30)
    return response.outputs["classes"].string_val[0].decode(), response.model_spec.version.value


def states(channel, name):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=30)
    return {entry.version: entry.state for entry in response.model_version_status}


def refusal(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    return caught.value.code(), caught.value.details()


def last_words(channel, name, label=""):
    """What the server says against a request; nothing where it answers."""
    try:
        predict(channel, name, label)
    except grpc.RpcError as error:
        return error.details()
    return ""


@pytest.fixture(scope="module")
def bases(color_model, blue_model, tmp_path_factory):
    base = tmp_path_factory.mktemp("reloads")
    for model, place in (
        (color_model, "a/1"), (blue_model, "a/2"), (color_model, "b/1"), (color_model, "c/1"),
    ):  # fmt: skip
        shutil.copytree(model, base / place)
    (base / "broken" / "1").mkdir(parents=True)
    return base


@pytest.fixture(scope="module")
def running(bases):
    with (
        ServerProcess(bases / "a", "a", poll_wait_seconds=POLL_SECONDS) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield channel


@pytest.fixture
def reload(running):
    return model_service_pb2_grpc.ModelServiceStub(running).HandleReloadConfigRequest


BOTH = "model_version_policy { specific { versions: 1 versions: 2 } }"


def label(name, version):
    return f'version_labels {{ key: "{name}" value: {version} }}'


def test_reload_adds_and_removes_models(running, reload, bases):
    loads = ":tensorflow:cc:saved_model:load_attempt_count"
    response = reload(
        reload_request(
            one_config("a", bases / "a"), one_config("b", bases / "b"), metric_names=[loads]
        ),
        timeout=60,
    )
    assert response.status.error_code == 0
    assert [(m.name, m.int64_value_increase) for m in response.metric] == [(loads, 1)]
    assert predict(running, "b") == ("red", 1), "AVAILABLE when the call returns"
    reload(reload_request(one_config("a", bases / "a")), timeout=60)
    with pytest.raises(grpc.RpcError) as caught:
        predict(running, "b")
    assert caught.value.details() == "Servable not found for request: Latest(b)"


def test_labels_move_to_loaded_versions_only(running, reload, bases):
    reload(reload_request(one_config("a", bases / "a", BOTH)), timeout=60)
    wait_until(lambda: states(running, "a").get(1) == 30)
    with_label = one_config("a", bases / "a", BOTH + label("stable", 1))
    reload(reload_request(with_label), timeout=60)
    assert predict(running, "a", "stable") == ("red", 1)
    reload(reload_request(one_config("a", bases / "a", BOTH + label("stable", 2))), timeout=60)
    assert predict(running, "a", "stable") == ("blue", 2)
    missing = reload_request(one_config("a", bases / "a", BOTH + label("stable", 7)))
    assert refusal(reload, missing) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "Request to assign label to version 7 of model a, which is not currently available for "
        "inference",
    )
    assert predict(running, "a", "stable") == ("blue", 2), "nothing changed"


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ((one_config("a", "/x"), one_config("a", "/y")), "Illegal to list model a multiple times"),
        ((one_config("a", "x"),), "to have an absolute path or URI; got base_path()=x"),
        ((one_config("a", "/x").replace('"tensorflow"', '"other"'),), "model platform 'other'"),
        ((one_config("a", "/x").replace('model_platform: "tensorflow"', ""),),
         "neither ModelServerConfig::model_type nor model_platform"),
        ((one_config("", "/x"),), "has no name"),
    ],
)  # fmt: skip
def test_a_wrong_config_changes_nothing(running, reload, configs, message):
    code, text = refusal(reload, reload_request(*configs))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message in text
    assert predict(running, "a")[1] == 2


def test_another_kind_of_config_is_refused(reload):
    code, _ = refusal(reload, model_management_pb2.ReloadConfigRequest())
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_a_new_model_that_fails_is_reported(running, reload, bases):
    request = reload_request(one_config("a", bases / "a"), one_config("x", bases / "broken"))
    code, text = refusal(reload, request)
    assert code == grpc.StatusCode.UNKNOWN
    assert text.startswith("1 servable(s) did not become available: {{name: x version: 1}")
    reload(reload_request(one_config("a", bases / "a")), timeout=60)


def test_config_file_is_polled_and_a_broken_one_is_ignored(bases, tmp_path):
    path = tmp_path / "models.config"
    path.write_text(config_text(one_config("b", bases / "b")))
    flags = (f"--model_config_file={path}", f"--model_config_file_poll_wait_seconds={POLL_SECONDS}")
    with (
        ServerProcess("/unused", "m", poll_wait_seconds=POLL_SECONDS, extra_flags=flags) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        assert predict(channel, "b") == ("red", 1)
        path.write_text("model_config_list {")
        wait_until(lambda: "The model config stays as it was" in server.log_text())
        assert predict(channel, "b") == ("red", 1)
        path.write_text(config_text(one_config("c", bases / "c", label("stable", 1))))

        wait_until(lambda: "Servable not found" in last_words(channel, "b"))
        wait_until(lambda: last_words(channel, "c", "stable") == "")
        assert predict(channel, "c", "stable") == ("red", 1)


@pytest.mark.parametrize(
    ("config", "code", "message"),
    [
        (
            "model_config_list {",
            2,
            "Error parsing text-format tensorflow.serving.ModelServerConfig",
        ),
        ("", 2, "Only model_config_list is supported"),
        (config_text(one_config("a", "relative")), 2, "to have an absolute path"),
    ],
)
def test_a_wrong_config_file_keeps_the_server_from_starting(tmp_path, config, code, message):
    path = tmp_path / "models.config"
    path.write_text(config)
    with (
        pytest.raises(ServingError, match=f"exit code {code}") as caught,
        ServerProcess("/unused", "m", extra_flags=(f"--model_config_file={path}",)),
    ):
        pass
    assert message in caught.value.cause


def test_first_labels_need_the_flag_as_in_tensorflow_serving(bases, tmp_path):
    path = tmp_path / "models.config"
    path.write_text(config_text(one_config("b", bases / "b", label("stable", 1))))
    with (
        pytest.raises(ServingError, match="not currently available for inference") as caught,
        ServerProcess("/unused", "m", extra_flags=(f"--model_config_file={path}",)),
    ):
        pass
    assert ALLOW in caught.value.cause


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("", [2]), ("latest { num_versions: 2 }", [2, 1]), ("all { }", [2, 1]),
     ("specific { versions: 1 }", [1])],
)  # fmt: skip
def test_version_policies(running, reload, bases, policy, expected):
    name = "p" + "".join(filter(str.isalnum, policy))
    entry = one_config(name, bases / "a", f"model_version_policy {{ {policy} }}" if policy else "")
    reload(reload_request(one_config("a", bases / "a"), entry), timeout=60)
    loaded = [number for number, state in states(running, name).items() if state == 30]
    assert loaded == expected


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def secured(bases, tmp_path_factory):
    """A server with TLS that checks clients, batching and answers in `tensor_content`."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "client"):
        openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
            "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
            "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem",
        )  # fmt: skip
    pem = {path.name: path.read_bytes() for path in folder.iterdir()}
    quoted = {name: json.dumps(text.decode()) for name, text in pem.items()}
    (folder / "ssl.config").write_text(
        f"server_key: {quoted['server.key']} server_cert: {quoted['server.pem']} "
        f"custom_ca: {quoted['client.pem']} client_verify: true"
    )
    (folder / "batching.txt").write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 5000 } "
        "num_batch_threads { value: 1 } allowed_batch_sizes: [4, 8]"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = (
        f"--ssl_config_file={folder}/ssl.config",
        "--enable_batching",
        f"--batching_parameters_file={folder}/batching.txt",
        "--enable_serialization_as_tensor_content",
        f"--rest_api_port={port}",
    )
    with ServerProcess(bases / "b", "b", port=port, extra_flags=flags) as server:
        yield server, f"localhost:{port}", pem


@pytest.fixture(scope="module")
def secured_channel(secured):
    _, address, pem = secured
    known = grpc.ssl_channel_credentials(pem["server.pem"], pem["client.key"], pem["client.pem"])
    with grpc.secure_channel(address, known) as channel:
        yield channel


def test_tls_serves_known_clients_only(secured, secured_channel):
    _, address, pem = secured
    assert predict(secured_channel, "b") == ("red", 1)
    strange = grpc.ssl_channel_credentials(pem["server.pem"])
    for channel in (grpc.secure_channel(address, strange), grpc.insecure_channel(address)):
        with channel, pytest.raises(grpc.RpcError) as caught:
            predict(channel, "b")
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_noise_on_a_tls_port_is_survived(secured, secured_channel):
    _, address, _ = secured
    generator = np.random.default_rng(14)
    host, _, port = address.partition(":")
    for number in range(40):
        with (
            socket.create_connection((host, int(port)), timeout=30) as connection,
            contextlib.suppress(ConnectionError),
        ):
            start = b"\x16\x03\x01\x01\x00\x01" if number % 2 else b"PRI * HTTP/2.0\r\n\r\n"
            connection.sendall(start + generator.bytes(300))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(100)
    assert predict(secured_channel, "b") == ("red", 1)


def test_rest_is_skipped_on_the_port_of_grpc(secured):
    server, *_ = secured
    assert server.rest_address == ""
    assert "REST is off" in server.log_text()


def images_request(*colors):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "b"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto([png(color) for color in colors]))
    return request


def test_answers_are_in_tensor_content_where_asked_for(secured_channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(secured_channel)
    outputs = stub.Predict(images_request("red"), timeout=30).outputs
    assert outputs["probabilities"].tensor_content
    assert not outputs["probabilities"].float_val
    assert outputs["classes"].string_val[0] == b"red"
    assert tf.make_ndarray(outputs["is_known"]).tolist() == [True]


def test_batching_answers_what_single_requests_answer(secured_channel, bases):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(secured_channel)
    colors = ["red", "green", "blue", "gray"] * 8

    def ask(color):
        outputs = stub.Predict(images_request(color), timeout=30).outputs
        return {alias: tf.make_ndarray(tensor).tolist() for alias, tensor in outputs.items()}

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, colors))
    model = tf.saved_model.load(str(bases / "b" / "1")).signatures["serving_default"]
    expected = {color: model(images=tf.constant([png(color)])) for color in set(colors)}
    for color, answer in zip(colors, answers, strict=True):
        assert answer["classes"] == expected[color]["classes"].numpy().tolist()
        probabilities = expected[color]["probabilities"][0].numpy()
        assert answer["probabilities"][0] == pytest.approx(probabilities)
    assert refusal(stub.Predict, images_request(*["red"] * 9)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Task size 9 is larger than maximum input batch size 8",
    )


def test_wrong_tls_file_is_named(bases, tmp_path):
    (tmp_path / "ssl.config").write_text('server_key: "k"')
    with (
        pytest.raises(ServingError, match="lacks server_key or server_cert"),
        ServerProcess(bases / "b", "b", extra_flags=(f"--ssl_config_file={tmp_path}/ssl.config",)),
    ):
        pass


def test_requests_beyond_the_queue_are_refused(bases):
    flags = ("--grpc_max_threads=1", "--max_queued_requests=0")
    request = images_request(*["red"] * 1_500)
    with (
        ServerProcess(bases / "b", "b", extra_flags=flags) as server,
        grpc.insecure_channel(server.address) as channel,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        asked = [pool.submit(stub.Predict, request, timeout=60) for _ in range(8)]
        errors = [error for error in (future.exception() for future in asked) if error]
    assert 1 <= len(errors) <= 7
    assert {(error.code(), error.details()) for error in errors} == {
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
    }
