"""The gRPC side of the server: port, socket, TLS, limits, health."""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc

from slimworks.components.errors import ConfigError, ServingError
from slimworks.components.serving.flags import ServerFlags
from slimworks.components.serving.gap_messages import (
    HealthCheckRequest,
    HealthCheckResponse,
    SSLConfig,
)
from slimworks.components.serving.grpc_arrivals import NUM_SPARE_THREADS, Arrivals
from slimworks.components.serving.model_config import read_text_proto
from slimworks.components.serving.reflection import HEALTH_SERVICE, add_reflection

_BATCHING_THREADS = 64  # each waiting request holds one, so a batch is never larger
_REFUSING_SECONDS = 0.2
_SERVING = 1  # grpc.health.v1.HealthCheckResponse.ServingStatus
_HEALTHY_SERVICES = ("", "ModelService", "PredictionService")


def start(
    flags: ServerFlags,
    add_services: Callable[[grpc.Server], None],
    *,
    is_stopping: Callable[[], bool] = lambda: False,
) -> tuple[grpc.Server, str]:
    """Opens the port.

    Args:
        flags: Where and how to listen.
        add_services: Registers what is answered.
        is_stopping: Whether new calls are to go elsewhere.

    Returns:
        The server and its TCP address, or the socket's where there is no TCP port.

    Raises:
        ServingError: The port is taken.
        ConfigError: The TLS file is wrong.
    """
    credentials = read_credentials(flags)
    num_threads = flags.grpc_max_threads or default_num_threads(flags)
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(
            num_threads + NUM_SPARE_THREADS, thread_name_prefix="request"
        ),
        options=list(_options(flags).items()),
        maximum_concurrent_rpcs=num_threads + flags.max_queued_requests,
        interceptors=[_NewCalls(is_stopping), Arrivals(num_threads)],
    )
    add_services(server)
    add_reflection(server, has_health=flags.enable_grpc_healthcheck_service)
    if flags.enable_grpc_healthcheck_service:
        _add_health(server)
    address = _bind(server, flags, credentials)
    server.start()
    return server, address


def stop(server: grpc.Server, deadline: float) -> None:
    """Lets running calls end until a moment of `time.monotonic`, then closes the port.

    `is_stopping` must be true by now.
    """
    # grpc cancels calls that arrive while it closes, which no client tries again; what is already
    # on its way is refused in this time.
    threading.Event().wait(_REFUSING_SECONDS)
    server.stop(max(0.0, deadline - time.monotonic())).wait()


def default_num_threads(flags: ServerFlags) -> int:
    """TensorFlow Serving's four per core; more where requests wait for each other in a batch."""
    return max(4 * (os.cpu_count() or 1), _BATCHING_THREADS if flags.enable_batching else 0)


def read_credentials(flags: ServerFlags) -> grpc.ServerCredentials | None:
    """TLS as --ssl_config_file says; None without it.

    Raises:
        ConfigError: The file cannot be read, does not parse, or lacks key or certificate.
    """
    if not flags.ssl_config_file:
        return None
    config = read_text_proto(
        flags.ssl_config_file, SSLConfig(), "ssl_config_file", "tensorflow.serving.SSLConfig"
    )
    if not config.server_key or not config.server_cert:
        raise ConfigError(
            f"{flags.ssl_config_file} lacks server_key or server_cert.",
            "Put both into it as PEM text, not as paths.",
        )
    try:
        return grpc.ssl_server_credentials(
            [(config.server_key.encode(), config.server_cert.encode())],
            root_certificates=config.custom_ca.encode() or None,
            require_client_auth=config.client_verify,
        )
    except ValueError as error:
        raise ConfigError(
            f"{flags.ssl_config_file} asks for client_verify without custom_ca.",
            "Add custom_ca, the PEM text of the certificates that clients are checked with.",
        ) from error


class _NewCalls(grpc.ServerInterceptor):
    """Refuses new calls while the server stops, so that clients try them elsewhere."""

    def __init__(self, is_stopping: Callable[[], bool]) -> None:
        self._is_stopping = is_stopping

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """The usual handler, or one that refuses."""
        if self._is_stopping():
            return grpc.unary_unary_rpc_method_handler(_refuse)
        return continuation(handler_call_details)


def _refuse(_request: object, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAVAILABLE, "The server is stopping.")


def tcp_address(host: str, port: int) -> str:
    """host:port, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def port_is_taken(host: str, port: int, flag: str) -> ServingError:
    """What to tell when a port cannot be opened."""
    return ServingError(
        f"Cannot listen on {tcp_address(host, port)}: the port is in use or the address is not of "
        "this machine.",
        f"Stop the other server, or choose another port: --{flag}={port % 65_535 + 1}.",
    )


def _options(flags: ServerFlags) -> dict[str, Any]:
    options: dict[str, Any] = {
        "grpc.so_reuseport": 0,  # else a second server takes half of the requests, silently
        "grpc.max_receive_message_length": flags.max_message_bytes,
        "grpc.max_send_message_length": -1,
    }
    for pair in filter(None, flags.grpc_channel_arguments.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(
                f"--grpc_channel_arguments has {pair!r}.",
                "Write --grpc_channel_arguments=grpc.max_connection_age_ms=5000,key=value.",
            )
        is_whole = value.removeprefix("-").isdecimal()
        options[key.strip()] = int(value) if is_whole else value
    return options


def _bind(
    server: grpc.Server, flags: ServerFlags, credentials: grpc.ServerCredentials | None
) -> str:
    socket_address = f"unix:{flags.grpc_socket_path}" if flags.grpc_socket_path else ""
    tcp = tcp_address(flags.host, flags.port)
    try:
        if socket_address:
            server.add_insecure_port(socket_address)
        if socket_address and not flags.port:
            return socket_address
        if credentials:
            port = server.add_secure_port(tcp, credentials)
        else:
            port = server.add_insecure_port(tcp)
    except RuntimeError as error:  # all that grpc says
        raise port_is_taken(flags.host, flags.port, "port") from error
    return tcp_address(flags.host, port)


def _add_health(server: grpc.Server) -> None:
    """grpc.health.v1: from the moment the port opens, for ever, as in TensorFlow Serving."""

    def check(request: Any, context: grpc.ServicerContext) -> Any:
        if request.service not in _HEALTHY_SERVICES:
            context.abort(grpc.StatusCode.NOT_FOUND, "")
        return HealthCheckResponse(status=_SERVING)

    handlers = {
        "Check": grpc.unary_unary_rpc_method_handler(
            check,
            request_deserializer=HealthCheckRequest.FromString,
            response_serializer=HealthCheckResponse.SerializeToString,
        )
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(HEALTH_SERVICE, handlers),)
    )
