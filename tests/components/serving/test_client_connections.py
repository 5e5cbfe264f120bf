"""Connections of the clients: a server that is away, many requests at once, TLS."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving_models import png

from slimworks.components.errors import ConfigError, ServingError
from slimworks.components.serving import channels
from slimworks.components.serving.channels import Attempts, Target
from slimworks.components.serving.client import Client, Tls
from slimworks.components.serving.image_sources import ImageContent
from slimworks.components.serving.process import ServerProcess
from slimworks.components.serving.protos import wire_pb2 as wire

Ask = Callable[..., Any]


def colors(predictions: Any) -> list[str]:
    return [prediction.class_names[0] for prediction in predictions]


class Meeting:
    """Answers when `size` requests are waiting."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size)

    def __call__(self, context: grpc.ServicerContext) -> None:
        self.barrier.wait(20)


class Away:
    """Is UNAVAILABLE for so many requests."""

    def __init__(self, num_failures: int) -> None:
        self.num_failures = num_failures

    def __call__(self, context: grpc.ServicerContext) -> None:
        self.num_failures -= 1
        if self.num_failures >= 0:
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")


class WireServer(grpc.GenericRpcHandler):
    """Counts requests and answers `red` to each of one image, as `before` allows."""

    def __init__(self, before: Callable[[grpc.ServicerContext], None]) -> None:
        self.before = before
        self.num_requests = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.num_requests += 1
            self.before(context)
            response = wire.PredictResponse()
            outputs = response.outputs
            outputs["classes"].MergeFrom(wire.Tensor(dtype=wire.DT_STRING, string_val=[b"red"]))
            outputs["probabilities"].MergeFrom(wire.Tensor(dtype=wire.DT_FLOAT, float_val=[1.0]))
            outputs["class_index"].MergeFrom(wire.Tensor(dtype=wire.DT_INT64, int64_val=[0]))
            outputs["is_known"].MergeFrom(wire.Tensor(dtype=wire.DT_BOOL, bool_val=[True]))
            for name, rank in (
                ("classes", 2),
                ("probabilities", 2),
                ("class_index", 2),
                ("is_known", 1),
            ):
                for _ in range(rank):
                    outputs[name].tensor_shape.dim.add(size=1)
            encoded: bytes = response.SerializeToString()
            return encoded

        return grpc.unary_unary_rpc_method_handler(answer)


@contextlib.contextmanager
def wire_server(
    before: Callable[[grpc.ServicerContext], None],
) -> Iterator[tuple[str, WireServer]]:
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        handler = WireServer(before)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}", handler
        finally:
            server.stop(None).wait()


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.mark.usefixtures("quick_retries")
def test_unavailable_server_is_asked_again(ask: Ask) -> None:
    with wire_server(Away(2)) as (address, server):
        assert colors(ask(address, "predict_bytes", [png("red")], num_retries=2)) == ["red"]
        assert server.num_requests == 3


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize("num_retries", [0, 2])
def test_retries_have_a_limit(ask: Ask, num_retries: int) -> None:
    with wire_server(Away(100)) as (address, server):
        with pytest.raises(ServingError, match=r"No server answers at .* \(away\)"):
            ask(address, "predict_bytes", [png("red")], num_retries=num_retries)
        assert server.num_requests == num_retries + 1


@pytest.mark.usefixtures("quick_retries")
def test_other_failures_are_not_tried_again(ask: Ask) -> None:
    def refuse(context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.INTERNAL, "no")

    with wire_server(refuse) as (address, server):
        with pytest.raises(ServingError, match="INTERNAL no"):
            ask(address, "predict_bytes", [png("red")], num_retries=5)
        assert server.num_requests == 1


def target(timeout_seconds: float, num_retries: int) -> Target:
    return Target("a:1", "m", None, None, timeout_seconds, num_retries, 1, None)


def test_pauses_grow_and_stay_below_their_limit() -> None:
    attempts = Attempts(target(1_000.0, 8), random.Random(0))
    pauses = [attempts.pause_seconds(grpc.StatusCode.UNAVAILABLE) for _ in range(9)]
    for number, pause in enumerate(pauses[:-1]):
        longest = min(5.0, 0.2 * 2**number)
        assert pause is not None
        assert longest / 2 <= pause <= longest
    assert pauses[-1] is None


def test_no_retry_beyond_the_deadline() -> None:
    attempts = Attempts(target(0.05, 8), random.Random(0))
    assert attempts.pause_seconds(grpc.StatusCode.UNAVAILABLE) is None


def test_closing_ends_what_is_under_way() -> None:
    """A client that waits before its next try is not waited for."""
    with Client("127.0.0.1:1", "m", num_retries=1_000, timeout_seconds=600) as client:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.status)
            client.close()
        with pytest.raises((ServingError, ValueError)):  # ValueError: gRPC's, of a closed channel
            waiting.result()


def test_requests_under_way_are_as_many_as_asked_for(ask: Ask) -> None:
    """Each request waits until three of them are there: fewer at once would never be answered."""
    with wire_server(Meeting(3)) as (address, _):
        sources = [ImageContent(str(n), png("red")) for n in range(6)]
        options = {"batch_size": 1, "concurrency": 3}
        assert len(ask(address, "predict_each", sources, timeout_seconds=20, of_call=options)) == 6


# --- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secured(
    color_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """Address of a server that knows one client, and the folder of their certificates."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "client"):
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-days", "2", "-subj", "/CN=models", "-addext",
                "subjectAltName=DNS:models", "-keyout", f"{folder}/{name}.key",
                "-out", f"{folder}/{name}.pem",
            ],
            check=True, capture_output=True,
        )  # fmt: skip
    text = {path.name: json.dumps(path.read_text()) for path in folder.iterdir()}
    (folder / "ssl.config").write_text(
        f"server_key: {text['server.key']} server_cert: {text['server.pem']} "
        f"custom_ca: {text['client.pem']} client_verify: true"
    )
    shutil.copytree(color_model, folder / "base" / "3")
    flags = (f"--ssl_config_file={folder}/ssl.config",)
    with ServerProcess(folder / "base", "colors", extra_flags=flags) as server:
        yield server.address, folder


def test_tls_with_a_name_and_a_client_certificate(ask: Ask, secured: tuple[str, Path]) -> None:
    address, folder = secured
    tls = Tls.read(folder / "server.pem", folder / "client.pem", folder / "client.key", "models")
    assert colors(ask(address, "predict_bytes", [png("red")], tls=tls)) == ["red"]


def test_tls_on_the_command_line(secured: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = secured
    (tmp_path / "green.png").write_bytes(png("green"))
    names = {"--ca": "server.pem", "--cert": "client.pem", "--key": "client.key"}
    files = [word for option, name in names.items() for word in (option, str(folder / name))]
    command = [
        sys.executable,
        "-m",
        "slimworks",
        "predict",
        str(tmp_path / "green.png"),
        "--json",
        *files,
    ]
    command += ["--server", address, "--model-name", "colors", "--server-name", "models"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predictions"][0]["classes"][0]["class_name"] == "green"


def test_tls_server_that_is_not_trusted(ask: Ask, secured: tuple[str, Path]) -> None:
    address, folder = secured
    for tls in (
        Tls(),
        Tls.read(folder / "server.pem", server_name="other"),
        Tls.read(folder / "client.pem"),
    ):
        with pytest.raises(ServingError, match=r"No server answers .* --ca holds the authority"):
            ask(address, "status", tls=tls, timeout_seconds=10)


@pytest.mark.parametrize("halves", [{"cert": "client.pem"}, {"key": "client.key"}])
def test_certificate_and_key_go_together(secured: tuple[str, Path], halves: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"go together.* Give both --cert and --key"):
        Tls.read(**{name: secured[1] / file for name, file in halves.items()})


def test_pem_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca\.pem cannot be read: No such file.*--ca"):
        Tls.read(tmp_path / "ca.pem")


def test_private_key_is_not_shown() -> None:
    assert "SECRET" not in repr(Tls(b"root", b"chain", b"SECRET"))
