from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from slimworks.components.serving.flags import parse_flags
from slimworks.pipeline import next_steps


@pytest.mark.parametrize("folder", ["serving/photos", "serving/my photos/", "."])
def test_served_command_is_one(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path)
    program, verb, *flags = shlex.split(next_steps.serve_command(folder))
    parsed = parse_flags(flags)
    assert (program, verb, parsed.model_base_path) == (
        "slimworks",
        "serve",
        str((tmp_path / folder).resolve()),
    )
    assert parsed.model_name == (tmp_path / folder).resolve().name
    assert (parsed.port, parsed.rest_api_port) == (8500, 8501)
    assert f"--server 127.0.0.1:{parsed.port}" in next_steps.ask_commands(folder, None)


def test_address_of_a_store_is_kept() -> None:
    command = shlex.split(next_steps.serve_command("s3://models/photos/"))
    assert {"--model_base_path=s3://models/photos/", "--model_name=photos"} <= set(command)


def test_push_prints_how_to_ask(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"a model")

    def push(*options: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "slimworks",
            "push",
            "--model",
            "model",
            "--base-path",
            "s/m",
        ]
        return subprocess.run(
            command + list(options), cwd=tmp_path, capture_output=True, text=True, check=True
        )

    pushed = push()
    assert pushed.stdout.startswith("pushed as version 1: ")
    for call in ("# slimworks", "# curl", "# grpcurl", "# Python", "next: slimworks serve"):
        assert call in pushed.stderr
    again = push("--json")
    assert "# curl" in json.loads(again.stdout)["call_examples"]
    assert "# curl" not in again.stderr


def test_servers_that_hold_the_model_are_asked_where_they_are() -> None:
    text = next_steps.ask_text("serving/photos", 3, ("models.internal:9000", "other:9000"))
    assert "slimworks serve" not in text
    assert "--server models.internal:9000" in text
    assert "http://models.internal:8501/v1/models/photos/versions/3:predict" in text
    assert "other" not in text
