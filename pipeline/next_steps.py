"""What to type after a push: serve the model, ask it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from slimworks.components.serving.call_examples import IMAGE, call_examples

_HOST, _GRPC_PORT, _REST_PORT = "127.0.0.1", 8500, 8501  # TensorFlow Serving's own ports


def serve_command(base_path: str) -> str:
    """Serves the model below `base_path` under the folder's name."""
    flags = {
        "model_name": model_name(base_path),
        "model_base_path": _absolute(base_path),
        "port": _GRPC_PORT,
        "rest_api_port": _REST_PORT,
    }
    # The embedded server reads folders only; TensorFlow Serving reads object stores itself.
    command = ["tensorflow_model_server"] if "://" in base_path else ["slimworks", "serve"]
    return shlex.join([*command, *(f"--{key}={flags[key]}" for key in flags)])


def ask_commands(base_path: str, version: int | None, servers: Sequence[str] = ()) -> str:
    """Calls of the first of the servers, or of the one that `serve_command` starts.

    Args:
        base_path: Where the model was pushed.
        version: The version to ask; None: the newest.
        servers: gRPC addresses of the servers that hold it; REST is taken to be on 8501 there.
    """
    grpc_address = next(iter(servers), f"{_HOST}:{_GRPC_PORT}")
    rest_address = f"{grpc_address.rpartition(':')[0]}:{_REST_PORT}"
    return call_examples(model_name(base_path), grpc_address, rest_address, version=version)


def ask_text(base_path: str, version: int | None, servers: Sequence[str] = ()) -> str:
    """`ask_commands` for people, with what to start first where no server holds the model."""
    serve = "" if servers else f"next: {serve_command(base_path)}\n"
    calls = ask_commands(base_path, version, servers)
    return f"{serve}then, beside an image {IMAGE}:\n\n{calls}\n"


def model_name(base_path: str) -> str:
    """The last part of a folder or an address of one."""
    return _absolute(base_path).rstrip("/").rpartition("/")[2]


def _absolute(base_path: str) -> str:
    return base_path if "://" in base_path else os.path.abspath(base_path)
