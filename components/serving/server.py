"""The embedded model server: one process, one model, TensorFlow Serving's gRPC interface."""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from slimworks.components.errors import EXIT_INTERRUPTED, ServingError
from slimworks.components.serving import light_tensorflow
from slimworks.components.serving.flags import ServerFlags
from slimworks.components.serving.versions import Versions

if TYPE_CHECKING:
    import grpc

    from slimworks.components.serving.loaded_model import LoadedModel

_MICROS_PER_SECOND = 1_000_000
_RETRY_POLL_SECONDS = 1.0  # while starting, or when the base path is not followed

_logger = logging.getLogger(__name__)


class Stop:
    """Tells the server to end, and why."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.exit_code = 0

    def on_signal(self, number: int, _frame: object) -> None:
        """Signal handler: SIGINT ends with 130, everything else with 0."""
        self.exit_code = EXIT_INTERRUPTED if number == signal.SIGINT else 0
        self.event.set()


def serve(flags: ServerFlags, *, on_ready: Callable[[str], None] | None = None) -> int:
    """Serves until SIGTERM or SIGINT, then lets running requests end.

    Args:
        flags: What to serve and where.
        on_ready: Called with the address (`host:port` or `unix:path`) once a version is
            AVAILABLE and the port is open.

    Returns:
        Exit code: 0 after SIGTERM, 130 after SIGINT.

    Raises:
        ServingError: The port is taken, or the model cannot be loaded.
    """
    with _stop_signals() as stop:
        if flags.stop_when_stdin_closes:
            threading.Thread(target=_stop_at_end_of_stdin, args=(stop,), daemon=True).start()
        _check_port_is_free(flags)
        light_tensorflow.install()
        versions = _make_versions(flags)
        if _wait_until_available(versions, flags, stop.event):
            _serve_until_stopped(versions, flags, stop.event, on_ready)
        versions.close()
    _logger.info("Server ended")
    return stop.exit_code


@contextlib.contextmanager
def _stop_signals() -> Iterator[Stop]:
    stop = Stop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, stop.on_signal) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_at_end_of_stdin(stop: Stop) -> None:
    # The descriptor, not sys.stdin: a thread inside a buffered read blocks the interpreter's end.
    while os.read(0, 1):
        pass
    stop.event.set()


def _make_versions(flags: ServerFlags) -> Versions:
    return Versions(
        flags.model_name,
        flags.model_base_path,
        lambda path: load_model(path, warm_up_first=flags.enable_model_warmup),
        max_num_load_retries=flags.max_num_load_retries,
        load_retry_interval_seconds=flags.load_retry_interval_micros / _MICROS_PER_SECOND,
    )


def load_model(path: Path, *, warm_up_first: bool) -> LoadedModel:
    """Loads a SavedModel and runs its warm-up requests; what fails half-way is freed."""
    from slimworks.components.serving.loaded_model import LoadedModel
    from slimworks.components.serving.warmup import warm_up

    model = LoadedModel(path)
    try:
        if warm_up_first:
            warm_up(model)
    except BaseException:
        model.close()
        raise
    return model


def _wait_until_available(versions: Versions, flags: ServerFlags, stop: threading.Event) -> bool:
    """Loads the first version. False when told to stop before there was one.

    Raises:
        ServingError: The newest version failed all its tries.
    """
    wait_seconds = flags.file_system_poll_wait_seconds
    while not stop.is_set():
        versions.poll()
        if versions.is_available():
            return True
        failures = versions.failures()
        if failures:
            listed = ", ".join(
                f"{{name: {flags.model_name} version: {failure.version}}} due to error: "
                f"{failure.error_message}"
                for failure in failures
            )
            raise ServingError(
                f"Failed to start server. Error: {len(failures)} servable(s) did not become "
                f"available: {{{listed}}}",
                f"Look into {flags.model_base_path}/{failures[0].version}, or remove that folder "
                "to serve the version before it.",
            )
        stop.wait(wait_seconds if wait_seconds > 0 else _RETRY_POLL_SECONDS)
    return False


def _serve_until_stopped(
    versions: Versions,
    flags: ServerFlags,
    stop: threading.Event,
    on_ready: Callable[[str], None] | None,
) -> None:
    server, address = _started_server(versions, flags)
    follower = threading.Thread(target=_follow, args=(versions, flags, stop), name="versions")
    follower.start()
    _logger.info("Running gRPC ModelServer at %s ...", address)
    try:
        if on_ready:
            on_ready(address)
        stop.wait()
        _logger.info("Stopping: no new requests, %g s for the running ones", flags.drain_seconds)
    finally:
        stop.set()
        server.stop(flags.drain_seconds).wait()
        follower.join()


def _follow(versions: Versions, flags: ServerFlags, stop: threading.Event) -> None:
    wait_seconds = flags.file_system_poll_wait_seconds
    if wait_seconds <= 0:  # TensorFlow Serving: look once
        return
    while not stop.wait(wait_seconds):
        try:
            versions.poll()
        except OSError as error:  # a volume may be away for a moment; the next poll tries again
            _logger.warning("Cannot list %s: %s", flags.model_base_path, error)


def _started_server(versions: Versions, flags: ServerFlags) -> tuple[grpc.Server, str]:
    import grpc

    from slimworks.components.serving.service import Models, add_services

    num_threads = flags.grpc_max_threads or 4 * (os.cpu_count() or 1)
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(num_threads, thread_name_prefix="request"),
        options=[
            ("grpc.so_reuseport", 0),  # else a second server takes half of the requests, silently
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ],
    )
    add_services(server, Models({flags.model_name: versions}))
    address = _bind(server, flags)
    server.start()
    return server, address


def _bind(server: grpc.Server, flags: ServerFlags) -> str:
    """Opens what the flags ask for; returns the TCP address, or the socket's without one."""
    socket_address = f"unix:{flags.grpc_socket_path}" if flags.grpc_socket_path else ""
    try:
        if socket_address:
            server.add_insecure_port(socket_address)
        if socket_address and not flags.port:
            return socket_address
        port = server.add_insecure_port(_tcp_address(flags.host, flags.port))
    except RuntimeError as error:  # all that grpc says
        raise _port_is_taken(flags) from error
    return _tcp_address(flags.host, port)


def _tcp_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _check_port_is_free(flags: ServerFlags) -> None:
    """Fails before the model is loaded, not minutes later."""
    import socket

    if not flags.port:
        return
    try:
        with socket.create_server(
            (flags.host, flags.port),
            family=socket.AF_INET6 if ":" in flags.host else socket.AF_INET,
        ):
            pass
    except OSError as error:
        raise _port_is_taken(flags) from error


def _port_is_taken(flags: ServerFlags) -> ServingError:
    address = _tcp_address(flags.host, flags.port)
    return ServingError(
        f"Cannot listen on {address}: the port is in use or the address is not of this machine.",
        f"Stop the other server, or choose another port: --port={flags.port % 65_535 + 1}.",
    )
