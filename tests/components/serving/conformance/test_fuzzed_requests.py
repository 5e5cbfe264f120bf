"""Thousands of damaged requests: each gets a client error or an answer, and the server goes on."""

from __future__ import annotations

import http.client
import json

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2, predict_pb2

FAULTS_OF_OURS = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}
NUM_REQUESTS = 300


def damaged(generator: np.random.Generator, content: bytes) -> bytes:
    """A copy with a few bytes changed, removed, doubled or inserted."""
    data = bytearray(content)
    for _ in range(int(generator.integers(1, 4))):
        place = int(generator.integers(0, max(1, len(data))))
        match int(generator.integers(0, 4)):
            case 0 if data:
                data[place] = int(generator.integers(0, 256))
            case 1:
                del data[place : place + int(generator.integers(1, 8))]
            case 2:
                data[place:place] = data[place : place + int(generator.integers(1, 8))]
            case _:
                data[place:place] = generator.bytes(int(generator.integers(1, 4)))
    return bytes(data)


def code_of(ask, request) -> grpc.StatusCode:
    """How a call ends."""
    try:
        ask(request, timeout=30)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_rest_survives_damaged_bodies(served):
    generator = np.random.default_rng(7)
    bodies = [
        ("types:predict", b'{"signature_name": "two", "instances": [{"x": [1, 2], "name": "a"}]}'),
        ("types:predict", b'{"signature_name": "echo_int32", "inputs": [[1, 2], [3, 4]]}'),
        ("types:predict", b'{"signature_name": "echo_string", "inputs": [{"b64": "QUJD"}]}'),
        ("examples:classify", b'{"signature_name": "classify", "examples": [{"x": 1.5}]}'),
        ("examples:regress", b'{"signature_name": "regress", "context": {"x": 1}, "examples": []}'),
    ]  # fmt: skip
    connection = http.client.HTTPConnection(served.process.rest_address, timeout=30)
    for number in range(NUM_REQUESTS):
        path, body = bodies[number % len(bodies)]
        sent = damaged(generator, body)
        connection.request("POST", f"/v1/models/{path}", sent)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status in (200, 400, 404, 501), (sent, content)
        assert (answer.status == 200) != ("error" in content)
    connection.close()


def test_rest_survives_damaged_paths(served):
    generator = np.random.default_rng(8)
    paths = [b"/v1/models/types/versions/1:predict", b"/v1/models/colors/labels/stable/metadata"]
    connection = http.client.HTTPConnection(served.process.rest_address, timeout=30)
    for number in range(NUM_REQUESTS):
        path = damaged(generator, paths[number % 2])
        path = b"/" + bytes(byte for byte in path.lstrip(b"/") if 0x21 <= byte < 0x7F)
        connection.request("GET", path.decode(), b"")
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (200, 400, 404), path
    connection.close()


def test_grpc_survives_damaged_messages(served):
    generator = np.random.default_rng(9)
    predict = predict_pb2.PredictRequest()
    predict.model_spec.name, predict.model_spec.signature_name = "types", "two"
    predict.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0]]))
    predict.inputs["name"].CopyFrom(tf.make_tensor_proto([b"a"]))
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name, classify.model_spec.signature_name = "examples", "classify"
    classify.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    for number in range(NUM_REQUESTS):
        method, message = [("Predict", predict), ("Classify", classify)][number % 2]
        sent = damaged(generator, message.SerializeToString(deterministic=True))
        ask = served.channel.unary_unary(f"/tensorflow.serving.PredictionService/{method}")
        assert code_of(ask, sent) not in FAULTS_OF_OURS, sent


def test_grpc_survives_tensors_that_lie(served):
    generator = np.random.default_rng(10)
    dtypes = [value for value in types_pb2.DataType.values() if value < 100]
    fields = {"float_val": 1.5, "int_val": 7, "string_val": b"a", "half_val": 70_000 % 65_536,
              "bool_val": True, "int64_val": -1, "dcomplex_val": 0.5}  # fmt: skip
    for _ in range(NUM_REQUESTS):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "types"
        request.model_spec.signature_name = (
            f"echo_{generator.choice(['float32', 'string', 'bool'])}"
        )
        tensor = request.inputs["x"]
        tensor.dtype = int(generator.choice(dtypes))
        for size in generator.choice([-1, 0, 1, 3, 2**20, 2**40], int(generator.integers(0, 4))):
            tensor.tensor_shape.dim.add(size=int(size))
        for name in generator.choice(list(fields), 2):
            getattr(tensor, name).append(fields[name])
        if generator.random() < 0.3:
            tensor.tensor_content = generator.bytes(int(generator.integers(1, 20)))
        assert code_of(served.prediction.Predict, request) not in FAULTS_OF_OURS, request
