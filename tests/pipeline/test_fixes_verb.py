"""`slimworks apply-fixes`: from the accepted rows of a table to the corrections file."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from slimworks.components.errors import ConfigError
from slimworks.components.labels.corrections import read_corrections
from slimworks.pipeline.cli import cli

HEADER = "image_id,filename,given_class,suggested_class,confidence,accept\n"


def table(folder: Path, *rows: tuple[int, str, str]) -> str:
    lines = [f"{n:064x},{n}.jpg,cats,{suggested},0.9,{word}\n" for n, suggested, word in rows]
    (folder / "label_errors.csv").write_text(HEADER + "".join(lines), "utf-8")
    return str(folder / "label_errors.csv")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["apply-fixes", *arguments], standalone_mode=False)


def test_accepted_rows_are_collected_over_several_tables(tmp_path: Path) -> None:
    output = tmp_path / "corrections.csv"
    first = run(table(tmp_path, (1, "dogs", "x"), (2, "dogs", "")), "--output", str(output))
    assert f"1 of 1 accepted rows are new in {output}" in first.output
    assert f"--set data.corrections={output}" in first.output
    run(table(tmp_path, (3, "eels", "yes")), "--output", str(output))
    found = read_corrections(output)
    assert {int(key, 16): one.class_name for key, one in found.items()} == {1: "dogs", 3: "eels"}
    assert found[f"{1:064x}"].filename == "1.jpg"


def test_a_newer_decision_wins_and_says_so(tmp_path: Path) -> None:
    output = tmp_path / "corrections.csv"
    run(table(tmp_path, (1, "dogs", "x")), "--output", str(output))
    second = run(table(tmp_path, (1, "eels", "x")), "--output", str(output))
    assert "1.jpg: eels instead of dogs" in second.output
    assert read_corrections(output)[f"{1:064x}"].class_name == "eels"


def test_nothing_accepted_writes_nothing(tmp_path: Path) -> None:
    result = run(table(tmp_path, (1, "dogs", "")), "--output", str(tmp_path / "c.csv"))
    assert "Nothing was accepted" in result.output
    assert not (tmp_path / "c.csv").exists()


def test_configuration_says_where_corrections_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.csv"
    (tmp_path / "p.yaml").write_text(f"data:\n  source: x\n  corrections: {path}\n", "utf-8")
    rows = table(tmp_path, (1, "dogs", "x"))
    result = run(rows, "--config", str(tmp_path / "p.yaml"), "--json")
    assert json.loads(result.stdout) == {
        "corrections": str(path), "num_accepted": 1, "num_added": 1, "num_corrections": 1,
    }  # fmt: skip
    (tmp_path / "p.yaml").write_text("data:\n  source: x\n", "utf-8")
    result = run(rows, "--config", str(tmp_path / "p.yaml"))
    assert isinstance(result.exception, ConfigError)
    assert result.exception.cause == f"{tmp_path / 'p.yaml'} names no corrections file."
