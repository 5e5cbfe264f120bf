"""Flags of `tensorflow_model_server`, as the embedded server takes them. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from slimworks.components.errors import ConfigError, nearest

DEFAULT_PORT = 8500

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ServerFlags:
    """What the server is told to do. Names and defaults are TensorFlow Serving's.

    Attributes:
        port: gRPC port. 0 lets the system choose one, unless `grpc_socket_path` is given: then
            no TCP port is opened.
        grpc_socket_path: Also listens on this unix socket.
        model_name: Name that clients ask for.
        model_base_path: Folder with one folder per version.
        file_system_poll_wait_seconds: Pause between looks at the base path; 0 looks once.
        max_num_load_retries: Tries after a first failed load of a version.
        load_retry_interval_micros: Pause before each of them.
        grpc_max_threads: Requests worked on at once; 0 takes four per core.
        enable_model_warmup: Runs a model's own warm-up requests before it is AVAILABLE.
        host: Ours. Address to listen on. TF Serving listens on all; we do only when told to.
        drain_seconds: Ours. Time for running requests to end after SIGTERM.
        stop_when_stdin_closes: Ours. Ends with the process that holds the other end of stdin,
            even when that was killed.
    """

    model_base_path: str
    model_name: str = "default"
    port: int = DEFAULT_PORT
    grpc_socket_path: str = ""
    file_system_poll_wait_seconds: float = 1.0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    grpc_max_threads: int = 0
    enable_model_warmup: bool = True
    host: str = "127.0.0.1"
    drain_seconds: float = 20.0  # below the 30 s that Kubernetes waits before it kills
    stop_when_stdin_closes: bool = False


# Accepted and without effect here: they tune TensorFlow Serving or what we do not offer yet.
IGNORED = frozenset(
    (
        "rest_api_port",
        "rest_api_num_threads",
        "rest_api_timeout_in_ms",
        "rest_api_enable_cors_support",
        "model_config_file_poll_wait_seconds",
        "num_load_threads",
        "num_unload_threads",
        "num_request_iterations_for_warmup",
        "enable_batching",
        "batching_parameters_file",
        "enable_per_model_batching_parameters",
        "allow_version_labels_for_unavailable_models",
        "monitoring_config_file",
        "grpc_channel_arguments",
        "enable_grpc_healthcheck_service",
        "enable_serialization_as_tensor_content",
        "saved_model_tags",
        "enable_signature_method_name_check",
        "prefer_tflite_model",
        "num_tflite_pools",
        "num_tflite_interpreters_per_pool",
        "per_process_gpu_memory_fraction",
        "tensorflow_session_parallelism",
        "tensorflow_intra_op_parallelism",
        "tensorflow_inter_op_parallelism",
        "tensorflow_session_config_file",
        "flush_filesystem_caches",
        "enable_profiler",
        "remove_unused_fields_from_bundle_metagraph",
        "force_allow_any_version_labels_for_unavailable_models",
        "mixed_precision",
        "skip_initialize_tpu",
        "thread_pool_factory_config_file",
        "use_alts_credentials",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
    )
)
# Ignoring these would serve another model than asked for, or in the clear.
REFUSED = {
    "model_config_file": "Give --model_name=NAME and --model_base_path=DIR for one model.",
    "ssl_config_file": "Leave it out and put a TLS proxy in front.",
    "platform_config_file": "Leave it out: every model is a SavedModel.",
}

_KNOWN = {field.name: field for field in dataclasses.fields(ServerFlags)}
_PARSERS: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def usage() -> str:
    """The flags with their defaults, for `--help`."""
    lines = [
        "Examples:",
        "  slimworks serve --model_base_path=slimworks-runs/photos/serving/photos",
        "  slimworks serve --port=8500 --model_name=photos --model_base_path=$PWD/serving/photos",
        "",
        "Flags (as tensorflow_model_server's, plus host, drain_seconds and",
        "stop_when_stdin_closes; its other flags are accepted and have no effect):",
    ]
    for field in dataclasses.fields(ServerFlags):
        has_default = field.default is not dataclasses.MISSING
        lines.append(f"  --{field.name}={field.default if has_default else 'DIR (required)'}")
    return "\n".join(lines)


def parse_flags(argv: Sequence[str]) -> ServerFlags:
    """Reads `--name=value` (or `--name value`; a boolean may stand bare).

    Raises:
        ConfigError: A flag is unknown, not supported, or has a wrong value; or
            --model_base_path is missing.
    """
    values: dict[str, Any] = {}
    for name, text in _pairs(argv):
        if name in REFUSED:
            raise ConfigError(f"--{name} is not supported by this server.", REFUSED[name])
        if name in IGNORED:
            _logger.warning("--%s has no effect in this server.", name)
            continue
        values[name] = _parsed(name, text)
    if not values.get("model_base_path"):
        raise ConfigError(
            "--model_base_path is missing.",
            "Give the folder that holds the versions: --model_base_path=DIR.",
        )
    return ServerFlags(**values)


def _pairs(argv: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yields each flag with its text; None for a boolean that stands bare."""
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        name, equals, text = argument.lstrip("-").partition("=")
        name = name.replace("-", "_")
        _check_known(argument, name)
        if equals:
            yield name, text
        elif _takes_value(name) and rest and not rest[0].startswith("--"):
            yield name, rest.pop(0)
        else:
            yield name, None


def _check_known(argument: str, name: str) -> None:
    if not argument.startswith("-"):
        raise ConfigError(f"{argument!r} is no flag.", "Write flags as --name=value.")
    if name not in _KNOWN and name not in IGNORED and name not in REFUSED:
        hint = nearest(name, [*_KNOWN, *IGNORED, *REFUSED])
        raise ConfigError(
            f"Unknown flag --{name}.{hint}",
            "`slimworks serve --help` lists the flags of tensorflow_model_server that count here.",
        )


def _takes_value(name: str) -> bool:
    return name not in _KNOWN or _KNOWN[name].type != "bool"


def _parsed(name: str, text: str | None) -> Any:
    kind = str(_KNOWN[name].type)
    if kind == "bool":
        if text is None or text.lower() in _BOOLEANS:
            return _BOOLEANS[(text or "true").lower()]
        raise ConfigError(f"--{name} is {text!r}.", f"Write --{name}=true or --{name}=false.")
    if text is None:
        raise ConfigError(f"--{name} has no value.", f"Write --{name}=VALUE.")
    try:
        value = _PARSERS[kind](text)
    except ValueError:
        raise ConfigError(
            f"--{name} is {text!r}, expected a number.", f"Write --{name}=NUMBER."
        ) from None
    if name == "port" and not 0 <= value <= 65_535:
        raise ConfigError(
            f"--port is {value}, expected 0 to 65535.", f"Write --port={DEFAULT_PORT}."
        )
    return value
