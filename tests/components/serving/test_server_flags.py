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


def test_boolean_may_stand_bare():
    assert parse_flags(["--stop_when_stdin_closes", BASE]).stop_when_stdin_closes


@pytest.mark.parametrize("flag", ["--rest_api_port=8501", "--enable_batching"])
def test_flags_without_effect_are_accepted_with_a_warning(flag, caplog):
    with caplog.at_level(logging.WARNING):
        assert parse_flags([flag, BASE]) == ServerFlags("/models/m")
    assert f"{flag.partition('=')[0]} has no effect" in caplog.text


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
        (["--model_config_file=c"], "--model_config_file is not supported"),
        ([BASE, "--ssl_config_file=c"], "--ssl_config_file is not supported"),
    ],
)
def test_wrong_flags_are_named(argv, message):
    with pytest.raises(ConfigError) as caught:
        parse_flags(argv)
    assert message in caught.value.cause
    assert caught.value.fix
