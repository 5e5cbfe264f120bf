"""Runs the steps of a compiled pipeline as containers, and ends them when the run ends."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from slimworks.components.errors import ConfigError
from slimworks.pipeline.containers.engine import SCRATCH, Engine, Mount, lend
from slimworks.pipeline.containers.execution import TIMED_OUT, Call
from slimworks.pipeline.containers.ir import Container

TERMINATE_SECONDS = 60.0  # a trainer ends its step and writes a checkpoint on SIGTERM
_PR_SET_PDEATHSIG = 1
_C_LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What the containers of a run share.

    Attributes:
        pipeline: By which leftovers of killed runs are found.
        image_id: The image.
        mounts: What every step sees of this machine.
        secret_folders: Folder of this machine for each Secret that is mounted.
        inherited: Variables of this process that every step gets.
        variables: Further variables, with values.
        online: Steps that have a network.
        network: Its name; empty: the engine's own.
        logs: Folder of `<step>.log`.
    """

    pipeline: str
    image_id: str
    logs: Path
    mounts: Sequence[Mount] = ()
    secret_folders: Mapping[str, str] = dataclasses.field(default_factory=dict)
    inherited: Sequence[str] = ()
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    online: frozenset[str] = frozenset()
    network: str = ""

    def check(self, steps: Mapping[str, Container]) -> None:
        """Finds what a step would miss, before the first one starts.

        Raises:
            ConfigError: A variable is not set, or a Secret or a claim has no folder here.
        """
        for step, container in steps.items():
            for secret, key, variable in container.secret_variables:
                if variable not in os.environ:
                    raise ConfigError(
                        f"{step} needs {variable} (key {key} of the secret {secret}), which is not "
                        "set.",
                        f"Set it: export {variable}=...",
                    )
            for secret, _ in container.secret_folders:
                if not Path(self.secret_folders.get(secret, "/nowhere")).is_dir():
                    raise ConfigError(
                        f"{step} needs the files of the secret {secret}; no folder here has them.",
                        f"Name it: --set containers.secret_folders.{secret}=FOLDER",
                    )
            for claim, target in container.volumes:
                if not Path(target).is_dir():
                    raise ConfigError(
                        f"{step} needs the volume {claim} at {target}, which is no folder here.",
                        "Compile it with folders of this machine: slimworks run does.",
                    )


class ContainerBackend:
    """Runs each try of a step as a container. See `execution.Backend`."""

    def __init__(
        self, engine: Engine, shared: Surroundings, on_line: Callable[[str, str], None]
    ) -> None:
        """Takes the engine and what a run's containers share.

        Args:
            engine: podman or docker.
            shared: See there.
            on_line: Takes (step, line) of what a step writes, from a thread.
        """
        self._engine, self._shared, self._on_line = engine, shared, on_line
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._lock = threading.Lock()
        self._is_stopped = False

    def run(self, call: Call) -> int:
        """Runs one try of a step to its end; returns its exit code, or TIMED_OUT."""
        name = f"slimworks-{call.step}-{secrets.token_hex(6)}"
        scratch = call.folder.with_name(f".{call.folder.name}.scratch")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        for folder in (scratch, call.folder):
            lend(folder)
        try:
            process = self._start(name, self._command(name, call, scratch))
            return -signal.SIGTERM if process is None else self._wait(process, name, call)
        finally:
            self._engine.call("rm", "--force", name)  # whatever ended the engine's own command
            shutil.rmtree(scratch, ignore_errors=True)

    def stop(self) -> None:
        """Asks every container to stop; `run` returns when it has, or was made to."""
        with self._lock:
            self._is_stopped = True
            for name in self._processes:
                self._end(name)

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[str] | None:
        with self._lock:
            if self._is_stopped:
                return None
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C is for us: we end the containers in order
                preexec_fn=_end_with_parent,
            )
            self._processes[name] = process
            return process

    def _wait(self, process: subprocess.Popen[str], name: str, call: Call) -> int:
        is_late = threading.Event()

        def end_late() -> None:
            is_late.set()
            self._end(name)

        timer = threading.Timer(call.container.timeout_seconds or 0, end_late)
        if call.container.timeout_seconds is not None:
            timer.start()
        try:
            with process:
                self._copy_lines(process, call)
                code = process.wait()
        finally:
            timer.cancel()
            with self._lock:
                del self._processes[name]
        return TIMED_OUT if is_late.is_set() else code

    def _end(self, name: str) -> None:
        """Asks a container to stop, and makes it after a while."""
        self._processes[name].terminate()  # the engine hands it on to the container
        killer = threading.Timer(TERMINATE_SECONDS, self._engine.call, ["kill", name])
        killer.daemon = True
        killer.start()

    def _copy_lines(self, process: subprocess.Popen[str], call: Call) -> None:
        self._shared.logs.mkdir(parents=True, exist_ok=True)
        path = self._shared.logs / f"{call.step}.log"
        assert process.stdout is not None
        with open(path, "a", buffering=1, encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                self._on_line(call.step, line.rstrip("\n"))

    def _command(self, name: str, call: Call, scratch: Path) -> list[str]:
        shared, container = self._shared, call.container
        mounts = [
            *shared.mounts,
            *(Mount(target, target, True) for _, target in container.volumes),
            *(
                Mount(shared.secret_folders[secret], target)
                for secret, target in container.secret_folders
            ),
            Mount(str(call.folder), str(call.folder), True),
            Mount(str(scratch), SCRATCH, True),
        ]
        home = {"HOME": SCRATCH, "TMPDIR": SCRATCH, "USER": "slimworks"}
        environment = {**home, **shared.variables, **container.environment}
        return self._engine.command(
            name,
            shared.pipeline,
            shared.image_id,
            dataclasses.replace(container, environment=environment),
            mounts,
            shared.network if call.step in shared.online else "none",
            [*shared.inherited, *(variable for _, _, variable in container.secret_variables)],
        )


def _end_with_parent() -> None:
    """A killed `run` must leave no container behind (Linux; elsewhere the next run removes it)."""
    if _C_LIBRARY is not None:
        _C_LIBRARY.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
