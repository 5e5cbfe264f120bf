"""Class names from files, and what does not fit a head."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.export.labels import read_labels


def _file(folder: Path, text: str) -> Path:
    path = folder / "labels.txt"
    path.write_text(text, encoding="utf-8")
    return path


def _refusal(path: Path, num_classes: int) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        read_labels(path, num_classes)
    return caught.value.cause, caught.value.fix


def test_a_name_a_line(tmp_path: Path) -> None:
    path = _file(tmp_path, "background\ntench, Tinca tinca\n\ncafé: espresso \n")
    assert read_labels(path, 3) == ("background", "tench, Tinca tinca", "café: espresso")


def test_numbered_lines_in_any_order(tmp_path: Path) -> None:
    path = _file(tmp_path, "1:daisy\n0:rose: red\n2:tulip\n")
    assert read_labels(path, 3) == ("rose: red", "daisy", "tulip")


@pytest.mark.parametrize("text", ["0:a\n2:b\n", "0:a\n0:b\n", "1:a\n2:b\n"])
def test_numbers_with_gaps(tmp_path: Path, text: str) -> None:
    path = _file(tmp_path, text)
    assert _refusal(path, 2) == (
        f"{path} does not number its 2 classes from 0 to 1.",
        "Write one index:name line for each class, each index once.",
    )


def test_names_without_a_background_for_a_head_with_one(tmp_path: Path) -> None:
    path = _file(tmp_path, "name\n" * 1000)
    assert _refusal(path, 1001) == (
        f"{path} names 1000 classes, the checkpoint's head has 1001.",
        "Index 0 of this head is the background: put a first line `background` into a copy.",
    )


def test_names_with_a_background_for_a_head_without_one(tmp_path: Path) -> None:
    path = _file(tmp_path, "name\n" * 1001)
    assert _refusal(path, 1000)[1] == (
        "This head has no background class: take the first line out of a copy."
    )


def test_another_number_of_names(tmp_path: Path) -> None:
    assert _refusal(_file(tmp_path, "a\nb\n"), 3)[1] == (
        "Give a file of 3 names, or leave --labels out: names are numbers then."
    )


def test_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "labels.bin"
    path.write_bytes(b"\xff\xfe\x00")
    cause, fix = _refusal(path, 3)
    assert cause.startswith(f"--labels {path} cannot be read as UTF-8 text: ")
    assert fix == "Give a text file with one class name a line, or leave --labels out."
    assert _refusal(tmp_path / "none.txt", 3)[0].startswith(f"--labels {tmp_path}/none.txt cannot")
