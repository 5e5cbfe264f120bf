"""One server for each module, started by its command line, with three models by a config file."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving_models import save_types_model
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from slimworks.components.serving.process import ServerProcess

CONFIG = """
model_config_list {{
  config {{
    name: "colors" base_path: "{base}/colors" model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 3 versions: 5 }} }}
    version_labels {{ key: "stable" value: 3 }}
    version_labels {{ key: "canary" value: 5 }}
  }}
  config {{ name: "examples" base_path: "{base}/examples" model_platform: "tensorflow" }}
  config {{ name: "types" base_path: "{base}/types" model_platform: "tensorflow" }}
}}
"""


@dataclasses.dataclass
class Served:
    """A running server and TensorFlow Serving's own stubs for it."""

    process: ServerProcess
    prediction: prediction_service_pb2_grpc.PredictionServiceStub
    models: model_service_pb2_grpc.ModelServiceStub
    channel: grpc.Channel
    base: Path

    def curl(self, path: str, body: Any = None, *options: str) -> tuple[int, Any]:
        """Status and JSON of a REST answer, asked with curl; text where it is no JSON."""
        command = ["curl", "-sS", "-w", "\n%{http_code}", *options]
        if body is not None:
            command += ["--data-binary", "@-"]
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = subprocess.run(
            [*command, f"http://{self.process.rest_address}{path}"],
            input=sent, capture_output=True, check=True,
        ).stdout  # fmt: skip
        text, _, status = answer.decode().rpartition("\n")
        try:
            return int(status), json.loads(text)
        except json.JSONDecodeError:
            return int(status), text

    def predict(self, signature: str, body: dict[str, Any], model: str = "types") -> Any:
        """The answer to a REST predict, which must succeed."""
        status, answer = self.curl(
            f"/v1/models/{model}:predict", {"signature_name": signature, **body}
        )
        assert status == 200, answer
        return answer

    def prediction_request(self, signature: str) -> predict_pb2.PredictRequest:
        """A request of `types` with x float [1]."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "types", signature
        request.inputs["x"].CopyFrom(tensor_pb2.TensorProto(dtype=1, float_val=[1.0]))
        request.inputs["x"].tensor_shape.dim.add(size=1)
        return request

    def refused(self, path: str, body: Any) -> str:
        """The message of a 400."""
        status, answer = self.curl(path, body)
        assert status == 400
        return answer["error"]


@pytest.fixture(scope="session")
def types_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_types_model(tmp_path_factory.mktemp("types") / "model")


@pytest.fixture(scope="session")
def base(color_model, blue_model, example_model, types_model, tmp_path_factory) -> Path:
    """Folders of the three models."""
    base = tmp_path_factory.mktemp("bases")
    for model, place in (
        (color_model, "colors/3"),
        (blue_model, "colors/5"),
        (color_model, "colors/6"),  # not served: the policy names 3 and 5
        (example_model, "examples/1"),
        (types_model, "types/1"),
    ):
        shutil.copytree(model, base / place)
    return base


@pytest.fixture(scope="module")
def served(base: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("flags")
    (folder / "models.config").write_text(CONFIG.format(base=base))
    (folder / "monitoring.config").write_text(
        'prometheus_config { enable: true path: "/monitoring/metrics" }'
    )
    flags = (
        f"--model_config_file={folder}/models.config",
        "--allow_version_labels_for_unavailable_models",
        f"--monitoring_config_file={folder}/monitoring.config",
        "--enable_grpc_healthcheck_service=true",
        "--rest_api_enable_cors_support",
        "--max_message_bytes=1000000",
        "--tensorflow_session_parallelism=1",
        "--flush_filesystem_caches=false",
    )
    with (
        ServerProcess(base, "m", poll_wait_seconds=0.05, extra_flags=flags) as running,
        grpc.insecure_channel(running.address) as channel,
    ):  # fmt: skip
        yield Served(
            running,
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
            channel,
            base,
        )
