"""The frozen graph: weights as constants, under TF-Slim's names, for any TF1 program."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from slimworks.components.export import graph_nodes
from slimworks.components.export.batch_norm import fold_batch_norm
from slimworks.components.export.batches import in_batches, softmax
from slimworks.components.export.inference_graph import (
    INPUT,
    InferenceGraph,
    build_inference_graph,
    checkpoint_values,
)
from slimworks.components.export.source import ExportSource


@dataclasses.dataclass(frozen=True)
class FrozenGraph:
    """A network with its weights as one GraphDef.

    Attributes:
        graph_def: Holds what `outputs` need and nothing else.
        input_shape: Of the placeholder `input`; the first dimension may be None.
        logits: Operation that gives the logits [N, K].
        predictions: Operation that gives the probabilities [N, K]; None: the network has none.
        temperature: That probabilities are calibrated with; logits are as the network gives them.
    """

    graph_def: tf.compat.v1.GraphDef
    input_shape: tuple[int | None, ...]
    logits: str
    predictions: str | None
    temperature: float = 1.0

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the output operations."""
        return (self.logits, self.predictions) if self.predictions else (self.logits,)


def freeze(
    source: ExportSource, *, batch_size: int | None = None, folds_batch_norm: bool = False
) -> FrozenGraph:
    """Builds the frozen graph of a checkpoint.

    Args:
        source: The network and its checkpoint.
        batch_size: First dimension of the placeholder `input`; None: any.
        folds_batch_norm: Multiplies batch norm into the convolutions before it: quicker where the
            reader does not do so itself; probabilities change by rounding.

    Raises:
        ConfigError: The checkpoint does not fit the network.
    """
    inference = build_inference_graph(source, batch_size)
    graph_def = _with_constants(inference, checkpoint_values(inference, source))
    if folds_batch_norm:
        graph_def = fold_batch_norm(graph_def, inference.outputs)
    if inference.predictions and source.temperature != 1.0:
        graph_def = _calibrated(graph_def, inference.predictions, source.temperature)
    shape = (batch_size, source.image_size, source.image_size, source.num_channels)
    return FrozenGraph(
        graph_def, shape, inference.logits, inference.predictions, source.temperature
    )


def frozen_probabilities(frozen: FrozenGraph, pixels: np.ndarray) -> np.ndarray:
    """Runs a frozen graph in a TF1 session. pixels: float32 [N, S, S, C] -> float32 [N, K]."""
    graph = graph_nodes.graph_of(frozen.graph_def)
    fetch = f"{frozen.predictions or frozen.logits}:0"
    with tf.compat.v1.Session(graph=graph) as session:

        def run(batch: np.ndarray) -> np.ndarray:
            values: np.ndarray = session.run(fetch, {f"{INPUT}:0": batch})
            return values if frozen.predictions else softmax(values, frozen.temperature)

        return in_batches(pixels, run, frozen.input_shape[0])


class FrozenNetwork(tf.Module):
    """A frozen graph as a function, which converters to other formats start from.

    Attributes:
        network: input float32 [N, S, S, C] -> {"logits", "probabilities"}, float32 [N, K] each.
    """

    def __init__(self, frozen: FrozenGraph) -> None:
        super().__init__(name="frozen_network")
        spec = tf.TensorSpec(frozen.input_shape, tf.float32, name=INPUT)

        def network(input: tf.Tensor) -> dict[str, tf.Tensor]:  # noqa: A002 - the public name
            outputs = tf.graph_util.import_graph_def(
                frozen.graph_def,
                input_map={f"{INPUT}:0": input},
                return_elements=[f"{name}:0" for name in frozen.outputs],
            )
            logits = outputs[0]
            probabilities = (
                outputs[1] if frozen.predictions else tf.nn.softmax(logits / frozen.temperature)
            )
            return {"logits": logits, "probabilities": probabilities}

        self.network = tf.function(network, input_signature=[spec], autograph=False)


def _with_constants(
    inference: InferenceGraph, values: Mapping[str, np.ndarray]
) -> tf.compat.v1.GraphDef:
    graph = inference.graph
    with graph.as_default():
        # Without attributes at their defaults, so that older TensorFlows know all that are left.
        meta_graph = tf.compat.v1.train.export_meta_graph(graph=graph, strip_default_attrs=True)
    graph_def = meta_graph.graph_def
    needed = graph_nodes.names_behind(graph, inference.outputs)
    nodes = [
        graph_nodes.constant(node.name, values[node.name])
        if node.name in values
        else _unplaced(node)
        for node in graph_def.node
        if node.name in needed
    ]
    return tf.compat.v1.GraphDef(node=nodes, versions=graph_def.versions)


def _calibrated(
    graph_def: tf.compat.v1.GraphDef, predictions: str, temperature: float
) -> tf.compat.v1.GraphDef:
    """Divides what the softmax of the predictions reads; operations keep their names."""
    needed = graph_nodes.names_behind(graph_nodes.graph_of(graph_def), [predictions])
    (softmax_node,) = (n for n in graph_def.node if n.op == "Softmax" and n.name in needed)
    value, scaled = "temperature", "calibrated_logits"
    division = tf.compat.v1.NodeDef(name=scaled, op="RealDiv", input=[softmax_node.input[0], value])
    division.attr["T"].type = tf.float32.as_datatype_enum
    softmax_node.input[0] = scaled
    added = [graph_nodes.constant(value, np.array(temperature, np.float32)), division]
    return tf.compat.v1.GraphDef(node=[*graph_def.node, *added], versions=graph_def.versions)


def _unplaced(node: tf.compat.v1.NodeDef) -> tf.compat.v1.NodeDef:
    node.attr.pop("_class", None)  # asks to sit beside nodes that may be left behind
    return node
