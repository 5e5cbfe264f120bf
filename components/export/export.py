"""Writes each kind of export, compares it with its checkpoint, and only then gives it its name."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import slimworks
from slimworks.components import contracts, files
from slimworks.components.export import onnx_model, parity, tflite_model
from slimworks.components.export.batches import answers_in_batches
from slimworks.components.export.frozen_graph import freeze, frozen_probabilities
from slimworks.components.export.images import ComparisonImages
from slimworks.components.export.inference_graph import (
    INPUT,
    build_inference_graph,
    checkpoint_probabilities,
)
from slimworks.components.export.outputs import check_new_file
from slimworks.components.export.parity import Parity
from slimworks.components.export.served_model import ServedModel, write_saved_model
from slimworks.components.export.source import ExportSource
from slimworks.components.export.weights import restore_weights
from slimworks.components.nets.module import SlimModule

StrPath = str | os.PathLike[str]

_log = logging.getLogger(__name__)


def export_saved_model(
    source: ExportSource, output: StrPath, images: ComparisonImages, top_k: int | None = None
) -> dict[str, Any]:
    """Writes a checkpoint's SavedModel with all signatures.

    Args:
        source: The network and its checkpoint.
        output: New folder.
        images: What it is compared on.
        top_k: Classes in an answer; None: the usual number.

    Returns:
        The model's facts with the rows of the parity table, as in its assets.extra/model.json.

    Raises:
        ConfigError: The checkpoint does not fit.
        ServingError: The export differs from the checkpoint; nothing is left behind.
        FileExistsError: `output` exists.
    """
    module = _restored(source)
    reference = checkpoint_probabilities(source, images.pixels(source))
    with files.new_folder(output) as folder:
        served = ServedModel(
            module,
            source.images_to_pixels,
            tf.identity,
            source.class_names,
            top_k=top_k,
            min_probability=0.0,
            image_size=source.image_size,
            num_channels=source.num_channels,
        )
        write_saved_model(served, str(folder))
        rows = saved_model_parity(folder, source, images, reference)
        facts = _facts(source, "saved_model", rows)
        extra = folder / contracts.EXTRA_ASSETS_FOLDER
        contracts.LabelMap(source.class_names).write(extra)
        files.write_json(extra / contracts.MODEL_FACTS_FILE, facts)
    _log.info("wrote the SavedModel %s", output)
    return facts


def copy_saved_model(
    model: StrPath, source: ExportSource, output: StrPath, images: ComparisonImages
) -> dict[str, Any]:
    """Writes the SavedModel of a model trained by us to a folder of its own.

    Raises:
        ServingError: It differs from the model's checkpoint; nothing is left behind.
        FileExistsError: `output` exists.
    """
    reference = checkpoint_probabilities(source, images.pixels(source))
    with files.new_folder(output) as folder:
        shutil.copytree(Path(model) / contracts.SAVED_MODEL_FOLDER, folder, dirs_exist_ok=True)
        rows = saved_model_parity(folder, source, images, reference)
    _log.info("wrote the SavedModel %s", output)
    return _facts(source, "saved_model", rows)


def export_frozen_graph(
    source: ExportSource,
    output: StrPath,
    images: ComparisonImages,
    *,
    batch_size: int | None = None,
    folds_batch_norm: bool = False,
) -> dict[str, Any]:
    """Writes a frozen GraphDef under TF-Slim's names; see `frozen_graph.freeze`.

    Raises:
        ConfigError: The checkpoint does not fit, or `output` exists.
        ServingError: The export differs from the checkpoint; nothing is written.
    """
    check_new_file(output)
    pixels = images.pixels(source)
    frozen = freeze(source, batch_size=batch_size, folds_batch_norm=folds_batch_norm)
    content = frozen.graph_def.SerializeToString(deterministic=True)
    row = parity.compare(
        "frozen graph",
        frozen_probabilities(frozen, pixels),
        checkpoint_probabilities(source, pixels),
        images.names,
    )
    _write(output, content, [row])
    return _facts(source, "frozen_graph", [row], outputs=list(frozen.outputs))


def export_tflite(
    source: ExportSource, output: StrPath, images: ComparisonImages, batch_size: int = 1
) -> dict[str, Any]:
    """Writes a TensorFlow Lite model in float32.

    Raises:
        ConfigError: The checkpoint does not fit, or `output` exists.
        ServingError: The export differs from the checkpoint; nothing is written.
    """
    check_new_file(output)
    pixels = images.pixels(source)
    content = tflite_model.to_tflite(freeze(source, batch_size=batch_size))
    row = parity.compare(
        "TensorFlow Lite",
        tflite_model.tflite_probabilities(content, pixels, batch_size),
        checkpoint_probabilities(source, pixels),
        images.names,
        bound=parity.TFLITE_BOUND,
    )
    _write(output, content, [row])
    return _facts(source, "tflite", [row], outputs=["logits", "probabilities"])


def export_onnx(
    source: ExportSource,
    output: StrPath,
    images: ComparisonImages,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Writes an ONNX model in float32.

    Raises:
        ConfigError: A package is missing, the checkpoint does not fit, or `output` exists.
        ServingError: The export differs from the checkpoint; nothing is written.
    """
    check_new_file(output)
    onnx_model.check_installed()
    pixels = images.pixels(source)
    content = onnx_model.to_onnx(freeze(source, batch_size=batch_size))
    row = parity.compare(
        "ONNX",
        onnx_model.onnx_probabilities(content, pixels, batch_size),
        checkpoint_probabilities(source, pixels),
        images.names,
    )
    _write(output, content, [row])
    return _facts(source, "onnx", [row], outputs=["logits", "probabilities"])


def saved_model_parity(
    folder: StrPath, source: ExportSource, images: ComparisonImages, reference: np.ndarray
) -> list[Parity]:
    """Compares each signature of a SavedModel that gives probabilities, in small batches.

    Args:
        folder: The SavedModel.
        source: What it was made from.
        images: Fed as encoded images, as tf.Examples and as pixels.
        reference: The checkpoint's probabilities [N, K].

    Raises:
        ServingError: A signature is outside the bound.
    """
    signatures = tf.saved_model.load(str(folder)).signatures
    encoded = np.array(images.encoded, object)
    examples = np.array([_example(image) for image in images.encoded], object)
    served = _answers(signatures[contracts.SIGNATURE_SERVE], "images", encoded)
    by_pixels = _answers(signatures[contracts.SIGNATURE_PIXELS], "pixels", images.pixels(source))
    classified = _answers(signatures[contracts.SIGNATURE_CLASSIFY], "inputs", examples)
    evaluated = _answers(signatures[contracts.SIGNATURE_EVALUATE], "images", encoded)
    answers = [
        (contracts.SIGNATURE_SERVE, served["probabilities"], served["class_index"]),
        (contracts.SIGNATURE_PIXELS, by_pixels["probabilities"], by_pixels["class_index"]),
        (contracts.SIGNATURE_CLASSIFY, classified["scores"], served["class_index"]),
        (contracts.SIGNATURE_EVALUATE, evaluated["probabilities"], None),
    ]
    rows = [
        parity.compare(f"SavedModel {name}", values, reference, images.names, class_index=index)
        for name, values, index in answers
    ]
    parity.check(rows)
    return rows


def _answers(
    signature: Callable[..., Mapping[str, tf.Tensor]], argument: str, inputs: np.ndarray
) -> dict[str, np.ndarray]:
    """Runs a signature on [N, ...], a few images at a time: 32 at once need gigabytes."""

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        answers = signature(**{argument: tf.constant(batch)})
        return {name: tensor.numpy() for name, tensor in answers.items()}

    return answers_in_batches(inputs, run)


def _example(encoded: bytes) -> bytes:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
    example = tf.train.Example(
        features=tf.train.Features(feature={contracts.IMAGE_ENCODED: feature})
    )
    content: bytes = example.SerializeToString()
    return content


def _restored(source: ExportSource) -> SlimModule:
    """The network with the checkpoint's values, but for auxiliary heads that nothing reads."""
    module = SlimModule(
        source.spec,
        num_classes=source.num_classes,
        image_size=source.image_size,
        num_channels=source.num_channels,
    )
    needed = build_inference_graph(source).variables
    restore_weights({name: module.variables_by_name[name] for name in needed}, source)
    return module


def _facts(
    source: ExportSource,
    format_name: str,
    rows: Sequence[Parity],
    outputs: Sequence[str] | None = None,
) -> dict[str, Any]:
    names = {} if outputs is None else {"input": INPUT, "outputs": list(outputs)}
    return {
        "slimworks": slimworks.__version__,
        **source.facts(),
        "format": format_name,
        **names,
        "parity": [row.facts() for row in rows],
    }


def _write(output: StrPath, content: bytes, rows: Sequence[Parity]) -> None:
    parity.check(rows)
    check_new_file(output)  # again: an export takes minutes, and somebody may have written it
    files.write_bytes(output, content)
    _log.info("wrote %s, %d bytes", output, len(content))
