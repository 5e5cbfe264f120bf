from __future__ import annotations

import logging

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.serving.flags import ServerFlags, parse_flags

BASE = "--model_base_path=/models/m"


def test_defaults_are_those_of_tensorflow_serving():
    assert parse_flags([BASE]) == ServerFlags(
        model_base_path="/models/m",
        model_name="default",
        port=8500,
        file_system_poll_wait_seconds=1.0,
        max_num_load_retries=5,
        load_retry_interval_micros=60_000_000,
    )


@pytest.mark.parametrize(
    "argv",
    [
        ["--port=9000", "--model_name=m", BASE, "--enable_model_warmup=false"],
        ["--port", "9000", "--model_name", "m", BASE, "--enable_model_warmup=0"],
        ["--port=9000", "--model-name=m", "--model_base_path", "/models/m",
         "--enable_model_warmup=False"],
    ],
)  # fmt: skip
def test_values_may_follow_an_equals_sign_or_a_blank(argv):
    expected = ServerFlags("/models/m", model_name="m", port=9000, enable_model_warmup=False)
    assert parse_flags(argv) == expected


def test_config_file_takes_the_place_of_a_base_path():
    assert parse_flags(["--model_config_file=c"]).model_config_file == "c"


def test_boolean_may_stand_bare():
    assert parse_flags(["--stop_when_stdin_closes", BASE]).stop_when_stdin_closes


@pytest.mark.parametrize("flag", ["--num_load_threads=2", "--flush_filesystem_caches"])
def test_flags_without_effect_are_accepted_with_a_warning(flag, caplog):
    with caplog.at_level(logging.WARNING):
        assert parse_flags([flag, BASE]) == ServerFlags("/models/m")
    assert f"{flag.partition('=')[0]} has no effect" in caplog.text


# Of tensorflow_model_server 2.20, but for --version, which `slimworks serve` answers itself.
TENSORFLOW_SERVINGS = """
port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms
rest_api_enable_cors_support enable_batching allow_version_labels_for_unavailable_models
batching_parameters_file enable_per_model_batching_parameters model_config_file
model_config_file_poll_wait_seconds model_name model_base_path num_load_threads num_unload_threads
max_num_load_retries load_retry_interval_micros file_system_poll_wait_seconds
flush_filesystem_caches tensorflow_session_parallelism tensorflow_session_config_file
tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism use_alts_credentials
ssl_config_file platform_config_file per_process_gpu_memory_fraction saved_model_tags
grpc_channel_arguments grpc_max_threads enable_model_warmup num_request_iterations_for_warmup
monitoring_config_file remove_unused_fields_from_bundle_metagraph prefer_tflite_model
num_tflite_pools num_tflite_interpreters_per_pool enable_signature_method_name_check
xla_cpu_compilation_enabled xla_gpu_compilation_enabled enable_profiler
thread_pool_factory_config_file mixed_precision skip_initialize_tpu
enable_grpc_healthcheck_service enable_serialization_as_tensor_content
"""


@pytest.mark.parametrize("name", TENSORFLOW_SERVINGS.split())
def test_every_flag_of_tensorflow_serving_is_known(name):
    if name != "platform_config_file":  # it would serve another model: refused by its name
        parse_flags([f"--{name}=1", BASE, "--enable_batching", "--rest_api_port=8501"])
    else:
        with pytest.raises(ConfigError, match="is not supported"):
            parse_flags([f"--{name}=1", BASE])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "--model_base_path is missing"),
        ([BASE, "--prot=1"], "Unknown flag --prot. Did you mean 'port'"),
        ([BASE, "--model_basepath=/x"], "Did you mean 'model_base_path'"),
        ([BASE, "--port=http"], "--port is 'http', expected a number"),
        ([BASE, "--port=70000"], "--port is 70000, expected 0 to 65535"),
        ([BASE, "--port"], "--port has no value"),
        ([BASE, "--enable_model_warmup=maybe"], "--enable_model_warmup is 'maybe'"),
        ([BASE, "models"], "'models' is no flag"),
        ([BASE, "--platform_config_file=c"], "--platform_config_file is not supported"),
        ([BASE, "--batching_parameters_file=c"], "without --enable_batching"),
        ([BASE, "--monitoring_config_file=c"], "without --rest_api_port"),
        ([BASE, "--rest_api_port=-2"], "--rest_api_port is -2, expected -1 to 65535"),
        ([BASE, "--rest_api_timeout_in_ms=0"], "--rest_api_timeout_in_ms is 0"),
    ],
)
def test_wrong_flags_are_named(argv, message):
    with pytest.raises(ConfigError) as caught:
        parse_flags(argv)
    assert message in caught.value.cause
    assert caught.value.fix
