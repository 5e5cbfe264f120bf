"""The Java program that takes Beam jobs to Flink: started for a job, gone with it.

Beam can start it too, but ends it in an exit handler only: a process that ends by `os._exit`, or is
killed, would leave a Java program behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from slimworks.components.beam_options import RunnerFlags
from slimworks.components.errors import ConfigError

_LOGGER = logging.getLogger(__name__)
_PAGE = "docs/engines.md has the whole command."
_START_SECONDS = 90.0  # a JVM on a busy machine; usually 3
_STOP_SECONDS = 10.0
_ANSWER_SECONDS = 5.0
_LOG_LINES = 20
_READER = "wait_until_finish_read"
# Becomes the program that it is given, which the system ends with this process (Linux only).
_TIED_TO_PARENT = (
    "import ctypes, os, sys; "
    "sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 15); "
    "os.getppid() == int(sys.argv[1]) and os.execvp(sys.argv[2], sys.argv[2:])"
)
# Runs the SDK's worker as a runner's PROCESS environment wants it; see worker_boot.py.
_BOOT = (
    "import sys; count = int(sys.argv.pop(1)); sys.path[:] = sys.argv[1:count + 1]; "
    "del sys.argv[1:count + 1]; "
    "from slimworks.components.ingest.engine.worker_boot import main; main(sys.argv[1:])"
)


@contextlib.contextmanager
def job_arguments(flags: RunnerFlags) -> Iterator[list[str]]:
    """Yields the flags of a job with what they leave open: a job server, and how workers start.

    Raises:
        ConfigError: There is no job server, and none can be started.
    """
    options = _options(flags.others)
    arguments = flags.beam_flags()
    if flags.is_local or flags.runner == "DataflowRunner":
        yield arguments
        return
    # Beam would ask pip for a list of what is installed here, for the worker's log.
    arguments.append("--experiments=disable_logging_submission_environment")
    with _quiet_reader(), tempfile.TemporaryDirectory(prefix="slimworks-beam-") as folder:
        if options.environment_type == "PROCESS" and not _has_command(options):
            arguments.append(f"--environment_config={_boot_config(Path(folder))}")
        if options.job_endpoint:
            _require_answer(options.job_endpoint)
            yield arguments
        elif options.flink_submit_uber_jar or flags.runner == "PrismRunner":
            yield arguments
        elif flags.runner == "FlinkRunner":
            with _flink_job_server(options, Path(folder)) as endpoint:
                yield [*arguments, f"--job_endpoint={endpoint}"]
        else:
            raise ConfigError(
                f"--runner={flags.runner} has no job server: --job_endpoint is not set.",
                f"Start one, then add --job_endpoint=HOST:PORT. {_PAGE}",
            )


@contextlib.contextmanager
def _quiet_reader() -> Iterator[None]:
    """Beam's thread that reads how the job goes ends with a traceback when the server is gone.

    The user learns it from the job's own error, or has just ended the server by Ctrl-C.
    """
    show = threading.excepthook

    def show_others(fault: threading.ExceptHookArgs) -> None:
        if fault.thread is None or fault.thread.name != _READER:
            show(fault)

    threading.excepthook = show_others
    try:
        yield
    finally:
        for thread in threading.enumerate():
            if thread.name == _READER:
                thread.join(_STOP_SECONDS)
        threading.excepthook = show


def _options(flags: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("job_endpoint", "flink_job_server_jar", "environment_type", "environment_config"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--environment_option", "--environment_options", action="append")
    parser.add_argument("--flink_master", default="[auto]")
    parser.add_argument("--flink_submit_uber_jar", action="store_true")
    parser.add_argument("--job_server_java_launcher", default="java")
    parser.add_argument("--job_server_jvm_properties", action="append", default=[])
    options, _ = parser.parse_known_args(list(flags))
    return options


def _has_command(options: argparse.Namespace) -> bool:
    named = options.environment_option or []
    return bool(options.environment_config) or any("process_command=" in item for item in named)


def _boot_config(folder: Path) -> str:
    """Writes a program that starts a worker on this machine; returns environment_config."""
    command = [sys.executable, "-I", "-c", _BOOT, str(len(sys.path)), *sys.path]
    program = folder / "worker-boot"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return json.dumps({"command": str(program)})


@contextlib.contextmanager
def _flink_job_server(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Runs a job server; yields its endpoint."""
    command = _flink_command(options, folder, port := _free_port())
    with open(folder / "job-server.log", "w+b") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _TIED_TO_PARENT, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            _await_port(process, port, folder / "job-server.log", options.flink_job_server_jar)
            yield f"localhost:{port}"
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _flink_command(options: argparse.Namespace, folder: Path, port: int) -> list[str]:
    jar = options.flink_job_server_jar
    if jar is None:
        raise ConfigError(
            "--runner=FlinkRunner has no job server: neither --flink_job_server_jar nor "
            "--job_endpoint is set.",
            f"Name a jar, such as that of `make engines`, or a running server. {_PAGE}",
        )
    if not os.path.isfile(jar):
        raise ConfigError(
            f"--flink_job_server_jar={jar} does not exist.",
            "Correct the path, or fetch it: make engines",
        )
    java = shutil.which(options.job_server_java_launcher)
    if java is None:
        raise ConfigError(
            f"FlinkRunner needs Java, and there is no {options.job_server_java_launcher!r}.",
            "Install a Java runtime (11 or 17), or name it: --job_server_java_launcher=/path/java",
        )
    return [
        java, f"-Djava.io.tmpdir={folder}", *options.job_server_jvm_properties, "-jar", jar,
        "--flink-master", options.flink_master, "--artifacts-dir", str(folder / "artifacts"),
        "--job-port", str(port), "--artifact-port", "0", "--expansion-port", "-1",
    ]  # fmt: skip


def _require_answer(endpoint: str) -> None:
    """Beam itself would wait for minutes. A server that is just being started gets some seconds."""
    host, _, port = endpoint.rpartition(":")
    if not (host and port.isdecimal()):
        raise ConfigError(
            f"--job_endpoint={endpoint} is no address.", "Write --job_endpoint=HOST:PORT."
        )
    end = time.monotonic() + _ANSWER_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise ConfigError(
                    f"No job server answers at --job_endpoint={endpoint}: {error}.",
                    f"Start it, or correct the address. {_PAGE}",
                ) from error
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path, jar: str) -> None:
    """Waits until the server answers."""
    end = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
            _LOGGER.info("ingest: job server on port %d", port)
            return
        time.sleep(0.1)
    state = "did not answer" if process.returncode is None else f"ended ({process.returncode})"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    raise ConfigError(
        f"Flink's job server {state}: --flink_job_server_jar={jar}.",
        f"Its last lines stand above. Check the jar and the Java version (11 or 17). {_PAGE}",
        "\n".join(lines),
    )
