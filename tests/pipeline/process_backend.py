"""Steps of a compiled pipeline as processes, where what is tested is not the container."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from slimworks.pipeline.containers.execution import Call


class ProcessBackend:
    """Runs the command line of each container as it stands; keeps what was called and said."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is where the processes work."""
        self.calls: list[Call] = []
        self.output: dict[str, str] = {}
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []
        self._lock = threading.Lock()

    def run(self, call: Call) -> int:
        """Runs one try of a step."""
        first, *rest = [*call.container.command, *call.container.args]
        command = [sys.executable if first == "python" else first, *rest]
        with self._lock:
            self.calls.append(call)
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                cwd=self._folder, env={**os.environ, **call.container.environment},
            )  # fmt: skip
            self._processes.append(process)
        output, _ = process.communicate()
        self.output[call.step] = output
        return process.returncode

    def stop(self) -> None:
        """Ends what runs."""
        with self._lock:
            for process in self._processes:
                process.terminate()

    def steps(self) -> list[str]:
        """Steps in the order in which they started, a retry once more."""
        return [call.step for call in self.calls]
