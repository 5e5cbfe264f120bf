"""Classes of single images that people corrected: a CSV file that ingest applies.

`data.corrections` names it. The report lists probable label errors in label_errors.csv. Whoever
agrees with a row writes `x` into its column `accept`; `slimworks apply-fixes` collects these rows
in the corrections file, by image id (the sha256 of the file), so that a correction stays with the
image wherever it lies. The user's own files are never changed.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from slimworks.components import files
from slimworks.components.errors import DataError
from slimworks.components.labels.declarations import composed, fault_of

SUSPECT_COLUMNS = (
    "image_id", "filename", "given_class", "suggested_class", "confidence", "accept",
)  # fmt: skip
CORRECTION_COLUMNS = ("image_id", "class_name", "filename", "given_class")
ACCEPTED = ("x", "y", "yes", "true", "1")
REFUSED = ("", "n", "no", "false", "0")

_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_SHOWN_CHARACTERS = 200  # of what somebody wrote, in a message
# A spreadsheet runs a cell that begins like this as a formula (OWASP: CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclasses.dataclass(frozen=True)
class Correction:
    """One image and the class that it truly has; file and earlier class are for people."""

    image_id: str
    class_name: str
    filename: str = ""
    given_class: str = ""


def as_cell(text: str) -> str:
    """Text that a spreadsheet shows instead of running it."""
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def of_cell(cell: str) -> str:
    """Inverts `as_cell`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell


def read_corrections(path: str | os.PathLike[str]) -> dict[str, Correction]:
    """Reads a corrections file, by image id.

    Raises:
        DataError: No such file, another header, or a row that is no correction.
    """
    found: dict[str, Correction] = {}
    for number, row in _rows(path, CORRECTION_COLUMNS[:2]):
        one = Correction(
            _image_id(row["image_id"], path, number),
            _class_name(of_cell(row["class_name"]), path, number),
            of_cell(row.get("filename") or ""),
            of_cell(row.get("given_class") or ""),
        )
        known = found.setdefault(one.image_id, one)
        if known.class_name != one.class_name:
            raise DataError(
                f"{path}, line {number}: image {one.image_id[:12]} is {known.class_name!r} in an "
                f"earlier line and {one.class_name!r} here.",
                "Keep one of the two lines.",
            )
    return found


def read_accepted(path: str | os.PathLike[str]) -> list[Correction]:
    """The rows of a label_errors.csv that somebody accepted.

    Raises:
        DataError: No such file, another header, or a cell in `accept` that is neither yes nor no.
    """
    return [
        Correction(
            _image_id(row["image_id"], path, number),
            _class_name(of_cell(row["suggested_class"]), path, number),
            of_cell(row.get("filename") or ""),
            of_cell(row.get("given_class") or ""),
        )
        for number, row in _rows(path, ("image_id", "suggested_class", "accept"))
        if _is_accepted(row["accept"], path, number)
    ]


def write_corrections(path: str | os.PathLike[str], corrections: Mapping[str, Correction]) -> None:
    """Writes a corrections file, sorted by image id, atomically."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CORRECTION_COLUMNS)
    for _, one in sorted(corrections.items()):
        texts = (one.class_name, one.filename, one.given_class)
        writer.writerow((one.image_id, *map(as_cell, texts)))
    files.write_bytes(path, stream.getvalue().encode("utf-8", "surrogateescape"))


def _rows(
    path: str | os.PathLike[str], wanted: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, cells by column) of a CSV file."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.", "Give the path of an existing CSV file."
        ) from None
    # Spreadsheets write a byte order mark, and semicolons where commas are decimal.
    text = content.decode("utf-8-sig", "surrogateescape")
    first = text.partition("\n")[0]
    separator = ";" if ";" in first and "," not in first else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restval="")
    try:
        columns = reader.fieldnames or ()
    except csv.Error as error:
        raise _unreadable(path, 1, error) from error
    if missing := _missing(columns, wanted):
        raise DataError(
            f"{path} has no column {missing[0]!r}; its first line is {_cut(first.strip())}.",
            f"The first line must name the columns: {','.join(wanted)}.",
        )
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise _unreadable(path, reader.line_num, error) from error


def _cut(text: str) -> str:
    return repr(text[:_SHOWN_CHARACTERS])


def _unreadable(path: str | os.PathLike[str], number: int, error: csv.Error) -> DataError:
    return DataError(
        f"{path} cannot be read in line {number}: {error}.",
        "Save it as CSV again, one image a line, or delete that line.",
    )


def _missing(columns: Iterable[str], wanted: Sequence[str]) -> list[str]:
    known = set(columns)
    return [name for name in wanted if name not in known]


def _image_id(cell: str, path: str | os.PathLike[str], number: int) -> str:
    if not _IMAGE_ID.fullmatch(cell.strip()):
        raise DataError(
            f"{path}, line {number}: {_cut(cell)} is no image id, expected 64 hexadecimal digits.",
            "Take the line as `slimworks report` wrote it, or delete it.",
        )
    return cell.strip()


def _class_name(name: str, path: str | os.PathLike[str], number: int) -> str:
    if fault := fault_of(name):
        raise DataError(
            f"{path}, line {number}: the class name {name!r} {fault}.",
            "Write the name of a class into that line, or delete it.",
        )
    return composed(name)


def _is_accepted(cell: str, path: str | os.PathLike[str], number: int) -> bool:
    answer = cell.strip().lower()
    if answer not in (*ACCEPTED, *REFUSED):
        raise DataError(
            f"{path}, line {number}: accept is {_cut(cell)}, expected x (accepted) or nothing.",
            "For another class than the suggested one change suggested_class, and write x.",
        )
    return answer in ACCEPTED
