"""What client and server tell a user, word for word."""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving_models import png

from slimworks.components.errors import ConfigError, DataError, ServingError, SlimWorksError
from slimworks.components.serving import answers
from slimworks.components.serving.client import Client
from slimworks.components.serving.flags import ServerFlags, parse_flags
from slimworks.components.serving.image_bytes import servable
from slimworks.components.serving.process import ServerProcess
from slimworks.components.serving.protos import wire_pb2 as wire
from slimworks.components.serving.server import serve

LEAVE_OUT = "Leave the file out, or re-export it as JPEG or PNG."


def refusal(
    kind: type[SlimWorksError], function: Callable[..., object], *arguments: Any
) -> tuple[str, str]:
    """Cause and fix of the error that a call raises."""
    with pytest.raises(kind) as caught:
        function(*arguments)
    return caught.value.cause, caught.value.fix


class Refusing(grpc.GenericRpcHandler):
    """Answers every request with one gRPC status."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self.code = code

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def abort(request: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort(self.code, "so it is\nbelow the first line: nodes of the graph")

        return grpc.unary_unary_rpc_method_handler(abort)


@contextlib.contextmanager
def foreign_server(code: grpc.StatusCode | None) -> Iterator[str]:
    """Address of a gRPC server that refuses; with None, one that knows no method at all."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        if code is not None:
            server.add_generic_rpc_handlers((Refusing(code),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


STATUSES: list[tuple[grpc.StatusCode | None, int | None, str, str]] = [
    (
        grpc.StatusCode.UNAVAILABLE, None,
        "No server answers at {address} (so it is).",
        "Start one with `slimworks serve --port=8500 --model_name=NAME --model_base_path=DIR`, "
        "or name another with --server HOST:PORT.",
    ),
    (
        grpc.StatusCode.NOT_FOUND, None,
        "{address} serves no model named 'm' (so it is).",
        "Give the name that the server was started with (its --model_name) as --model-name.",
    ),
    (
        grpc.StatusCode.NOT_FOUND, 7,
        "{address} has no version 7 of a model named 'm' (so it is).",
        "Leave --version out to ask the newest one, or check --model-name.",
    ),
    (
        grpc.StatusCode.DEADLINE_EXCEEDED, None,
        "{address} did not answer within 30 seconds.",
        "Raise --timeout, or send fewer images at once.",
    ),
    (
        grpc.StatusCode.RESOURCE_EXHAUSTED, None,
        "The answer of {address} is too large or the server is full: so it is.",
        "Send fewer images at once.",
    ),
    (
        None, None,
        "{address} answers gRPC, but is no TensorFlow Serving (Method not found!).",
        "Give the gRPC port of the model server (8500 by default) as --server HOST:PORT.",
    ),
    (
        grpc.StatusCode.INVALID_ARGUMENT, None,
        "Model 'm' at {address} refused the request: so it is",
        "Check that the images open, and that the model was exported by SlimWorks.",
    ),
    (
        grpc.StatusCode.FAILED_PRECONDITION, None,
        "Model 'm' at {address} refused the request: so it is",
        "Check that the images open, and that the model was exported by SlimWorks.",
    ),
    (
        grpc.StatusCode.INTERNAL, None,
        "Model 'm' at {address} failed: INTERNAL so it is",
        "Look into the server's log.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("code", "version", "cause", "fix"), STATUSES)
def test_status_of_a_server(
    code: grpc.StatusCode | None, version: int | None, cause: str, fix: str
) -> None:
    with foreign_server(code) as address, Client(address, "m", version=version) as client:
        expected = cause.format(address=address), fix
        assert refusal(ServingError, client.predict_bytes, [png("red")]) == expected


def test_file_that_the_model_refuses(tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(png("red"))
    with (
        foreign_server(grpc.StatusCode.INVALID_ARGUMENT) as address,
        Client(address, "m") as client,
    ):
        assert refusal(DataError, client.predict_files, [path]) == (
            f"The model cannot read {path}: so it is",
            LEAVE_OUT,
        )


def test_file_that_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "none.png"
    with Client("127.0.0.1:1", "m") as client:
        assert refusal(DataError, client.predict_files, [path]) == (
            f"{path} cannot be read: No such file or directory.",
            "Check the path and its permissions.",
        )


def test_file_of_an_unknown_format() -> None:
    assert refusal(DataError, servable, b"hello", "notes.txt") == (
        "notes.txt is not an image that can be read: its format is unknown.",
        LEAVE_OUT,
    )


def test_image_to_convert_where_pillow_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    image = png("red", "WEBP")
    for name in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    assert refusal(DataError, servable, image, "cat.webp") == (
        "cat.webp has to be converted to PNG, and Pillow is not installed.",
        "Install it with `pip install Pillow`, or convert the image.",
    )
    assert servable(b"\xff\xd8\xff", "cat.jpg") == b"\xff\xd8\xff", "JPEG needs no Pillow"


def test_answer_without_the_outputs() -> None:
    response = wire.PredictResponse()
    fix = "Ask a model that was exported by SlimWorks, or another one with --model-name."
    cause = (
        "Model 'm' does not answer classes, probabilities, class_index, is_known; it answers {}."
    )
    arguments = (answers.predictions, response, 1, "m")
    assert refusal(ServingError, *arguments) == (cause.format("nothing"), fix)
    response.outputs["scores"].dtype = wire.DT_FLOAT
    assert refusal(ServingError, *arguments) == (cause.format("scores"), fix)


def test_answer_of_another_size() -> None:
    response = wire.PredictResponse()
    for name in answers.OUTPUTS:
        response.outputs[name].dtype = wire.DT_STRING
        response.outputs[name].string_val.extend([b"x"] * 3)
    assert refusal(ServingError, answers.predictions, response, 2, "m") == (
        "Model 'm' answered [3, 3, 3, 3] values of classes, probabilities, class_index, is_known "
        "for 2 images.",
        "Train the model again with this SlimWorks.",
    )


BASE = "--model_base_path=/models/m"
SEE_HELP = "`slimworks serve --help` lists the flags of tensorflow_model_server that count here."


@pytest.mark.parametrize(
    ("argv", "cause", "fix"),
    [
        (
            [],
            "--model_base_path is missing.",
            "Give the folder that holds the versions: --model_base_path=DIR, or several models by "
            "--model_config_file=FILE.",
        ),
        ([BASE, "--prot=1"], "Unknown flag --prot. Did you mean 'port'?", SEE_HELP),
        ([BASE, "models"], "'models' is no flag.", "Write flags as --name=value."),
        ([BASE, "--port=http"], "--port is 'http', expected a number.", "Write --port=NUMBER."),
        ([BASE, "--port=70000"], "--port is 70000, expected 0 to 65535.", "Write --port=8500."),
        ([BASE, "--port"], "--port has no value.", "Write --port=VALUE."),
        (
            [BASE, "--enable_model_warmup=maybe"],
            "--enable_model_warmup is 'maybe'.",
            "Write --enable_model_warmup=true or --enable_model_warmup=false.",
        ),
        (
            [BASE, "--batching_parameters_file=c"],
            "--batching_parameters_file is given without --enable_batching.",
            "Add --enable_batching, or leave the file out.",
        ),
        (
            [BASE, "--monitoring_config_file=c"],
            "--monitoring_config_file is given without --rest_api_port.",
            "Add --rest_api_port=8501: metrics are read from the REST port.",
        ),
        (
            [BASE, "--platform_config_file=c"],
            "--platform_config_file is not supported by this server.",
            "Leave it out: every model is a SavedModel.",
        ),
    ],
)
def test_wrong_flag(argv: list[str], cause: str, fix: str) -> None:
    assert refusal(ConfigError, parse_flags, argv) == (cause, fix)


def test_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = ServerFlags(str(tmp_path), port=port)
        cause, fix = refusal(ServingError, serve, flags)
    assert cause == (
        f"Cannot listen on 127.0.0.1:{port}: the port is in use or the address is not of this "
        "machine."
    )
    assert fix.startswith("Stop the other server, or choose another port: --port=")


def test_model_that_does_not_load(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "saved_model.pb").write_bytes(b"torn")
    flags = ServerFlags(str(tmp_path), "m", port=0, max_num_load_retries=0)
    cause, fix = refusal(ServingError, serve, flags)
    assert cause.startswith(
        "Failed to start server. Error: 1 servable(s) did not become available: "
        "{{name: m version: 2} due to error: "
    )
    assert fix == (f"Look into {tmp_path}/2, or remove that folder to serve the version before it.")


def test_server_that_is_not_ready_in_time(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, "m", start_timeout_seconds=0.01)
    cause, fix = refusal(ServingError, server.__enter__)
    assert cause.splitlines()[0] == "The server was not ready within 0.01 seconds."
    assert fix == (
        "Serve the folder by hand to look closer: "
        f"slimworks serve --model_name=m --model_base_path={tmp_path}"
    )
