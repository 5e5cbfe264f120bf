"""MLflow without a server: what is said, how long it takes, what stays as it was."""

import os
import select
import socket
import sys
import threading

import pytest
from tracking_samples import tracked

from slimworks.components.errors import ConfigError, SlimWorksError
from slimworks.components.tracking.mlflow_sink import check_installed, log_run


def test_server_that_is_not_there_is_one_error(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret")
    before = dict(os.environ)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(SlimWorksError, match=rf"MLflow at {uri} did not take the run") as error:
            log_run(tracked(tmp_path), uri, "flowers", timeout_seconds=2)
    assert "\n" not in str(error.value)
    assert len(error.value.cause) < 400
    assert "s3cret" not in str(error.value)
    assert "the server answers there" in error.value.fix
    assert dict(os.environ) == before
    assert capsys.readouterr().out == ""


def test_server_that_never_answers_is_given_up(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SlimWorksError, match=r"did not take the run"):
            log_run(tracked(tmp_path), uri, "flowers", timeout_seconds=1)
        connections = []
        while select.select([silent], [], [], 0)[0]:
            connections.append(silent.accept()[0])
        for connection in connections:
            connection.close()
    assert len(connections) == 2  # asked once, and once more


@pytest.mark.parametrize("status", ["401 Unauthorized", "503 Service Unavailable", "200 OK"])
def test_answer_that_is_no_mlflow_is_one_error(tmp_path, status: str) -> None:
    body = b"<html>sign in</html>"
    head = f"HTTP/1.1 {status}\r\nRetry-After: 3600\r\nConnection: close\r\n"
    answer = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return  # closed: the test is over
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(SlimWorksError, match=r"did not take the run"):
            log_run(tracked(tmp_path), uri, "flowers", timeout_seconds=2)
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_missing_client_is_named_with_its_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"MLflow client is not installed") as caught:
        check_installed()
    assert caught.value.fix == 'Type `pip install "slimworks[mlflow]"`.'
