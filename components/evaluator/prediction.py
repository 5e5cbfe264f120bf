"""Runs an exported model over one split and writes the predictions file."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.evaluator import predictions_file, scores
from slimworks.components.evaluator.predictions_file import EMBEDDING
from slimworks.components.examples import reading

_LOGGER = logging.getLogger(__name__)

# While one batch is in the network, which uses every core, the images of the next are decoded,
# which uses one.
CONCURRENT_CALLS = 2

_TRAIN_AGAIN = "Train the model again: slimworks train, or slimworks run --no-cache=trainer."
# What decides how an image becomes the network's input.
_PREPARATION_KEYS = ("preprocessing", "stored_size", "image_size", "num_channels")

Example = dict[str, Any]  # values by feature key
Outputs = dict[str, np.ndarray]
# N encoded images -> logits, probabilities [N, C] float32, and embedding [N, D] where asked for
Model = Callable[[list[bytes]], Outputs]


def predict_split(
    saved_model_dir: str | os.PathLike[str],
    examples_dir: str | os.PathLike[str],
    split: str,
    output_path: str | os.PathLike[str],
    batch_size: int,
    embeddings: bool = False,
    model: Model | None = None,
) -> int:
    """Predicts every example of a split exactly once, in shard order.

    Writes one row per example (see `predictions_file`); `output_path` appears only when it is
    complete. A row with a probability that is NaN or infinite gets the predicted_index -1.

    Args:
        saved_model_dir: SavedModel with an `evaluate` signature.
        examples_dir: Examples artifact with the original encoded images.
        split: "train", "eval" or "test".
        output_path: The predictions file.
        batch_size: Images in one call; the last batch is smaller.
        embeddings: Keep each image's embedding as well.
        model: The SavedModel as `load_model` gives it, where it is loaded already.

    Returns:
        Number of rows.

    Raises:
        DataError: No shard or a damaged one, no `evaluate` signature, an image that the model
            cannot decode, or outputs of another shape than [N, C].
    """
    batches = read_batches(examples_dir, split, batch_size)
    model = model or load_model(saved_model_dir, embeddings)
    facts = predictions_file.Facts(
        split=split,
        model_digest=files.sha256_of_tree(saved_model_dir),
        transform_digest=_transform_digest(Path(saved_model_dir).parent),
    )
    with predictions_file.open_writer(output_path, facts, embeddings) as writer:
        with contextlib.closing(outputs_of(model, batches, saved_model_dir)) as answered:
            for batch, outputs in answered:
                writer.write(_columns(batch, outputs), [_slices(example) for example in batch])
        num_rows = writer.num_rows
    _LOGGER.info("predicted %d examples of split %s: %s", num_rows, split, output_path)
    return num_rows


def load_model(saved_model_dir: str | os.PathLike[str], embeddings: bool = False) -> Model:
    """Loads a SavedModel and returns its `evaluate` signature over numpy arrays.

    Raises:
        DataError: There is no SavedModel, it has no such signature, or no embedding.
    """
    import tensorflow as tf

    if not (Path(saved_model_dir) / "saved_model.pb").is_file():
        raise DataError(
            f"{saved_model_dir} holds no SavedModel.",
            "Give a model folder written by `slimworks train`.",
        )
    try:
        loaded = tf.saved_model.load(str(saved_model_dir))
    # Damaged, or half of it is missing; TensorFlow's reader of weights says so as IndexError.
    except (OSError, IndexError, tf.errors.OpError) as error:
        problem = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"{saved_model_dir} cannot be loaded: {problem}.", _TRAIN_AGAIN) from error
    if contracts.SIGNATURE_EVALUATE not in loaded.signatures:
        raise DataError(
            f"{saved_model_dir} has no signature {contracts.SIGNATURE_EVALUATE!r} "
            f"(it has: {', '.join(sorted(loaded.signatures)) or 'none'}).",
            _TRAIN_AGAIN,
        )
    names = ["logits", "probabilities", *([EMBEDDING] if embeddings else [])]
    missing = set(names) - set(loaded.signatures[contracts.SIGNATURE_EVALUATE].structured_outputs)
    if missing:
        raise DataError(
            f"The signature {contracts.SIGNATURE_EVALUATE!r} of {saved_model_dir} does not give "
            f"{', '.join(sorted(missing))}.",
            _TRAIN_AGAIN
            if missing != {EMBEDDING}
            else f"{_TRAIN_AGAIN} Or leave evaluate.embeddings out.",
        )

    def run(images: list[bytes]) -> Outputs:
        # By way of `loaded`: a signature alone does not keep the variables alive.
        signature = loaded.signatures[contracts.SIGNATURE_EVALUATE]
        outputs = signature(images=tf.constant(images, tf.string))
        return {name: outputs[name].numpy() for name in names}

    return run


def read_batches(
    examples_dir: str | os.PathLike[str], split: str, batch_size: int
) -> Iterator[list[Example]]:
    """Yields the examples of a split in shard order, `batch_size` at a time."""
    examples = reading.iterate_examples(examples_dir, split)
    while batch := list(itertools.islice(examples, batch_size)):
        yield batch


def outputs_of(
    model: Model, batches: Iterable[list[Example]], saved_model_dir: str | os.PathLike[str]
) -> Generator[tuple[list[Example], Outputs], None, None]:
    """Yields each batch with the model's outputs, in order.

    Up to CONCURRENT_CALLS batches are in the model and one is being read while the caller works.

    Raises:
        DataError: An image that the model cannot decode, or outputs of another shape.
    """
    pending: collections.deque[tuple[list[Example], Future[Outputs]]] = collections.deque()
    pool = ThreadPoolExecutor(CONCURRENT_CALLS)
    try:
        for batch in batches:
            pending.append((batch, pool.submit(_call, model, batch, saved_model_dir)))
            if len(pending) > CONCURRENT_CALLS:
                first, outputs = pending.popleft()
                yield first, outputs.result()
        while pending:
            first, outputs = pending.popleft()
            yield first, outputs.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _call(
    model: Model, batch: Sequence[Example], saved_model_dir: str | os.PathLike[str]
) -> Outputs:
    import tensorflow as tf

    try:
        outputs = model([example[contracts.IMAGE_ENCODED] for example in batch])
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
    for name, value in outputs.items():
        if value.ndim != 2 or len(value) != len(batch):
            raise DataError(
                f"Output {name} of {saved_model_dir} has shape {list(value.shape)} for "
                f"{len(batch)} images, expected [N, C].",
                _TRAIN_AGAIN,
            )
    return outputs


def _columns(batch: Sequence[Example], outputs: Mapping[str, np.ndarray]) -> Outputs:
    return {
        "image_id": _texts(batch, contracts.IMAGE_ID),
        "filename": _texts(batch, contracts.IMAGE_FILENAME),
        "group": _texts(batch, contracts.IMAGE_GROUP),
        "class_index": np.array([example[contracts.CLASS_INDEX] for example in batch], np.int64),
        "predicted_index": scores.predicted_indices(outputs["probabilities"]),
        "width": _numbers(batch, contracts.IMAGE_WIDTH, 0, np.int32),
        "height": _numbers(batch, contracts.IMAGE_HEIGHT, 0, np.int32),
        "brightness": _numbers(batch, contracts.IMAGE_BRIGHTNESS, np.nan, np.float32),
        "sharpness": _numbers(batch, contracts.IMAGE_SHARPNESS, np.nan, np.float32),
        **outputs,
    }


def _slices(example: Example) -> dict[str, str]:
    return {
        key.removeprefix(contracts.SLICE_PREFIX): _text(example, key)
        for key in example
        if key.startswith(contracts.SLICE_PREFIX)
    }


def _text(example: Example, key: str) -> str:
    return bytes(example.get(key, b"")).decode("utf-8")


def _texts(batch: Sequence[Example], key: str) -> np.ndarray:
    return np.array([_text(example, key) for example in batch], object)


def _numbers(batch: Sequence[Example], key: str, unknown: float, dtype: Any) -> np.ndarray:
    return np.array([example.get(key, unknown) for example in batch], dtype)


def _transform_digest(model_dir: Path) -> str | None:
    path = model_dir / contracts.MODEL_FACTS_FILE
    facts = files.read_json(path) if path.is_file() else {}
    preparation = {key: facts[key] for key in _PREPARATION_KEYS if key in facts}
    if not preparation:
        return None
    return hashlib.sha256(json.dumps(preparation, sort_keys=True).encode("utf-8")).hexdigest()
