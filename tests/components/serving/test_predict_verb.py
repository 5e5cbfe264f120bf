"""`slimworks predict` as it is typed, against a real server."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from serving_models import png

from slimworks.components.errors import ConfigError
from slimworks.components.serving.process import ServerProcess
from slimworks.pipeline.cli import cli

COLORS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a/0.png (red), a/deep/1.webp (green), b/2.png (blue), and what is no image or hidden."""
    folder = tmp_path_factory.mktemp("photos")
    places = ("a/0.png", "a/deep/1.webp", "b/2.png")
    for color, place in zip(COLORS, places, strict=True):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(png(color, "WEBP" if place.endswith("webp") else "PNG"))
    (folder / "a" / "notes.txt").write_text("hello")
    (folder / ".hidden").mkdir()
    for place in ("a/.hidden.png", ".hidden/3.png"):
        (folder / place).write_bytes(png("red"))
    (folder / "bad").mkdir()
    (folder / "bad" / "torn.png").write_bytes(png("red")[:40])
    return folder


@pytest.fixture
def predict(server: ServerProcess, photos: Path):
    """Runs `slimworks predict` beside the photos."""

    def run(*arguments: Any, text: bool = True, **options: Any) -> Any:
        command = [
            sys.executable, "-m", "slimworks", "predict", *map(str, arguments),
            "--server", server.address, "--model-name", "colors",
        ]  # fmt: skip
        return subprocess.run(command, cwd=photos, capture_output=True, text=text, **options)

    return run


def classes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Best class by file, of JSON lines or one JSON object."""
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout.splitlines()[0])
    rows = first.get("predictions") or [json.loads(line) for line in done.stdout.splitlines()]
    return {row["file"]: row["classes"][0]["class_name"] for row in rows}


def test_folders_files_and_patterns_in_the_order_of_the_command_line(predict: Any) -> None:
    done = predict("b/2.png", "a", "**/*.webp", "--format", "jsonl")
    assert list(classes(done).items()) == [
        ("b/2.png", "blue"),
        ("a/0.png", "red"),
        ("a/deep/1.webp", "green"),
    ]
    assert len(done.stdout.splitlines()) == 4


def test_image_on_stdin(predict: Any) -> None:
    done = predict("-", "--json", text=False, input=png("green"))
    (row,) = json.loads(done.stdout)["predictions"]
    assert (row["file"], row["classes"][0]["class_name"], row["version"]) == ("-", "green", 3)
    assert row["is_known"]


@pytest.mark.parametrize("list_file", ["-", "list.txt"])
def test_list_of_images(predict: Any, photos: Path, list_file: str) -> None:
    lines = "\ufeffa/0.png\r\n\nb/2.png"
    (photos / "list.txt").write_text(lines, encoding="utf-8")
    done = predict("--from-file", list_file, "--json", input=lines)
    assert classes(done) == {"a/0.png": "red", "b/2.png": "blue"}


def test_table_for_people(predict: Any) -> None:
    done = predict("a/0.png")
    head, line = (re.sub(" +", " ", line) for line in done.stdout.splitlines())
    assert head == "FILE CLASS PROB KNOWN THEN"
    assert re.fullmatch(r"a/0\.png red 0\.965 yes (green|blue) 0\.018", line)
    assert done.stderr == ""


def test_top_k_and_csv_to_a_file(predict: Any, tmp_path: Path) -> None:
    output = tmp_path / "answers.csv"
    done = predict("a", "--top-k", "1", "--output", output, "--concurrency", "2", "--batch-size", 1)
    assert done.stdout == f"wrote 2 rows to {output}\n"
    first, second = csv.DictReader(io.StringIO(output.read_text(encoding="utf-8")))
    assert (first["class_name_1"], second["class_name_1"]) == ("red", "green")
    assert "class_name_2" not in first
    done = predict("a", "--json", "--output", output)
    assert json.loads(done.stdout) == {"output": str(output), "num_images": 2, "num_errors": 0}


def test_bad_image_costs_the_others_nothing(predict: Any) -> None:
    done = predict("a/0.png", "bad/torn.png", "a/notes.txt", "--json")
    rows = json.loads(done.stdout)["predictions"]
    assert rows[0]["classes"][0]["class_name"] == "red"
    assert rows[1]["error"].startswith("The model cannot read bad/torn.png: Invalid PNG")
    assert rows[2]["error"].startswith("a/notes.txt is not an image")
    assert done.returncode == 3
    assert done.stderr == "2 of 3 images could not be classified.\n"


def test_name_that_is_no_utf8_comes_back_as_it_was(predict: Any, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(path)).write_bytes(png("red"))
    done = predict("--from-file", "-", "--format", "csv", text=False, input=path)
    assert path in done.stdout, done
    done = predict("--from-file", "-", "--json", text=False, input=path)
    assert os.fsencode(json.loads(done.stdout)["predictions"][0]["file"]) == path


@pytest.mark.parametrize(
    ("arguments", "cause", "fix"),
    [
        (
            [],
            "No image is given.",
            "Give files, folders, URLs, - for an image on stdin, or --from-file FILE.",
        ),
        (
            ["-", "--from-file", "-"],
            "stdin is named twice.",
            "Give - once: as an image or to --from-file.",
        ),
        (["*.gif"], "*.gif holds no image.", "Quote the pattern, and check it."),
        (
            ["--from-file", "none"],
            "none cannot be read: No such file or directory.",
            "Give --from-file a text file with a path or URL on each line, or - for stdin.",
        ),
        (
            ["a", "--json", "--format", "csv"],
            "--json and --format csv exclude each other.",
            "Leave one of them out, or write the rows to a file with --output.",
        ),
        (["a", "--output", "b"], "b is no regular file.", "Give --output another name."),
        (
            ["a", "--output", "a/0.png/x"],
            "a/0.png/x cannot be written: File exists.",
            "Give --output a file in a folder that you may write to.",
        ),
        (
            ["a", "--version", "3", "--label", "stable"],
            "Both a version (3) and a label ('stable') are given.",
            "Give --version or --label, not both.",
        ),
        (
            ["a", "--ca", "none.pem"],
            "none.pem cannot be read: No such file or directory.",
            "Give --ca, --cert and --key the names of PEM files.",
        ),
    ],
)
def test_wrong_command_line(
    server: ServerProcess,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    cause: str,
    fix: str,
) -> None:
    monkeypatch.chdir(photos)
    with pytest.raises(ConfigError) as caught:
        cli.main(
            ["predict", *arguments, "--server", server.address, "--model-name", "colors"],
            standalone_mode=False,
        )
    assert (caught.value.cause, caught.value.fix) == (cause, fix)


@pytest.mark.slow
def test_server_that_starts_meanwhile_is_waited_for(
    color_model: Path, tmp_path: Path, photos: Path
) -> None:
    shutil.copytree(color_model, tmp_path / "base" / "1")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
        command = [
            sys.executable, "-m", "slimworks", "predict", "a/0.png", "--json", "--model-name", "m",
            "--server", f"127.0.0.1:{port}", "--retries", "1000", "--deadline", "90",
        ]  # fmt: skip
        process = subprocess.Popen(command, cwd=photos, stdout=subprocess.PIPE, text=True)
        nobody.settimeout(60)
        nobody.accept()[0].close()  # it was there, and nobody answered
    try:
        with ServerProcess(tmp_path / "base", "m", port=port):
            answered, _ = process.communicate(timeout=90)
    finally:
        process.kill()
    assert json.loads(answered)["predictions"][0]["classes"][0]["class_name"] == "red"


@pytest.mark.slow
def test_json_stays_one_object_when_the_server_goes_away(
    color_model: Path, tmp_path: Path, photos: Path
) -> None:
    shutil.copytree(color_model, tmp_path / "base" / "1")
    with ServerProcess(tmp_path / "base", "m") as server:
        command = [
            sys.executable, "-m", "slimworks", "predict", "--from-file", "-", "--json",
            "--model-name", "m", "--server", server.address, "--batch-size", "1", "--retries", "0",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=photos, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"a/0.png\n")
        start = process.stdout.read(1)  # the first row is answered
    rest, errors = process.communicate(b"b/2.png\n", timeout=60)
    whole = json.loads(start + rest)
    assert whole["error"]["exit_code"] == process.returncode == 5
    assert [row["classes"][0]["class_name"] for row in whole["predictions"]] == ["red"]
    assert errors.startswith(b"Error: No server answers at ")
