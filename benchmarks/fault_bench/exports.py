"""Exports the healthy model once more, with a fault."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from fault_bench.healthy import Healthy, copy_model

from slimworks.components import contracts
from slimworks.components.export.served_model import (
    Network,
    ServedModel,
    inference_network,
    write_saved_model,
)
from slimworks.components.export.source import from_model
from slimworks.components.nets.module import SlimModule
from slimworks.components.preprocessing.families import get_preprocessing
from slimworks.components.transform.attach import decode_with_transform_graph

Weights = dict[str, np.ndarray]
Pixels = Callable[[tf.Tensor], tf.Tensor]


def export(
    healthy: Healthy,
    output: Path,
    *,
    weights: Callable[[Weights], Weights] = lambda weights: weights,
    weights_of: Path | None = None,
    before: Pixels = lambda stored: stored,
    after: Pixels = lambda pixels: pixels,
    image_size: int | None = None,
    noise: float = 0.0,
) -> Path:
    """A model folder whose SavedModel differs from what was trained.

    Args:
        healthy: The run.
        output: The new model folder.
        weights: Changes the values by variable name.
        weights_of: Model whose weights are taken.
        before: Changes stored images uint8 [N, S, S, C], before preprocessing.
        after: Changes the network's input, after preprocessing.
        image_size: Of the network's input.
        noise: Spread of what is added to the logits, anew at each request.
    """
    model = copy_model(healthy, output)
    source = from_model(model)
    size = image_size or source.image_size
    module = SlimModule(source.spec, source.num_classes, size, source.num_channels)
    assign(module, weights(read_weights(weights_of or model)))
    family = get_preprocessing(source.preprocessing)
    served = ServedModel(
        module,
        decode_with_transform_graph(str(healthy.graph)),
        lambda stored: after(family.for_eval(before(stored), size)),
        source.class_names,
        top_k=None,
        min_probability=0.0,
        image_size=size,
        num_channels=source.num_channels,
        network=_noisy(inference_network(module), noise) if noise else None,
    )
    folder = model / contracts.SAVED_MODEL_FOLDER
    shutil.rmtree(folder)
    write_saved_model(served, str(folder))
    return model


def read_weights(model: Path) -> Weights:
    """All variables of a model's checkpoint."""
    reader: Any = tf.train.load_checkpoint(str(model / contracts.CHECKPOINTS_FOLDER))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assign(module: SlimModule, weights: Weights) -> None:
    """Gives a network its values."""
    for name, variable in module.variables_by_name.items():
        variable.assign(weights[name])


def with_classes_moved(order: list[int]) -> Callable[[Weights], Weights]:
    """Weights whose head answers class order[i] in place i."""

    def move(weights: Weights) -> Weights:
        head = [name for name in weights if "/Logits/" in name]
        return {**weights, **{name: weights[name][..., order] for name in head}}

    return move


def with_stale_moving_averages(weights: Weights) -> Weights:
    """Weights whose moving averages are those of the first step."""
    stale = {
        name: np.zeros_like(value) if name.endswith("moving_mean") else np.ones_like(value)
        for name, value in weights.items()
        if name.endswith(("moving_mean", "moving_variance"))
    }
    return {**weights, **stale}


def with_nan(weights: Weights) -> Weights:
    """Weights with one value that is no number, in the head (ReLU6 swallows it elsewhere)."""
    (name,) = [name for name in weights if "/Logits/" in name and name.endswith("/biases")]
    damaged = weights[name].copy()
    damaged.flat[0] = np.nan
    return {**weights, name: damaged}


def _noisy(network: Network, noise: float) -> Network:
    """Dropout that was left on, or a kernel that races."""

    def run(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = network(pixels)
        added = tf.random.normal(tf.shape(outputs["logits"]), stddev=noise)
        return {**outputs, "logits": outputs["logits"] + added}

    return tf.function(run, autograph=False)
