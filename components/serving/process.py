"""The server as a process of its own, for a replay, a demo or a test."""

from __future__ import annotations

import json
import logging
import os
import selectors
import shlex
import subprocess
import tempfile
import time
from types import TracebackType
from typing import IO

from slimworks.components.errors import ServingError
from slimworks.components.python_process import module_command

START_TIMEOUT_SECONDS = 120.0
_STOP_TIMEOUT_SECONDS = 30.0
_NUM_LOG_LINES = 15

_logger = logging.getLogger(__name__)


class ServerProcess:
    """Starts a server, waits until a version is AVAILABLE, and ends it with the block.

    The server also ends when this process is killed: it watches its stdin, whose other end is
    here.

    Args:
        model_base_path: Folder with one folder per version.
        model_name: Name that clients ask for.
        port: 0 lets the system choose.
        poll_wait_seconds: Pause between looks at the base path.
        start_timeout_seconds: For the model to become AVAILABLE.
        extra_flags: More flags of `slimworks serve`.

    Attributes:
        address: `host:port` of gRPC, inside the block; with TCP off, `unix:path`.
        rest_address: `host:port` of REST, inside the block.
    """

    def __init__(
        self,
        model_base_path: str | os.PathLike[str],
        model_name: str,
        *,
        port: int = 0,
        poll_wait_seconds: float = 1.0,
        start_timeout_seconds: float = START_TIMEOUT_SECONDS,
        extra_flags: tuple[str, ...] = (),
    ) -> None:
        self.address = ""
        self.rest_address = ""
        self._start_timeout_seconds = start_timeout_seconds
        self._served = [
            f"--model_name={model_name}", f"--model_base_path={os.fspath(model_base_path)}",
        ]  # fmt: skip
        self._command = [
            *module_command("slimworks.components.serving"),
            f"--port={port}",
            "--rest_api_port=-1",  # the system chooses
            *self._served,
            f"--file_system_poll_wait_seconds={poll_wait_seconds}",
            "--max_num_load_retries=0",  # whoever started it is waiting: a broken model shows now
            "--stop_when_stdin_closes",
            *extra_flags,
        ]  # fmt: skip

    def __enter__(self) -> ServerProcess:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # closed in __exit__
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )
        try:
            ready = self._wait_until_ready()
        except BaseException:
            self._end()
            raise
        self.address, self.rest_address = ready["address"], ready["rest_address"]
        _logger.info("Server %d answers at %s", self.pid, self.address)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code of the server, None while it runs."""
        return self._process.poll()

    def terminate(self) -> int:
        """Sends SIGTERM, waits for the running requests, returns the exit code."""
        self._process.terminate()
        return self._process.wait(_STOP_TIMEOUT_SECONDS)

    def log_text(self) -> str:
        """All that the server logged so far."""
        self._log.flush()
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace")

    def error(self, cause: str) -> ServingError:
        """A ServingError with the server's last log lines."""
        lines = self.log_text().strip().splitlines()[-_NUM_LOG_LINES:]
        return ServingError(
            "\n  ".join([cause, *lines]),
            "Serve the folder by hand to look closer: "
            + shlex.join(["slimworks", "serve", *self._served]),
        )

    def _wait_until_ready(self) -> dict[str, str]:
        """Reads the ready line from the server's stdout.

        Raises:
            ServingError: The server ended, or is not ready in time.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + self._start_timeout_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise self.error(
                    f"The server was not ready within {self._start_timeout_seconds:g} seconds."
                )
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait(_STOP_TIMEOUT_SECONDS)
            raise self.error(f"The server ended with exit code {code} before it was ready.")
        ready: dict[str, str] = json.loads(line)
        return ready

    def _end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            _logger.warning("Server %d did not end by itself and is killed", self.pid)
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()
