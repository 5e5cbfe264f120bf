"""The server as a process: start, swap, failure, end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from serving_models import png, save_waiting_model
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from slimworks.components.errors import ServingError
from slimworks.components.serving.client import Client
from slimworks.components.serving.process import ServerProcess

POLL_SECONDS = 0.05


def publish(model: Path, base_path: Path, version: int) -> None:
    """Copies under a name that is no version, then renames: as a pusher does."""
    staging = base_path / f".staging-{version}"
    shutil.copytree(model, staging)
    staging.rename(base_path / str(version))


def wait_until(condition, timeout_seconds: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "not reached in time"
        pause.wait(0.02)


def states(client: Client) -> dict[int, str]:
    return {status.version: status.state for status in client.status()}


def test_broken_version_leaves_the_old_one_serving(base_path, color_model):
    with (
        ServerProcess(base_path, "m", poll_wait_seconds=POLL_SECONDS) as server,
        Client(server.address, "m") as client,
    ):
        broken = base_path / "2"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"no graph")
        wait_until(lambda: states(client).get(2) == "END")
        newest, old = client.status()
        assert (newest.error_code, old.state) == (2, "AVAILABLE")
        assert "Cannot parse" in newest.error_message
        assert client.predict_bytes([png("red")])[0].version == 1
        publish(color_model, base_path, 3)
        wait_until(lambda: states(client).get(3) == "AVAILABLE")


def test_removing_the_newest_version_goes_back(base_path, blue_model):
    publish(blue_model, base_path, 2)
    with (
        ServerProcess(base_path, "m", poll_wait_seconds=POLL_SECONDS) as server,
        Client(server.address, "m") as client,
    ):
        assert client.predict_bytes([png("red")])[0].class_names[0] == "blue"
        (base_path / "2").rename(base_path / ".gone")
        wait_until(lambda: states(client) == {2: "END", 1: "AVAILABLE"})
        assert client.predict_bytes([png("red")])[0].class_names[0] == "red"


def test_half_copied_model_is_reported_with_the_servers_log(tmp_path):
    (tmp_path / "base" / "1").mkdir(parents=True)
    with (
        pytest.raises(ServingError, match=r"(?s)exit code 5 before it was ready.*Failed to start"),
        ServerProcess(tmp_path / "base", "m"),
    ):
        pass


def test_server_that_waits_for_a_model_is_given_up(tmp_path):
    with (
        pytest.raises(ServingError, match=r"not ready within 2 seconds(?s:.*)does not exist"),
        ServerProcess(tmp_path / "missing", "m", start_timeout_seconds=2.0),
    ):
        pass


def test_running_request_survives_a_swap_and_the_end(tmp_path, blue_model):
    (tmp_path / "base").mkdir()
    publish(save_waiting_model(tmp_path / "waiting"), tmp_path / "base", 1)
    awaited = tmp_path / "awaited"
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["path"].CopyFrom(tf.make_tensor_proto(str(awaited)))
    with (
        ServerProcess(tmp_path / "base", "m", poll_wait_seconds=POLL_SECONDS) as server,
        Client(server.address, "m") as client,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict.future(request, timeout=90)
        publish(blue_model, tmp_path / "base", 2)
        # UNLOADING, not END: the request is still running on it.
        wait_until(lambda: states(client) == {2: "AVAILABLE", 1: "UNLOADING"})
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: "Stopping" in server.log_text())
        awaited.touch()
        assert answer.result().model_spec.version.value == 1
        assert list(answer.result().outputs["found"].string_val) == [str(awaited).encode()]
        assert server.terminate() == 0


def test_interrupt_ends_with_130(base_path):
    with ServerProcess(base_path, "m") as server:
        os.kill(server.pid, signal.SIGINT)
        wait_until(lambda: server.exit_code is not None)
        assert server.exit_code == 130


def test_server_ends_with_its_parent(base_path):
    script = (
        "import os, sys\n"
        "from slimworks.components.serving.process import ServerProcess\n"
        f"with ServerProcess({str(base_path)!r}, 'm') as server:\n"
        "    print(server.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert parent.returncode == -signal.SIGKILL
    server_pid = int(parent.stdout)
    wait_until(lambda: not _runs(server_pid))


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "(zombie)" not in status.read_text()


def test_port_in_use_is_reported_before_the_model_is_loaded(base_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ServingError, match=f"Cannot listen on 127.0.0.1:{port}"),
            ServerProcess(base_path, "m", port=port),
        ):
            pass


def test_two_servers_do_not_share_a_port(base_path):
    with ServerProcess(base_path, "m") as first:
        port = int(first.address.rpartition(":")[2])
        with (
            pytest.raises(ServingError, match="the port is in use"),
            ServerProcess(base_path, "m", port=port),
        ):
            pass


def test_unix_socket(base_path, tmp_path):
    socket_path = tmp_path / "serving.sock"
    with ServerProcess(
        base_path, "m", extra_flags=(f"--grpc_socket_path={socket_path}",)
    ) as server:
        assert server.address == f"unix:{socket_path}"
        with Client(server.address, "m") as client:
            assert client.predict_bytes([png("green")])[0].class_names[0] == "green"


def test_command_line_errors_have_a_cause_and_a_fix():
    command = [sys.executable, "-m", "slimworks.components.serving", "--prot=8500"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "error: Unknown flag --prot. Did you mean 'port'?\nfix: " in ended.stderr
