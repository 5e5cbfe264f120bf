"""`slimworks report --all`: the page of all runs, and `slimworks card`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from slimworks.components import files
from slimworks.components.errors import ConfigError
from slimworks.components.pusher import ledger
from slimworks.components.report.cards import cards_folder
from slimworks.pipeline.cli import cli

SCRIPT = "<script>alert(1)</script>"


def add_run(root: Path, name: str, day: int, accuracy: float | None, **changes: Any) -> None:
    home = root / name
    files.write_json(home / "slimworks.json", {"format": 1, "source": "/photos"})
    run_id = f"202611{day:02d}-053000-3f2a"
    metrics: dict[str, Any] = {}
    if accuracy is not None:
        interval = [accuracy - 0.05, accuracy + 0.05]
        metrics = {
            "num_images": 120, "accuracy": accuracy, "accuracy_interval": interval,
            "macro_f1": accuracy - 0.02, "log_loss": 1 - accuracy,
        }  # fmt: skip
    record = {
        "run_id": run_id, "name": name, "state": "ended", "verdict": "pass", "reasons": ["Why."],
        "error": None, "metrics": metrics, "version": None, "pushed_to": None, "seconds": 75.0,
        "steps": [], **changes,
    }  # fmt: skip
    files.write_json(home / "runs" / run_id / "run.json", record)
    files.write_text(home / "runs" / run_id / "report.html", "<!doctype html>")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    serving = tmp_path / "flowers/serving/flowers"
    (serving / "2").mkdir(parents=True)
    add_run(tmp_path, "flowers", 1, 0.8, version=1, pushed_to=str(serving / "1"))
    add_run(tmp_path, "flowers", 2, 0.7, verdict="fail", reasons=[f"Too low {SCRIPT}."])
    add_run(tmp_path, "flowers", 3, 0.9, version=2, pushed_to=str(serving / "2"))
    error = {"cause": "No photo.", "fix": "Add some."}
    add_run(tmp_path, "cells", 4, None, verdict=None, error=error, reasons=[])
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), standalone_mode=False)


def index_of(root: Path) -> str:
    result = call("report", "--all", "--root", str(root))
    assert result.exception is None, result.exception
    path = Path(result.stdout.strip())
    assert path == root / "index.html"
    return path.read_text("utf-8")


def test_runs_are_listed_newest_first_with_verdict_version_and_link(root: Path) -> None:
    text = index_of(root)
    first, second = text.index("20261103-053000-3f2a</a>"), text.index("20261101-053000-3f2a</a>")
    assert first < second
    assert 'href="flowers/runs/20261103-053000-3f2a/report.html"' in text
    assert "Version 2 is served." in text
    assert text.count(">live<") == 1
    assert "No photo." in text
    assert "90.0%" in text


def test_a_folder_of_runs_is_no_address_of_its_own(root: Path) -> None:
    add_run(root, "javascript:alert(1)", 5, 0.9)

    text = index_of(root)

    assert 'href="javascript:' not in text
    assert 'href="javascript%3Aalert%281%29/runs/20261105-053000-3f2a/report.html"' in text


def test_names_and_reasons_are_text_in_the_index(root: Path) -> None:
    text = index_of(root)
    assert SCRIPT not in text
    assert "Too low &lt;script&gt;" in text


def test_trends_go_over_the_runs_of_one_pipeline(root: Path) -> None:
    text = index_of(root)
    assert 'aria-label="Accuracy of 3 runs, from 80.0% to 90.0%."' in text
    assert 'aria-label="Log loss of 3 runs, from 0.200 to 0.100."' in text
    assert text.count("<figure>") == 3, "the other pipeline has no figures"
    assert "2026-11-01" in text


def test_index_loads_nothing(root: Path) -> None:
    text = index_of(root)
    assert "https://" not in text
    assert "http://" not in text


def test_index_of_nothing_is_an_error(tmp_path: Path, root: Path) -> None:
    result = call("report", "--all", "--root", str(tmp_path / "none"))
    assert isinstance(result.exception, ConfigError)
    assert result.exception.cause == f"There is no run below {tmp_path / 'none'}."
    result = call("report", "20261103", "--all", "--root", str(root))
    assert isinstance(result.exception, ConfigError)
    assert "--all is the page of all runs" in result.exception.cause


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Version 1 pushed, 2 pushed without a card, 3 is 1 again."""
    entries = [
        ledger.Entry(ledger.PUSHED, 1, 1.0),
        ledger.Entry(ledger.PUSHED, 2, 2.0),
        ledger.Entry(ledger.ROLLED_BACK, 3, 3.0, from_version=2, to_version=1),
    ]
    ledger.append(tmp_path / "base", entries)
    folder = Path(cards_folder(tmp_path / "base", 1))
    files.write_text(folder / "model-card.md", "# Model card\n")
    files.write_text(folder / "data-card.md", "# Data card\n")
    return tmp_path / "base"


def test_card_is_printed_also_of_a_version_that_was_rolled_back_to(base: Path) -> None:
    assert call("card", "1", "--base-path", str(base)).stdout == "# Model card\n"
    assert call("card", "3", "--base-path", str(base), "--data").stdout == "# Data card\n"
    value = json.loads(call("card", "1", "--base-path", str(base), "--json").stdout)
    assert value["text"] == "# Model card\n"


def test_version_without_a_card_says_where_it_would_be(base: Path) -> None:
    result = call("card", "2", "--base-path", str(base))
    assert isinstance(result.exception, ConfigError)
    assert "Version 2 has no card" in result.exception.cause
    assert "never had a version 9" in call("card", "9", "--base-path", str(base)).exception.cause
