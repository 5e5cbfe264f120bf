from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

import pytest

from slimworks.components.errors import DataError, ServingError
from slimworks.components.serving.answers import Answer, Prediction
from slimworks.pipeline.prediction_formats import FORMATS, formatted, row_of

ANSWERS = [
    Answer("a.jpg", Prediction(("roses", "tulips"), (0.9875, 0.0125), (1, 0), True, 7)),
    Answer("folder/with, comma.jpg", Prediction(("tulips",), (1 / 3,), (0,), False, 7)),
    Answer("bad.jpg", error=DataError("bad.jpg is torn.", "Leave it out.")),
]


def text(format_name: str, answers: Any = ANSWERS, width: int | None = None) -> str:
    return "".join(formatted(format_name, map(row_of, answers), 2, width))


def test_table_fits_80_columns() -> None:
    long = "/".join(["very"] * 20) + "/long.jpg"
    wide = Prediction(("花" * 30, "x" * 40, "y" * 40), (0.5, 0.3, 0.2), (0, 1, 2), True, 1)
    head, *lines = text("table", [*ANSWERS[:2], Answer(long, wide)], width=80).splitlines()
    assert head == f"{'FILE':<28}  {'CLASS':<18}  PROB   KNOWN  THEN"
    assert lines[0] == f"{'a.jpg':<28}  {'roses':<18}  0.988  yes    tulips 0.013"
    assert lines[1] == f"{'folder/with, comma.jpg':<28}  {'tulips':<18}  0.333  no"
    assert lines[2] == f"…{long[-27:]}  {'花' * 8}…   0.500  yes    xxxxxxxxxxxxxxx…"
    assert len(lines[2]) + 8 == 80, "eight characters take two columns"


def test_table_is_not_cut_where_no_terminal_is() -> None:
    answer = Answer("f" * 200, Prediction(("c" * 90,), (1.0,), (0,), True, 1))
    assert "f" * 200 + "  " + "c" * 90 in text("table", [answer])


def test_table_tells_what_is_wrong_with_an_image() -> None:
    assert text("table").splitlines()[-1] == "bad.jpg: Error: bad.jpg is torn. Leave it out."


def test_table_moves_no_cursor() -> None:
    answer = Answer("a\x1b[2J\n.jpg", Prediction(("r\x07",), (1.0,), (0,), True, 1))
    assert text("table", [answer]).splitlines()[1].startswith("a�[2J�.jpg ")


def test_csv_has_a_column_for_each_fact() -> None:
    first, second, third = csv.DictReader(text("csv").splitlines())
    assert first == {
        "file": "a.jpg", "is_known": "true", "version": "7",
        "class_name_1": "roses", "class_index_1": "1", "probability_1": "0.9875",
        "class_name_2": "tulips", "class_index_2": "0", "probability_2": "0.0125", "error": "",
    }  # fmt: skip
    assert (second["file"], second["is_known"]) == ("folder/with, comma.jpg", "false")
    assert (second["probability_1"], second["class_name_2"]) == ("0.3333333", "")
    assert (third["error"], third["class_name_1"]) == ("bad.jpg is torn.", "")


@pytest.mark.parametrize("answers", [ANSWERS, []])
def test_json_is_one_object_and_json_lines_are_its_rows(answers: list[Answer]) -> None:
    rows = [row_of(answer) for answer in answers]
    assert json.loads(text("json", answers)) == {"predictions": rows}
    assert text("json", answers).count("\n") == 1
    assert [json.loads(line) for line in text("jsonl", answers).splitlines()] == rows


def failing(num_rows: int) -> Iterator[dict[str, Any]]:
    yield from (row_of(answer) for answer in ANSWERS[:num_rows])
    raise ServingError("gone", "wait")


@pytest.mark.parametrize("format_name", FORMATS)
def test_nothing_is_written_before_the_first_answer(format_name: str) -> None:
    with pytest.raises(ServingError):
        formatted(format_name, failing(0), 2, None)


def test_json_is_whole_when_the_server_goes_away() -> None:
    pieces: list[str] = []
    with pytest.raises(ServingError):
        pieces.extend(formatted("json", failing(2), 2, None))
    whole = json.loads("".join(pieces))
    assert len(whole["predictions"]) == 2
    assert whole["error"] == {"cause": "gone", "fix": "wait", "exit_code": 5}


@pytest.mark.parametrize("format_name", FORMATS)
def test_rows_are_written_as_they_come(format_name: str) -> None:
    taken = []

    def rows() -> Iterator[dict[str, Any]]:
        for number, answer in enumerate(ANSWERS * 10):
            taken.append(number)
            yield row_of(answer)

    texts = formatted(format_name, rows(), 2, None)
    for _ in range(3):
        next(texts)
    assert len(taken) <= 3
