"""Runs an exported model over one split and writes the predictions file."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.evaluator import metrics
from slimworks.components.examples import reading

_LOGGER = logging.getLogger(__name__)

# 1,024 rows of 1,000 classes are 8 MB: what a reader holds at a time.
ROWS_PER_GROUP = 1_024

SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("filename", pa.string()),
        ("group", pa.string()),
        ("class_index", pa.int64()),
        ("predicted_index", pa.int64()),
        ("probabilities", pa.list_(pa.float32())),
        ("logits", pa.list_(pa.float32())),
    ]
)

Columns = dict[str, np.ndarray]
Example = dict[str, Any]  # values by feature key
# N encoded images -> (logits, probabilities), both [N, C] float32
Model = Callable[[list[bytes]], tuple[np.ndarray, np.ndarray]]


def predict_split(
    saved_model_dir: str | os.PathLike[str],
    examples_dir: str | os.PathLike[str],
    split: str,
    output_path: str | os.PathLike[str],
    batch_size: int,
) -> int:
    """Predicts every example of a split exactly once, in shard order.

    Writes one row per example with the columns `contracts.PREDICTION_COLUMNS`, in row groups;
    `output_path` appears only when it is complete. A row with a probability that is NaN or
    infinite gets the predicted_index -1.

    Returns:
        Number of rows.

    Raises:
        DataError: No shard or a damaged one, no `evaluate` signature, an image that the model
            cannot decode, or outputs of another shape than [N, C].
    """
    batches = _read_batches(examples_dir, split, batch_size)
    model = load_model(saved_model_dir)
    num_rows = 0
    with _new_parquet(Path(output_path)) as writer:
        for table in _grouped(_predict(model, batch, saved_model_dir) for batch in batches):
            writer.write_table(table, row_group_size=ROWS_PER_GROUP)
            num_rows += table.num_rows
    _LOGGER.info("predicted %d examples of split %s: %s", num_rows, split, output_path)
    return num_rows


def load_model(saved_model_dir: str | os.PathLike[str]) -> Model:
    """Loads a SavedModel and returns its `evaluate` signature over numpy arrays.

    Raises:
        DataError: There is no SavedModel, or it has no such signature.
    """
    import tensorflow as tf

    if not (Path(saved_model_dir) / "saved_model.pb").is_file():
        raise DataError(
            f"{saved_model_dir} holds no SavedModel.",
            "Give a model folder written by `slimworks train`.",
        )
    loaded = tf.saved_model.load(str(saved_model_dir))
    if contracts.SIGNATURE_EVALUATE not in loaded.signatures:
        raise DataError(
            f"{saved_model_dir} has no signature {contracts.SIGNATURE_EVALUATE!r} "
            f"(it has: {', '.join(sorted(loaded.signatures)) or 'none'}).",
            "Train the model again: slimworks train, or slimworks run --no-cache=trainer.",
        )

    def run(images: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        # By way of `loaded`: a signature alone does not keep the variables alive.
        signature = loaded.signatures[contracts.SIGNATURE_EVALUATE]
        outputs = signature(images=tf.constant(images, tf.string))
        return outputs["logits"].numpy(), outputs["probabilities"].numpy()

    return run


def read_row_groups(
    predictions_path: str | os.PathLike[str], columns: list[str] | None = None
) -> Iterator[Columns]:
    """Yields the row groups of a predictions file as arrays.

    Texts come as [N] object, indices as [N] int64, probabilities and logits as [N, C] float32.
    """
    with parquet.ParquetFile(str(predictions_path)) as source:
        for group in range(source.num_row_groups):
            yield arrays_of(source.read_row_group(group, columns=columns))


def arrays_of(table: pa.Table) -> Columns:
    """Arrays of a predictions table, lists of equal length as one matrix."""
    arrays = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if pa.types.is_list(column.type):
            values = column.flatten().to_numpy(zero_copy_only=False)
            arrays[name] = values.reshape(table.num_rows, -1)
        else:
            arrays[name] = column.to_numpy(zero_copy_only=False)
    return arrays


def lists_of(matrix: np.ndarray, value_type: pa.DataType) -> pa.Array:
    """Rows of a matrix [N, K] as lists of equal length."""
    rows, width = matrix.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    values = pa.array(np.ascontiguousarray(matrix).ravel(), value_type)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _read_batches(
    examples_dir: str | os.PathLike[str], split: str, batch_size: int
) -> Iterator[list[Example]]:
    examples = reading.iterate_examples(examples_dir, split)
    while batch := list(itertools.islice(examples, batch_size)):
        yield batch


def _predict(
    model: Model, batch: Sequence[Example], saved_model_dir: str | os.PathLike[str]
) -> pa.Table:
    logits, probabilities = _call(model, batch, saved_model_dir)
    for name, value in (("logits", logits), ("probabilities", probabilities)):
        if value.ndim != 2 or len(value) != len(batch):
            raise DataError(
                f"Output {name} of {saved_model_dir} has shape {list(value.shape)} for "
                f"{len(batch)} images, expected [N, C].",
                "Train the model again: slimworks train, or slimworks run --no-cache=trainer.",
            )
    columns = [
        _texts(batch, contracts.IMAGE_ID),
        _texts(batch, contracts.IMAGE_FILENAME),
        _texts(batch, contracts.IMAGE_GROUP),
        pa.array([example[contracts.CLASS_INDEX] for example in batch], pa.int64()),
        pa.array(metrics.predicted_indices(probabilities), pa.int64()),
        lists_of(probabilities, pa.float32()),
        lists_of(logits, pa.float32()),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _call(
    model: Model, batch: Sequence[Example], saved_model_dir: str | os.PathLike[str]
) -> tuple[np.ndarray, np.ndarray]:
    import tensorflow as tf

    try:
        return model([example[contracts.IMAGE_ENCODED] for example in batch])
    except tf.errors.InvalidArgumentError as error:
        for example in batch:
            try:
                model([example[contracts.IMAGE_ENCODED]])
            except tf.errors.InvalidArgumentError:
                raise DataError(
                    f"{_text(example, contracts.IMAGE_FILENAME)} cannot be read by the model "
                    f"{saved_model_dir}: {str(error.message).splitlines()[0]}.",
                    "Run `slimworks ingest` again, or train with this version of SlimWorks.",
                ) from error
        raise


def _text(example: Example, key: str) -> str:
    return bytes(example.get(key, b"")).decode("utf-8")


def _texts(batch: Sequence[Example], key: str) -> pa.Array:
    return pa.array([_text(example, key) for example in batch], pa.string())


def _grouped(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    pending: list[pa.Table] = []
    for table in tables:
        pending.append(table)
        if sum(part.num_rows for part in pending) >= ROWS_PER_GROUP:
            yield pa.concat_tables(pending)
            pending = []
    if pending:
        yield pa.concat_tables(pending)


@contextlib.contextmanager
def _new_parquet(path: Path) -> Iterator[parquet.ParquetWriter]:
    """Writer to a temporary name that becomes `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with (
            os.fdopen(descriptor, "wb") as stream,
            parquet.ParquetWriter(stream, SCHEMA, compression="zstd") as writer,
        ):
            yield writer
            writer.close()
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    files.fsync_folder(path.parent)
