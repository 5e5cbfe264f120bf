"""The predictions file: one row an image, the source of every metric, plot and gallery.

Columns by name, in this order:

    image_id, filename, group    string
    class_index                  int64, the true class
    predicted_index              int64, -1 where a probability is not finite
    probabilities                list<float32> by class index, as they are served
    logits                       list<float32> by class index, before any calibration
    width, height                int32, upright, in pixels; 0 unknown
    brightness, sharpness        float32; NaN unknown
    slice/<name>                 string or null, one column for each metadata column
    embedding                    list<float32>, where `evaluate.embeddings` is set

The file's own metadata hold, under the key `slimworks`, what the rows are of (`Facts`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimworks.components import contracts, files, formats
from slimworks.components.arrow import ipc, pa, parquet

FORMAT = 2
METADATA_KEY = b"slimworks"
EMBEDDING = "embedding"

# 1,024 rows of 1,000 classes are 8 MB: what a reader holds at a time.
ROWS_PER_GROUP = 1_024

_LIST = pa.list_(pa.float32())
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("filename", pa.string()),
        ("group", pa.string()),
        ("class_index", pa.int64()),
        ("predicted_index", pa.int64()),
        ("probabilities", _LIST),
        ("logits", _LIST),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("brightness", pa.float32()),
        ("sharpness", pa.float32()),
    ]
)
# Which metadata columns there are is known after the last example: until then, one map a row.
_SLICES = "slices"
_SLICE_MAP = pa.map_(pa.string(), pa.string())

Columns = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the rows of a predictions file are of.

    Attributes:
        split: "train", "eval" or "test".
        model_digest: `files.sha256_of_tree` of the SavedModel, as in the promotion ledger.
        transform_digest: Of how images are prepared: family, sizes, channels; None unknown.
        mode: "inference": batch norm by its moving averages, no dropout.
        examples_digest: Of the images' ids and classes in any order: equal for the same images
            with the same classes, however they are sharded.
        format: Of the file; 1: a file without facts.
    """

    split: str
    model_digest: str
    transform_digest: str | None
    mode: str = "inference"
    examples_digest: str = ""
    format: int = FORMAT


class Writer:
    """Collects tables of predictions in a spool file; `open_writer` makes the file of them.

    Args:
        spool: Open file that takes what does not fit in memory.
        with_embeddings: Whether the tables have the column `embedding`.
    """

    def __init__(self, spool: Any, with_embeddings: bool) -> None:
        fields = [*SCHEMA, pa.field(_SLICES, _SLICE_MAP)]
        if with_embeddings:
            fields.append(pa.field(EMBEDDING, _LIST))
        self._schema = pa.schema(fields)
        self._stream = ipc.new_stream(spool, self._schema)
        self._slice_names: set[str] = set()
        self._rows: list[str] = []

    @property
    def num_rows(self) -> int:
        """Rows written so far."""
        return len(self._rows)

    def write(self, columns: Columns, slices: Sequence[dict[str, str]]) -> None:
        """Appends N rows.

        Args:
            columns: Those of SCHEMA, and `embedding` where announced; lists as [N, K] matrices.
            slices: Metadata of each image by name.
        """
        arrays = {
            **{name: _array(values, self._schema.field(name)) for name, values in columns.items()},
            _SLICES: pa.array([sorted(row.items()) for row in slices], _SLICE_MAP),
        }
        self._stream.write_table(pa.table(arrays).select(self._schema.names))
        for row in slices:
            self._slice_names |= row.keys()
        self._rows += [
            f"{image_id} {class_index}\n"
            for image_id, class_index in zip(
                columns["image_id"], columns["class_index"], strict=True
            )
        ]

    def finish(self, spool: Any, target: Any, facts: Facts) -> None:
        """Writes the Parquet file of all rows into the open file `target`."""
        self._stream.close()
        spool.seek(0)
        digest = hashlib.sha256("".join(sorted(self._rows)).encode("utf-8")).hexdigest()
        facts = dataclasses.replace(facts, examples_digest=digest)
        schema = self._final_schema(facts)
        with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
            for table in _grouped(ipc.open_stream(spool)):
                writer.write_table(self._final(table, schema), row_group_size=ROWS_PER_GROUP)

    def _final_schema(self, facts: Facts) -> pa.Schema:
        fields = [field for field in self._schema if field.name not in (_SLICES, EMBEDDING)]
        fields += [
            pa.field(contracts.SLICE_PREFIX + name, pa.string())
            for name in sorted(self._slice_names)
        ]
        fields += [field for field in self._schema if field.name == EMBEDDING]
        return pa.schema(fields, {METADATA_KEY: json.dumps(dataclasses.asdict(facts))})

    def _final(self, table: pa.Table, schema: pa.Schema) -> pa.Table:
        slices = [dict(row) for row in table.column(_SLICES).to_pylist()]
        for name in sorted(self._slice_names):
            column = pa.array([row.get(name) for row in slices], pa.string())
            table = table.append_column(contracts.SLICE_PREFIX + name, column)
        return table.select(schema.names).cast(schema)


@contextlib.contextmanager
def open_writer(
    path: str | os.PathLike[str], facts: Facts, with_embeddings: bool = False
) -> Iterator[Writer]:
    """Yields a writer; `path` appears, complete, when the block succeeds."""
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as spool:
        writer = Writer(spool, with_embeddings)
        yield writer
        with files.replaced(path) as target:
            writer.finish(spool, target, facts)


def read_facts(path: str | os.PathLike[str]) -> Facts | None:
    """What the rows are of; None for a file of format 1, which does not say."""
    metadata = parquet.read_schema(str(path)).metadata or {}
    if METADATA_KEY not in metadata:
        return None
    value = files.parse_json(metadata[METADATA_KEY])
    formats.require(value.get("format", 1), FORMAT, path)
    known = {field.name for field in dataclasses.fields(Facts)}
    return Facts(**{key: value[key] for key in value if key in known})


def column_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the columns of a predictions file."""
    return list(parquet.read_schema(str(path)).names)


def read_row_groups(
    path: str | os.PathLike[str], columns: Sequence[str] | None = None
) -> Iterator[Columns]:
    """Yields the row groups of a predictions file as arrays.

    Texts come as [N] object, numbers as [N], lists as [N, K] float32.
    """
    with parquet.ParquetFile(str(path)) as source:
        names = None if columns is None else list(columns)
        for group in range(source.num_row_groups):
            yield arrays_of(source.read_row_group(group, columns=names))


def read_columns(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> Columns:
    """Columns of a whole file, as `read_row_groups` gives them.

    Without `columns`: all that slices are found by (`slices.find`).
    """
    if columns is None:
        columns = [
            name
            for name in column_names(path)
            if name in ("class_index", "width", "height", "brightness")
            or name.startswith(contracts.SLICE_PREFIX)
        ]
    return arrays_of(parquet.read_table(str(path), columns=list(columns), memory_map=False))


def arrays_of(table: pa.Table) -> Columns:
    """Arrays of a predictions table, lists of equal length as one matrix."""
    arrays = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if pa.types.is_list(column.type):
            values = column.flatten().to_numpy(zero_copy_only=False)
            width = len(values) // max(table.num_rows, 1)
            arrays[name] = values.reshape(table.num_rows, width)
        else:
            arrays[name] = column.to_numpy(zero_copy_only=False)
    return arrays


def lists_of(matrix: np.ndarray, value_type: pa.DataType) -> pa.Array:
    """Rows of a matrix [N, K] as lists of equal length."""
    rows, width = matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    values = pa.array(np.ascontiguousarray(matrix).ravel(), value_type)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _array(values: np.ndarray, field: pa.Field) -> pa.Array:
    if pa.types.is_list(field.type):
        return lists_of(values, field.type.value_type)
    return pa.array(values, field.type)


def _grouped(source: Any) -> Iterator[pa.Table]:
    pending: list[pa.RecordBatch] = []
    for batch in source:
        pending.append(batch)
        if sum(part.num_rows for part in pending) >= ROWS_PER_GROUP:
            yield pa.Table.from_batches(pending)
            pending = []
    if pending:
        yield pa.Table.from_batches(pending)
