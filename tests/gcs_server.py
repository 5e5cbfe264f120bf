"""An emulator that speaks the protocol of Google Cloud Storage, over a folder or in memory."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports import free_port

_START_SECONDS = 20


def server_binary() -> Path:
    folder = Path(os.environ.get("SLIMWORKS_ENGINES", Path(__file__).parents[1] / ".engines"))
    found = sorted(folder.glob("fake-gcs-server-*"))
    if not found:
        pytest.skip(f"no storage emulator in {folder}: make engines")
    return found[-1]


@contextmanager
def gcs_server(data: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serves what is in the folders of `data` as buckets; yields its URL and process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        str(server_binary()), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
        "-data", str(data), "-backend", "memory", "-log-level", "error",
        "-external-url", url, "-public-host", f"127.0.0.1:{port}",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield url, process
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=0.05).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the storage emulator does not start"
            time.sleep(0.02)
