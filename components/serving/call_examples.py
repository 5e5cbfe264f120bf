"""Commands that ask a served model, to copy and paste."""

from __future__ import annotations

import json
import shlex
import urllib.parse
from typing import Any

from slimworks.components.contracts import SIGNATURE_SERVE

IMAGE = "cat.jpg"
_PREDICT = "tensorflow.serving.PredictionService/Predict"


def call_examples(
    model_name: str, grpc_address: str, rest_address: str = "", *, version: int | None = None
) -> str:
    """Calls of one model as lines for a shell: slimworks, curl, grpcurl and Python.

    Each reads the image `cat.jpg` of the current folder. The image is piped, since a photo does
    not fit in an argument of a command. grpcurl asks the server for its protos, which the
    embedded server gives and TensorFlow Serving does not.

    Args:
        model_name: Name that the server gives the model.
        grpc_address: `host:port`.
        rest_address: `host:port`; empty: the server has no REST, and there is no curl.
        version: Version to ask; None: the newest.
    """
    calls = [("slimworks", _slimworks(model_name, grpc_address, version))]
    if rest_address:
        calls.append(("curl", _curl(model_name, rest_address, version)))
    calls += [
        ("grpcurl", _grpcurl(model_name, grpc_address, version)),
        ("Python", _python(model_name, grpc_address, version)),
    ]
    return "\n\n".join(f"# {name}\n{call}" for name, call in calls)


def _slimworks(model_name: str, address: str, version: int | None) -> str:
    command = ["slimworks", "predict", IMAGE, "--server", address, "--model-name", model_name]
    return shlex.join(command + ([] if version is None else ["--version", str(version)]))


def _curl(model_name: str, address: str, version: int | None) -> str:
    path = urllib.parse.quote(model_name, safe="")
    if version is not None:
        path += f"/versions/{version}"
    url = shlex.quote(f"http://{address}/v1/models/{path}:predict")
    return f"{_piped({'instances': [{'b64': IMAGE}]})} | \\\n  curl -d @- {url}"


def _grpcurl(model_name: str, address: str, version: int | None) -> str:
    model: dict[str, Any] = {"name": model_name, "signature_name": SIGNATURE_SERVE}
    if version is not None:
        model["version"] = version
    shape = {"dim": [{"size": 1}]}
    tensor = {"dtype": "DT_STRING", "tensor_shape": shape, "string_val": [IMAGE]}
    message = {"model_spec": model, "inputs": {"images": tensor}}
    command = shlex.join(["grpcurl", "-plaintext", "-d", "@", address, _PREDICT])
    return f"{_piped(message)} | \\\n  {command}"


def _piped(message: dict[str, Any]) -> str:
    """Shell commands that write `message` with the image's base64 in place of its name."""
    before, _, after = json.dumps(message).rpartition(IMAGE)
    return (
        f"{{ printf %s {shlex.quote(before)}; base64 < {IMAGE} | tr -d '\\n'; "
        f"printf %s {shlex.quote(after)}; }}"
    )


def _python(model_name: str, address: str, version: int | None) -> str:
    wanted = "" if version is None else f", version={version}"
    return f"""\
python - <<'EOF'
from slimworks.components.serving.client import Client
with Client({address!r}, {model_name!r}{wanted}) as client:
    for answer in client.predict_files([{IMAGE!r}]):
        print(answer.class_names[0], answer.probabilities[0], answer.is_known)
EOF"""
