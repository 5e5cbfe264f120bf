"""CSV, TSV, JSONL and Parquet as rows of text, one at a time."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from slimworks.components.errors import DataError
from slimworks.components.ingest.sources.items import display_name, quoted_name
from slimworks.components.ingest.sources.opening import opened
from slimworks.components.ingest.storage import access

_DELIMITERS = ",;\t|"  # in CSV; the one that the first line has most of
_MAX_LINE_CHARACTERS = 1 << 20
_MAX_COLUMNS = 10_000  # each row of text becomes as many cells, whatever is asked for
_PARQUET_BATCH_ROWS = 4096
_BATCH_CHARACTERS = 16 << 20  # of these rows at once as text
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row. `values`: text by column, None where empty. `fault`: why it cannot be used."""

    number: int  # line of a text file, row of a Parquet file, from 1
    values: Mapping[str, str | None]
    fault: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table on disk.

    Attributes:
        columns: Names as the file has them; of JSONL, the keys of the first object.
        rows: Yields the rows anew at each call, less empty lines. Takes the columns that are
            wanted: of Parquet only these are read.
        nested: Columns that hold bytes or structures, such as the pictures themselves.
        counted_in: What a row's number counts: "line" or "row".
    """

    columns: tuple[str, ...]
    rows: Callable[[Sequence[str]], Iterator[Row]]
    nested: frozenset[str] = frozenset()
    counted_in: str = "line"


def open_table(path: str) -> Table:
    """Opens a manifest by its suffix; reads the names of the columns.

    Raises:
        DataError: The file is empty, damaged or not UTF-8.
    """
    suffix = path.lower().rpartition(".")[2]
    if suffix in ("jsonl", "ndjson"):
        return _open_jsonl(path)
    if suffix in ("csv", "tsv", "txt"):
        return _open_csv(path, "\t" if suffix == "tsv" else None)
    with opened(path) as stream:
        is_parquet = stream.read(4) == b"PAR1"
    if is_parquet or suffix == "parquet":
        return _open_parquet(path)
    return _open_csv(path, None)


@contextlib.contextmanager
def _opened_text(path: str) -> Iterator[io.TextIOWrapper]:
    with opened(path) as stream:
        head = stream.read(4)
        stream.seek(0)
        marks = (encoding for mark, encoding in _BYTE_ORDER_MARKS if head.startswith(mark))
        encoding = next(marks, "utf-8")
        try:
            yield io.TextIOWrapper(stream, encoding, newline="")
        except UnicodeDecodeError:
            raise DataError(
                f"{display_name(path)} is not UTF-8 in line {_undecodable_line(path)}.",
                f"Convert it: iconv -f latin1 -t utf-8 {quoted_name(path)} > new.csv",
            ) from None


def _undecodable_line(path: str) -> int:
    with access.open_binary(path) as stream:
        for number, line in enumerate(iter(lambda: stream.readline(_MAX_LINE_CHARACTERS), b""), 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


def _empty(path: str) -> DataError:
    return DataError(
        f"The manifest {display_name(path)} is empty.",
        "Its first line names the columns, such as path,class; each other line is one image.",
    )


def _too_long(path: str, number: int, fix: str) -> DataError:
    return DataError(
        f"Line {number} of {display_name(path)} is longer than a million characters.", fix
    )


def _require_few(columns: Sequence[str], path: str) -> None:
    if len(columns) > _MAX_COLUMNS:
        raise DataError(
            f"The manifest {display_name(path)} has {len(columns)} columns; at most "
            f"{_MAX_COLUMNS} are read.",
            "Leave out what is not about the image: path, class, split, group and slices count.",
        )


# --- CSV and TSV -----------------------------------------------------------------------------


def _open_csv(path: str, delimiter: str | None) -> Table:
    with _opened_text(path) as stream:
        first = stream.readline(_MAX_LINE_CHARACTERS)
        delimiter = delimiter or max(_DELIMITERS, key=first.count)
    header = next(_csv_lines(path, delimiter), None)
    if header is None:
        raise _empty(path)
    columns = tuple(name.strip() for name in header[1])
    _require_few(columns, path)
    return Table(columns, lambda _: _csv_rows(path, delimiter, columns))


def _csv_lines(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of its first line, cells) of each line that is not empty."""
    with _opened_text(path) as stream:
        # Strict: a quote that is never closed would swallow the rest of the file unnoticed.
        lines = _RowLines(stream, path)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        start = 1
        try:
            for cells in reader:
                if any(cells):
                    yield start, cells
                lines.begin_row()
                start = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{display_name(path)} cannot be read from line {start} on: {error}.",
                'Correct the line: a cell with a quote or a comma is quoted, and " inside is "".',
            ) from error


class _RowLines:
    """The lines of a text; csv would take into memory what has no end, a line or a quoted cell."""

    def __init__(self, stream: io.TextIOWrapper, path: str) -> None:
        self._stream, self._path = stream, path
        self._num_lines, self._row_start, self._row_characters = 0, 1, 0

    def begin_row(self) -> None:
        """What follows belongs to another row."""
        self._row_start, self._row_characters = self._num_lines + 1, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(_MAX_LINE_CHARACTERS)
        if not line:
            raise StopIteration
        self._num_lines += 1
        self._row_characters += len(line)
        if self._row_characters >= _MAX_LINE_CHARACTERS:
            fix = "Write one image a line, and end each line and each quote."
            raise _too_long(self._path, self._row_start, fix)
        return line


def _csv_rows(path: str, delimiter: str, columns: Sequence[str]) -> Iterator[Row]:
    lines = _csv_lines(path, delimiter)
    for number, cells in itertools.islice(lines, 1, None):
        fault = ""
        if len(cells) > len(columns):
            fault = f"{len(cells)} cells for {len(columns)} columns"
        values = {name: cell.strip() or None for name, cell in zip(columns, cells, strict=False)}
        yield Row(number, values, fault)


# --- JSONL -----------------------------------------------------------------------------------


def _open_jsonl(path: str) -> Table:
    for row in _jsonl_rows(path):
        if not row.fault:
            _require_few(tuple(row.values), path)
            return Table(tuple(row.values), lambda _: _jsonl_rows(path))
        raise DataError(
            f"{display_name(path)} has no JSON object in line {row.number}: {row.fault}.",
            'Write one object a line, such as {"path": "1.jpg", "class": "cats"}.',
        )
    raise _empty(path)


def _jsonl_rows(path: str) -> Iterator[Row]:
    with _opened_text(path) as stream:
        for number in itertools.count(1):
            line = stream.readline(_MAX_LINE_CHARACTERS)
            if not line:
                return
            if len(line) == _MAX_LINE_CHARACTERS:
                fix = "Write one object a line: jq -c '.[]' makes that of a JSON array."
                raise _too_long(path, number, fix)
            if line.strip():
                yield _jsonl_row(number, line)


def _jsonl_row(number: int, line: str) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Row(number, {}, f"no JSON ({error})")
    if not isinstance(value, dict):
        return Row(number, {}, "no JSON object")
    return _row(number, value)


def _row(number: int, cells: Mapping[str, Any]) -> Row:
    """Row of values of any type."""
    return Row(number, {name.strip(): _text(value) for name, value in cells.items()})


def _text(value: Any) -> str | None:
    """Text of a cell; what is no single value is taken as missing."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)  # tables with gaps: 3 is 3.0
    return str(value) if isinstance(value, int) else None


# --- Parquet ---------------------------------------------------------------------------------


def _open_parquet(path: str) -> Table:
    with opened(path) as stream, _named_damage(path):
        from slimworks.components.arrow import parquet

        schema = parquet.ParquetFile(stream).schema_arrow
    _require_few(schema.names, path)
    nested = frozenset(field.name for field in schema if not _is_value(field.type))

    def rows(wanted: Sequence[str]) -> Iterator[Row]:
        read = [name for name in wanted if name not in nested]
        missing = dict.fromkeys(nested.intersection(wanted))  # nobody's text, and of any size
        for number, cells in enumerate(_parquet_cells(path, read), 1):
            yield _row(number, {**cells, **missing})

    return Table(tuple(schema.names), rows, nested, "row")


def _parquet_cells(path: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    from slimworks.components.arrow import parquet

    with opened(path) as stream, _named_damage(path):
        # Texts stay as they are stored: each once, however many rows have it. A kilobyte can hold
        # thousands of rows of a megabyte each.
        file = parquet.ParquetFile(stream, read_dictionary=list(columns))
        for batch in file.iter_batches(_PARQUET_BATCH_ROWS, columns=list(columns)):
            num_rows = _rows_at_once(batch, path)
            for start in range(0, batch.num_rows, num_rows):
                yield from batch.slice(start, num_rows).to_pylist()


def _is_value(kind: Any) -> bool:
    """Whether a column holds a text, a number, a truth or a time in each row, and nothing else."""
    from slimworks.components.arrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return _is_text(kind) or types.is_null(kind) or types.is_primitive(kind)


def _is_text(kind: Any) -> bool:
    from slimworks.components.arrow import types

    return types.is_string(kind) or types.is_large_string(kind)


def _rows_at_once(batch: Any, path: str) -> int:
    """How many rows of a batch may be text in memory.

    Raises:
        DataError: A cell is longer than a line of a text file may be.
    """
    from slimworks.components.arrow import compute, types

    row_characters = 1
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        texts = column.dictionary if types.is_dictionary(column.type) else column
        if not _is_text(texts.type):
            continue  # of a few bytes: _is_value
        longest = compute.max(compute.utf8_length(texts)).as_py() or 0
        if longest >= _MAX_LINE_CHARACTERS:
            raise DataError(
                f"{display_name(path)} has a cell in column {display_name(name)!r} that is longer "
                "than a million characters.",
                "Write the path and the class of one image into each row.",
            )
        row_characters += longest
    return max(1, _BATCH_CHARACTERS // row_characters)


@contextlib.contextmanager
def _named_damage(path: str) -> Iterator[None]:
    from slimworks.components.arrow import pa

    try:
        yield
    # RuntimeError: an extension type that would have run code (components/arrow.py)
    except (pa.ArrowException, OSError, RuntimeError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; pyarrow's word for damaged data has no number
        cause = (str(error).splitlines() or ["it ends early"])[0].rstrip(".")
        raise DataError(
            f"{display_name(path)} cannot be read as Parquet: {cause}.",
            "Write or copy the file again: it is damaged, cut short, or something else.",
        ) from error
