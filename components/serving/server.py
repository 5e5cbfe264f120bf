"""The embedded model server: one process that answers as TensorFlow Serving does."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from slimworks.components.errors import EXIT_INTERRUPTED, ConfigError, ServingError
from slimworks.components.serving import light_tensorflow
from slimworks.components.serving.flags import ServerFlags
from slimworks.components.serving.request_errors import Code, RequestError

if TYPE_CHECKING:
    from slimworks.components.serving.api import Api
    from slimworks.components.serving.http_server import RestServer
    from slimworks.components.serving.manager import Manager
    from slimworks.components.serving.model_config import ModelConfig
    from slimworks.components.serving.page.try_page import TryPage

_MICROS_PER_SECOND = 1_000_000
_LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
_MAX_FILES = 65_536
_RETRY_POLL_SECONDS = 1.0  # while starting, or when the base path is not followed

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Addresses:
    """Where a server answers: `host:port` or `unix:path`; `rest` is empty without REST."""

    grpc: str
    rest: str = ""


class Stop:
    """Tells the server to end, and why."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.exit_code = 0

    def on_signal(self, number: int, _frame: object) -> None:
        """Signal handler: SIGINT ends with 130, everything else with 0."""
        self.exit_code = EXIT_INTERRUPTED if number == signal.SIGINT else 0
        self.event.set()


def serve(flags: ServerFlags, *, on_ready: Callable[[Addresses], None] | None = None) -> int:
    """Serves until SIGTERM or SIGINT, then lets running requests end.

    Args:
        flags: What to serve and where.
        on_ready: Called once every model has a version that is AVAILABLE and the ports are open.

    Returns:
        Exit code: 0 after SIGTERM, 130 after SIGINT.

    Raises:
        ConfigError: A configuration file is wrong.
        ServingError: A port is taken, or a model cannot be loaded.
    """
    with _stop_signals() as stop:
        if flags.stop_when_stdin_closes:
            threading.Thread(target=_stop_at_end_of_stdin, args=(stop,), daemon=True).start()
        _raise_file_limit()
        light_tensorflow.install()
        _check_ports_are_free(flags)
        _Server(flags, stop.event).run(on_ready)
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


def _raise_file_limit() -> None:
    """Each connection is an open file, and the usual soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(_MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _stop_at_end_of_stdin(stop: Stop) -> None:
    # The descriptor, not sys.stdin: a thread inside a buffered read blocks the interpreter's end.
    while os.read(0, 1):
        pass
    stop.event.set()


class _Server:
    """What lives as long as the process."""

    def __init__(self, flags: ServerFlags, stop: threading.Event) -> None:
        # Nothing here loads TensorFlow: a server that waits for its folder says so at once.
        from slimworks.components.serving.loading import Loader
        from slimworks.components.serving.manager import Manager
        from slimworks.components.serving.metrics import Metrics
        from slimworks.components.serving.request_log import request_logs_of

        self._flags = flags
        self._stop = stop
        self._metrics_path = _metrics_path(flags)
        self._metrics = Metrics()
        self._request_logs = request_logs_of(flags, self._metrics)
        wait_seconds = flags.file_system_poll_wait_seconds
        self._manager: Manager = Manager(
            Loader(flags, self._metrics),
            max_num_load_retries=flags.max_num_load_retries,
            load_retry_interval_seconds=flags.load_retry_interval_micros / _MICROS_PER_SECOND,
            wait_seconds=wait_seconds if wait_seconds > 0 else _RETRY_POLL_SECONDS,
            allow_labels_of_unavailable=flags.allow_version_labels_for_unavailable_models,
            on_configs=self._request_logs.configure,
        )

    def run(self, on_ready: Callable[[Addresses], None] | None) -> None:
        """Loads, opens the ports, serves until told to stop."""
        from slimworks.components.serving.grpc_server import read_credentials

        read_credentials(self._flags)  # what is wrong in it shows before a model is loaded
        try:
            configs = _first_configs(self._flags)
            self._start_logs(configs)
            if self._loads(configs):
                self._serve(on_ready)
        finally:
            self._manager.close()
            self._request_logs.close()

    def _start_logs(self, configs: Sequence[ModelConfig]) -> None:
        try:
            self._request_logs.configure(configs)
        except RequestError as error:
            raise ConfigError(
                f"{error.message}.", "Give --request_log, or logging_config, a folder to write to."
            ) from error

    def _loads(self, configs: Sequence[ModelConfig]) -> bool:
        """Loads the first models; False when told to stop before they are AVAILABLE."""
        try:
            return self._manager.start(configs, is_wanted=lambda: not self._stop.is_set())
        except RequestError as error:
            if error.code == Code.FAILED_PRECONDITION:
                fix = (
                    "Add --allow_version_labels_for_unavailable_models, as TensorFlow Serving asks."
                )
            else:
                fix = self._fix_of_failed_load()
            raise ServingError(f"Failed to start server. Error: {error.message}", fix) from error

    def _fix_of_failed_load(self) -> str:
        folder = next(
            versions.base_path / str(versions.failures()[0].version)
            for versions in self._manager.models.all().values()
            if versions.failures()
        )
        return f"Look into {folder}, or remove that folder to serve the version before it."

    def _serve(self, on_ready: Callable[[Addresses], None] | None) -> None:
        from slimworks.components.serving import grpc_server
        from slimworks.components.serving.api import Api
        from slimworks.components.serving.service import add_services

        api = Api(
            self._manager.models,
            self._metrics,
            check_method_names=self._flags.enable_signature_method_name_check,
            request_logs=self._request_logs,
        )
        server, address = grpc_server.start(
            self._flags,
            lambda server: add_services(server, api, self._manager),
            is_stopping=self._stop.is_set,
        )
        rest: RestServer | None = None
        followers = [
            threading.Thread(target=self._follow_folders, name="versions"),
            threading.Thread(target=self._follow_config, name="config"),
        ]
        try:
            rest, rest_address = _started_rest(api, self._flags, self._metrics_path)
            for follower in followers:
                follower.start()
            _logger.info("Running gRPC ModelServer at %s ...", address)
            if rest:
                _logger.info("Exporting HTTP/REST API at:%s ...", rest_address)
            if on_ready:
                on_ready(Addresses(address, rest_address))
            self._stop.wait()
            _logger.info("Stopping: %g s for running requests", self._flags.drain_seconds)
        finally:
            self._stop.set()
            deadline = time.monotonic() + self._flags.drain_seconds
            if rest:
                rest.stop(self._flags.drain_seconds)
            grpc_server.stop(server, deadline)
            for follower in followers:
                if follower.is_alive():
                    follower.join()

    def _follow_folders(self) -> None:
        wait_seconds = self._flags.file_system_poll_wait_seconds
        if wait_seconds <= 0:  # TensorFlow Serving: look once
            return
        while not self._stop.wait(wait_seconds):
            try:
                self._manager.poll()
            except OSError as error:  # a volume may be away for a moment; the next poll tries again
                _logger.warning("Cannot list the versions: %s", error)

    def _follow_config(self) -> None:
        """Reads the config file again and again; one that is wrong changes nothing."""
        from slimworks.components.serving.model_config import read_model_config

        wait_seconds = self._flags.model_config_file_poll_wait_seconds
        if wait_seconds <= 0 or not self._flags.model_config_file:
            return
        while not self._stop.wait(wait_seconds):
            try:
                config = read_model_config(self._flags.model_config_file)
                self._manager.reload(config, is_wanted=lambda: not self._stop.is_set())
            except ConfigError as error:
                _logger.error("The model config stays as it was: %s", error.cause)
            except RequestError as error:
                _logger.error("The model config is not applied: %s", error.message)


def _first_configs(flags: ServerFlags) -> list[ModelConfig]:
    """The models that the flags name.

    Raises:
        ConfigError: The config file is wrong.
    """
    from slimworks.components.serving.model_config import (
        ModelConfig,
        model_configs,
        read_model_config,
    )

    if not flags.model_config_file:
        return [ModelConfig(flags.model_name, os.path.abspath(flags.model_base_path))]
    try:
        return model_configs(read_model_config(flags.model_config_file))
    except RequestError as error:
        raise ConfigError(
            f"{flags.model_config_file} is refused: {error.message}", "Correct it in that file."
        ) from error


def _metrics_path(flags: ServerFlags) -> str:
    """Path of Prometheus' metrics, empty where they are not asked for."""
    from slimworks.components.serving.gap_messages import MonitoringConfig
    from slimworks.components.serving.model_config import read_text_proto

    if not flags.monitoring_config_file:
        return ""
    config = read_text_proto(
        flags.monitoring_config_file,
        MonitoringConfig(),
        "monitoring_config_file",
        "tensorflow.serving.MonitoringConfig",
    )
    prometheus = config.prometheus_config
    if not prometheus.enable:
        return ""
    return prometheus.path or "/monitoring/prometheus/metrics"


def _started_rest(api: Api, flags: ServerFlags, metrics_path: str) -> tuple[RestServer | None, str]:
    from slimworks.components.serving.grpc_server import (
        default_num_threads,
        port_is_taken,
        tcp_address,
    )

    if not flags.rest_api_port:
        return None, ""
    if flags.rest_api_port == flags.port:
        _logger.error("REST is off: --rest_api_port is the gRPC port, %d", flags.port)
        return None, ""
    from slimworks.components.serving.http_server import RestServer
    from slimworks.components.serving.rest import Rest

    try:
        listener = _listener(flags.host, max(0, flags.rest_api_port))
    except OSError as error:
        raise port_is_taken(flags.host, flags.rest_api_port, "rest_api_port") from error
    address = tcp_address(flags.host, listener.getsockname()[1])
    timeout_seconds = flags.rest_api_timeout_in_ms / 1_000
    limited = api.within(timeout_seconds)
    server = RestServer(
        Rest(limited, metrics_path=metrics_path, page=_try_page(limited, flags)),
        listener,
        num_threads=flags.rest_api_num_threads or default_num_threads(flags),
        max_waiting=flags.max_queued_requests,
        timeout_seconds=timeout_seconds,
        max_body_bytes=flags.max_message_bytes,
        has_cors=flags.rest_api_enable_cors_support,
    )
    server.start()
    return server, address


def _try_page(api: Api, flags: ServerFlags) -> TryPage | None:
    if not flags.enable_try_page:
        return None
    from slimworks.components.serving.page.try_page import TryPage

    if flags.host not in _LOOPBACK_HOSTS:
        _logger.warning("--enable_try_page: everyone who reaches %s can open the page.", flags.host)
    return TryPage(api, max_image_bytes=flags.max_message_bytes)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1_024)
    listener.setblocking(False)
    return listener


def _check_ports_are_free(flags: ServerFlags) -> None:
    """Fails before a model is loaded, not minutes later."""
    from slimworks.components.serving.grpc_server import port_is_taken

    for flag in ("port", "rest_api_port"):
        port = getattr(flags, flag)
        if port <= 0:
            continue
        try:
            _listener(flags.host, port).close()
        except OSError as error:
            raise port_is_taken(flags.host, port, flag) from error
