"""push, promote, history and rollback as they are typed."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from slimworks.components import contracts
from slimworks.components.errors import ConfigError, ServingError
from slimworks.pipeline.cli import cli
from slimworks.pipeline.config import PipelineConfig
from slimworks.pipeline.dag import Locations
from slimworks.pipeline.next_steps import serve_command
from slimworks.pipeline.paths import PipelinePaths


def said(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base path with a stable version 1 and a canary 2, pushed by hand."""
    base = tmp_path / "serving" / "flowers"
    for name, label in (("a", "stable"), ("b", "canary")):
        model = tmp_path / name
        model.mkdir()
        (model / "saved_model.pb").write_text(name)
        said("push", "--model", model, "--base-path", base, "--label", label)
    return base


def test_history_says_who_is_stable_and_who_canary(base: Path) -> None:
    first, *lines = said("history", "--base-path", base).splitlines()
    assert first == f"{base} (live: version 2, canary: 2, stable: 1)"
    assert [line.split()[2:] for line in lines] == [
        ["pushed", "version", "1", "stable"],
        ["pushed", "version", "2", "canary"],
    ]
    value = json.loads(said("history", "--base-path", base, "--json"))
    assert value["labels"] == {"canary": 2, "stable": 1}


def test_promote_says_what_was_stable_before(base: Path) -> None:
    assert said("promote", "--base-path", base, "--reason", "fine") == (
        f"promoted: stable is now version 2 (was version 1): {base}/2\n"
    )
    value = json.loads(said("promote", 1, "--base-path", base, "--json"))
    assert value == {"version": 1, "previous": 2, "place": f"{base}/1"}


def test_rollback_moves_the_label(base: Path) -> None:
    assert f"live is now version 3: {base}/3" in said("rollback", "--base-path", base)
    assert "(live: version 3, stable: 3)" in said("history", "--base-path", base)


def test_push_that_no_server_loads_fails_and_says_so(base: Path, tmp_path: Path) -> None:
    (tmp_path / "a" / "saved_model.pb").write_text("c")
    place = ["--model", str(tmp_path / "a"), "--base-path", str(base)]
    server = ["--server", "127.0.0.1:1", "--timeout", "0.1"]
    result = CliRunner().invoke(cli, ["push", *place, *server])
    assert isinstance(result.exception, ServingError)
    assert "The version stays, no label moved." in result.exception.cause
    assert "stable: 1)" in said("history", "--base-path", base).splitlines()[0]


@pytest.mark.parametrize(
    ("option", "cause"),
    [
        (["--server", "here"], "server is 'here': Value error, 'here' is no address: write HOST"),
        (["--timeout", "0"], "confirm_timeout_seconds is 0.0: Input should be greater than 0."),
        (["--server", "a:1", "--ca", "nowhere.pem"], "nowhere.pem"),
    ],
)
def test_wrong_options_are_named(base: Path, option: list[str], cause: str) -> None:
    result = CliRunner().invoke(cli, ["promote", "--base-path", str(base), *option])
    assert isinstance(result.exception, ConfigError)
    assert cause in result.exception.cause
    assert "stable: 1)" in said("history", "--base-path", base).splitlines()[0]


def test_what_to_type_next_is_a_server_that_can_read_the_place() -> None:
    assert serve_command("/srv/flowers").startswith("slimworks serve --model_name=flowers ")
    assert serve_command("s3://models/flowers") == (
        "tensorflow_model_server --model_name=flowers --model_base_path=s3://models/flowers "
        "--port=8500 --rest_api_port=8501"
    )


@pytest.mark.parametrize(
    ("push", "expected"),
    [
        ("s3://models/serving/", "s3://models/serving/flowers"),
        ("gs://models", "gs://models/flowers"),
        ("/srv/models", "/srv/models/flowers"),
    ],
)
def test_base_path_of_a_run_may_be_a_uri(tmp_path: Path, push: str, expected: str) -> None:
    config = PipelineConfig.model_validate(
        {"data": {"source": str(tmp_path)}, "push": {"base_path": push}}
    )
    found = Locations.local(config, PipelinePaths(tmp_path, "flowers"))
    assert found.base_path == expected
    assert contracts.LEDGER_FOLDER not in found.base_path
