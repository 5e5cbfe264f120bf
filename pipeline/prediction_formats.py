"""Answers as text: a table for people, CSV, JSON, JSON lines; row by row, as they come."""

from __future__ import annotations

import csv
import io
import itertools
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from slimworks.components.errors import SlimWorksError
from slimworks.components.labels.corrections import as_cell
from slimworks.components.serving.answers import Answer

Row = Mapping[str, Any]

_FILE_WIDTH, _CLASS_WIDTH, _PROBABILITY_WIDTH, _KNOWN_WIDTH = 28, 18, 5, 5
_GAP = "  "
_CUT = "…"


def row_of(answer: Answer) -> dict[str, Any]:
    """What all formats say of an image."""
    if answer.error is not None:
        return {"file": answer.name, "error": answer.error.cause, "fix": answer.error.fix}
    prediction = answer.prediction
    assert prediction is not None
    classes = zip(
        prediction.class_names, prediction.class_indices, prediction.probabilities, strict=True
    )
    return {
        "file": answer.name,
        "classes": [
            {"class_name": name, "class_index": index, "probability": probability}
            for name, index, probability in classes
        ],
        "is_known": prediction.is_known,
        "version": prediction.version,
    }


def formatted(
    format_name: str, rows: Iterable[Row], top_k: int, width: int | None
) -> Iterator[str]:
    """Text of the rows; the first is waited for here, so that a server that is away spoils nothing.

    Args:
        format_name: One of FORMATS.
        rows: As `row_of` gives them.
        top_k: Classes of a row at most.
        width: Of a terminal that cuts the table; None: nothing is cut.

    Raises:
        SlimWorksError: What `rows` raises; a JSON document is complete even then.
    """
    rows = iter(rows)
    rows = itertools.chain(list(itertools.islice(rows, 1)), rows)
    if format_name == "table":
        return _table(rows, width)
    if format_name == "csv":
        return _csv(rows, top_k)
    return _FORMATS_OF_ROWS[format_name](rows)


def _table(rows: Iterable[Row], width: int | None) -> Iterator[str]:
    fixed = _FILE_WIDTH + _CLASS_WIDTH + _PROBABILITY_WIDTH + _KNOWN_WIDTH + 4 * len(_GAP)
    rest = None if width is None else max(0, width - fixed)
    yield _line(["FILE", "CLASS", "PROB", "KNOWN", "THEN"], width, rest)
    for row in rows:
        if "error" in row:
            file, error, fix = (_printable(row[key]) for key in ("file", "error", "fix"))
            yield f"{file}: Error: {error} {fix}\n"
            continue
        first, *others = row["classes"]
        then = ", ".join(f"{other['class_name']} {other['probability']:.3f}" for other in others)
        known = "yes" if row["is_known"] else "no"
        cells = [row["file"], first["class_name"], f"{first['probability']:.3f}", known, then]
        yield _line([_printable(cell) for cell in cells], width, rest)


def _line(cells: list[str], width: int | None, rest: int | None) -> str:
    file, class_name, probability, known, then = cells
    if width is not None:
        # The end of a path tells more than its start.
        file = _cut(file[::-1], _FILE_WIDTH)[::-1]
        class_name = _cut(class_name, _CLASS_WIDTH)
        then = _cut(then, rest or 0)
    padded = (
        _padded(file, _FILE_WIDTH),
        _padded(class_name, _CLASS_WIDTH),
        _padded(probability, _PROBABILITY_WIDTH),
        _padded(known, _KNOWN_WIDTH),
        then,
    )
    return _GAP.join(padded).rstrip() + "\n"


def _csv(rows: Iterable[Row], top_k: int) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    def line(values: list[object]) -> str:
        writer.writerow(values)
        text = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return text

    columns = ("class_name", "class_index", "probability")
    head = [f"{column}_{rank}" for rank in range(1, top_k + 1) for column in columns]
    yield line(["file", "is_known", "version", *head, "error"])
    for row in rows:
        classes = row.get("classes", [])
        cells = [_cell(each[column]) for each in classes for column in columns]
        cells += [""] * (len(head) - len(cells))
        known = str(row["is_known"]).lower() if "is_known" in row else ""
        name, error = as_cell(row["file"]), as_cell(row.get("error", ""))
        yield line([name, known, row.get("version", ""), *cells, error])


def _cell(value: object) -> object:
    if isinstance(value, str):
        return as_cell(value)
    return f"{value:.7g}" if isinstance(value, float) else value  # float32 has no more digits


def _json_document(rows: Iterable[Row]) -> Iterator[str]:
    """One object; a failure after the first row is a key of it, and raised at the end."""
    yield '{"predictions": ['
    try:
        for number, row in enumerate(rows):
            yield (", " if number else "") + _json(row)
    except SlimWorksError as error:
        fault = {"cause": error.cause, "fix": error.fix, "exit_code": error.exit_code}
        yield f'], "error": {_json(fault)}}}\n'
        raise
    yield "]}\n"


def _json_lines(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        yield _json(row) + "\n"


_FORMATS_OF_ROWS: dict[str, Callable[[Iterable[Row]], Iterator[str]]] = {
    "json": _json_document,
    "jsonl": _json_lines,
}
FORMATS = ("table", "csv", *_FORMATS_OF_ROWS)


def _json(value: Row) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor or is no character at all."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _width_of(text: str) -> int:
    """Columns of a terminal: East Asian wide characters take two."""
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


def _cut(text: str, width: int) -> str:
    if _width_of(text) <= width:
        return text
    while text and _width_of(text) > width - 1:
        text = text[:-1]
    return text + _CUT if width else ""


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width_of(text))
