"""grpcurl, which knows of the server only what reflection tells it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest
from serving_models import png

pytestmark = pytest.mark.engine


@pytest.fixture
def grpcurl(served):
    engines = Path(os.environ.get("SLIMWORKS_ENGINES", Path(__file__).parents[4] / ".engines"))
    (program,) = engines.glob("grpcurl-v*")

    def call(*arguments: str, message: object = None) -> subprocess.CompletedProcess[str]:
        sent = [] if message is None else ["-d", json.dumps(message)]
        return subprocess.run(
            [program, "-plaintext", *sent, served.process.address, *arguments],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return call


def test_services_and_messages_are_described(grpcurl):
    listed = grpcurl("list").stdout.split()
    assert "tensorflow.serving.PredictionService" in listed
    assert "grpc.health.v1.Health" in listed
    described = grpcurl("describe", "tensorflow.serving.PredictRequest").stdout
    assert "map<string, .tensorflow.TensorProto> inputs = 2;" in described


def test_status_and_health_are_asked(grpcurl):
    spec = {"model_spec": {"name": "colors"}}
    answer = grpcurl("tensorflow.serving.ModelService/GetModelStatus", message=spec)
    states = json.loads(answer.stdout)["model_version_status"]
    assert [(entry["version"], entry["state"]) for entry in states] == [
        ("5", "AVAILABLE"), ("3", "AVAILABLE"),
    ]  # fmt: skip
    health = grpcurl("grpc.health.v1.Health/Check", message={})
    assert json.loads(health.stdout) == {"status": "SERVING"}


def test_an_image_is_classified(grpcurl):
    image = base64.b64encode(png("red")).decode()
    tensor = {
        "dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": 1}]}, "string_val": [image],
    }  # fmt: skip
    spec = {"name": "colors", "version_label": "stable"}
    answer = grpcurl(
        "tensorflow.serving.PredictionService/Predict",
        message={"model_spec": spec, "inputs": {"images": tensor}},
    )
    outputs = json.loads(answer.stdout)["outputs"]
    assert base64.b64decode(outputs["classes"]["string_val"][0]) == b"red"


def test_a_refusal_has_its_code(grpcurl):
    spec = {"model_spec": {"name": "none"}}
    answer = grpcurl("tensorflow.serving.ModelService/GetModelStatus", message=spec)
    assert answer.returncode != 0
    assert "NotFound" in answer.stderr
    assert "Could not find any versions of model none" in answer.stderr
