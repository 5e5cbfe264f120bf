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
        model_base_path: Folder with one folder per version.
        model_name: Name that clients ask for.
        model_config_file: ModelServerConfig in text format; wins over the two above.
        model_config_file_poll_wait_seconds: Pause between looks at that file; 0 reads it once.
        port: gRPC port. 0 lets the system choose one, unless `grpc_socket_path` is given: then
            no TCP port is opened.
        grpc_socket_path: Also listens on this unix socket.
        rest_api_port: REST port. 0 is none; -1, ours, lets the system choose one.
        rest_api_num_threads: REST requests worked on at once; 0 takes four per core.
        rest_api_timeout_in_ms: For an answer of REST.
        rest_api_enable_cors_support: Lets scripts of other origins ask.
        file_system_poll_wait_seconds: Pause between looks at the base paths; 0 looks once.
        max_num_load_retries: Tries after a first failed load of a version.
        load_retry_interval_micros: Pause before each of them.
        grpc_max_threads: gRPC requests worked on at once; 0 takes four per core.
        grpc_channel_arguments: `key=value,key=value` for gRPC itself.
        enable_model_warmup: Runs a model's own warm-up requests before it is AVAILABLE.
        num_request_iterations_for_warmup: How often each of them runs; 0 is once.
        enable_batching: Runs requests that arrive together as one.
        batching_parameters_file: BatchingParameters in text format.
        enable_per_model_batching_parameters: A version's own `batching_params.pbtxt` wins.
        allow_version_labels_for_unavailable_models: A new label may name any version.
        monitoring_config_file: MonitoringConfig in text format: Prometheus on the REST port.
        ssl_config_file: SSLConfig in text format: TLS on the gRPC port.
        enable_grpc_healthcheck_service: Answers grpc.health.v1.
        enable_serialization_as_tensor_content: Predict answers in `tensor_content`.
        saved_model_tags: Tags of the graph to load, comma separated.
        enable_signature_method_name_check: Classify and Regress need signatures of their method.
        per_process_gpu_memory_fraction: Share of a GPU's memory; 0 leaves it to TensorFlow.
        tensorflow_session_parallelism: Threads of TensorFlow; 0 leaves them to it.
        tensorflow_intra_op_parallelism: Threads within an op; wins over the former.
        tensorflow_inter_op_parallelism: Threads across ops; wins over the former.
        host: Ours. Address to listen on. TF Serving listens on all; we do only when told to.
        max_message_bytes: Ours. Largest request.
        max_queued_requests: Ours. Requests that may wait for a thread, by gRPC and by REST; more
            are refused with RESOURCE_EXHAUSTED.
        drain_seconds: Ours. Time for running requests to end after SIGTERM.
        request_log: Ours. Requests and answers are logged to files whose names start with this
            path, for models whose config has no `logging_config`.
        request_log_sampling_rate: Ours. Fraction of the requests that is logged.
        request_log_max_bytes: Ours. On disk, for each prefix; the oldest file goes first.
        request_log_max_file_seconds: Ours. Age at which a file is closed: readers see it then.
        enable_try_page: Ours. A page at `/` of the REST port, to try the models in a browser.
        stop_when_stdin_closes: Ours. Ends with the process that holds the other end of stdin,
            even when that was killed.
    """

    model_base_path: str = ""
    model_name: str = "default"
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: float = 0.0
    port: int = DEFAULT_PORT
    grpc_socket_path: str = ""
    rest_api_port: int = 0
    rest_api_num_threads: int = 0
    rest_api_timeout_in_ms: int = 30_000
    rest_api_enable_cors_support: bool = False
    file_system_poll_wait_seconds: float = 1.0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    grpc_max_threads: int = 0
    grpc_channel_arguments: str = ""
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    enable_batching: bool = False
    batching_parameters_file: str = ""
    enable_per_model_batching_parameters: bool = False
    allow_version_labels_for_unavailable_models: bool = False
    monitoring_config_file: str = ""
    ssl_config_file: str = ""
    enable_grpc_healthcheck_service: bool = False
    enable_serialization_as_tensor_content: bool = False
    saved_model_tags: str = "serve"
    enable_signature_method_name_check: bool = False
    per_process_gpu_memory_fraction: float = 0.0
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    host: str = "127.0.0.1"
    max_message_bytes: int = 2**31 - 1  # protobuf's own limit
    max_queued_requests: int = 1_024
    drain_seconds: float = 20.0  # below the 30 s that Kubernetes waits before it kills
    request_log: str = ""
    request_log_sampling_rate: float = 0.1
    request_log_max_bytes: int = 1 << 30
    request_log_max_file_seconds: float = 60.0
    enable_try_page: bool = False  # `/` is a 404 of TensorFlow Serving's; no door unless asked for
    stop_when_stdin_closes: bool = False


# Accepted and without effect here: they tune what this server does not have.
IGNORED = frozenset(
    (
        "num_load_threads",
        "num_unload_threads",
        "prefer_tflite_model",
        "num_tflite_pools",
        "num_tflite_interpreters_per_pool",
        "tensorflow_session_config_file",
        "flush_filesystem_caches",
        "enable_profiler",
        "remove_unused_fields_from_bundle_metagraph",
        "force_allow_any_version_labels_for_unavailable_models",
        "mixed_precision",
        "skip_initialize_tpu",
        "thread_pool_factory_config_file",
        "use_alts_credentials",
        "use_saved_model",
        "use_tflite_model",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
    )
)
# Ignoring these would serve another model than asked for.
REFUSED = {
    "platform_config_file": "Leave it out: every model is a SavedModel.",
}

_KNOWN = {field.name: field for field in dataclasses.fields(ServerFlags)}
_PARSERS: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float}
_LOWEST_PORTS = {"port": 0, "rest_api_port": -1}
_LOWEST_LOG_LIMITS = {"request_log_max_bytes": 1 << 20, "request_log_max_file_seconds": 1}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def usage() -> str:
    """The flags with their defaults, for `--help`."""
    lines = [
        "Examples:",
        "  slimworks serve --model_base_path=slimworks-runs/photos/serving/photos",
        "  slimworks serve --model_name=photos --model_base_path=$PWD/photos --rest_api_port=8501",
        "  slimworks serve --model_config_file=models.config --rest_api_port=8501",
        "",
        "Flags (as tensorflow_model_server's, plus host, max_message_bytes, max_queued_requests,",
        "drain_seconds, request_log*, enable_try_page and stop_when_stdin_closes; its other flags",
        "are accepted and have no effect). One of model_base_path and model_config_file is needed:",
    ]
    lines += [f"  --{field.name}={field.default}" for field in dataclasses.fields(ServerFlags)]
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
    flags = ServerFlags(**values)
    _check_together(flags)
    return flags


def _check_together(flags: ServerFlags) -> None:
    if not flags.model_base_path and not flags.model_config_file:
        raise ConfigError(
            "--model_base_path is missing.",
            "Give the folder that holds the versions: --model_base_path=DIR, or several models "
            "by --model_config_file=FILE.",
        )
    if flags.batching_parameters_file and not flags.enable_batching:
        raise ConfigError(
            "--batching_parameters_file is given without --enable_batching.",
            "Add --enable_batching, or leave the file out.",
        )
    if flags.monitoring_config_file and not flags.rest_api_port:
        raise ConfigError(
            "--monitoring_config_file is given without --rest_api_port.",
            "Add --rest_api_port=8501: metrics are read from the REST port.",
        )
    if flags.enable_try_page and not flags.rest_api_port:
        raise ConfigError(
            "--enable_try_page is given without --rest_api_port.",
            "Add --rest_api_port=8501: the page is at / of the REST port.",
        )


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
    if name in _LOWEST_PORTS and not _LOWEST_PORTS[name] <= value <= 65_535:
        raise ConfigError(
            f"--{name} is {value}, expected {_LOWEST_PORTS[name]} to 65535.",
            f"Write --{name}={DEFAULT_PORT}.",
        )
    if name == "request_log_sampling_rate" and not 0 <= value <= 1:
        raise ConfigError(
            f"--{name} is {value:g}, expected a fraction in [0, 1].",
            f"Write --{name}=0.1 for every tenth request.",
        )
    if name in _LOWEST_LOG_LIMITS and value < _LOWEST_LOG_LIMITS[name]:
        raise ConfigError(
            f"--{name} is {value:g}, expected at least {_LOWEST_LOG_LIMITS[name]}.",
            f"Leave --{name} out, or write a larger number.",
        )
    if name == "rest_api_timeout_in_ms" and value < 1:
        raise ConfigError(f"--{name} is {value}.", f"Write --{name}=30000 for half a minute.")
    return value
