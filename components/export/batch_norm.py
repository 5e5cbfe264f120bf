"""Folding batch norm into the convolution before it: the same function in fewer operations."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from slimworks.components.export import graph_nodes

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


@dataclasses.dataclass(frozen=True)
class _Folded:
    """New values for one convolution: its weights, and the offset added to its output."""

    convolution: str
    weights: np.ndarray
    offset: np.ndarray


def fold_batch_norm(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """Replaces each batch norm that follows a convolution by a sum of constants.

    Batch norms after other operations (ResNet v2 has them) stay. Operations keep their names: the
    one that was a batch norm is a BiasAdd then.

    Args:
        graph_def: A frozen graph.
        outputs: Names of the operations to keep, with all they depend on.
    """
    folded = _fold(graph_nodes.graph_of(graph_def))
    weights_of = {item.convolution: norm for norm, item in folded.items()}
    nodes = []
    for node in graph_def.node:
        if node.name in folded:
            nodes += _sum_of(node, folded[node.name])
        elif node.name in weights_of:
            weights = folded[weights_of[node.name]].weights
            nodes.append(graph_nodes.constant(f"{node.name}/folded_weights", weights))
            replaced = tf.compat.v1.NodeDef()
            replaced.CopyFrom(node)
            replaced.input[1] = f"{node.name}/folded_weights"
            nodes.append(replaced)
        else:
            nodes.append(node)
    return graph_nodes.pruned(nodes, graph_def, outputs)


def _fold(graph: tf.Graph) -> dict[str, _Folded]:
    """New values by the name of the batch norm."""
    operations = graph.get_operations()
    num_readers = Counter(tensor.name for op in operations for tensor in op.inputs)
    norms = [
        op
        for op in operations
        if op.type in _NORMS
        and not op.get_attr("is_training")
        and op.inputs[0].op.type in _CONVOLUTIONS
        and num_readers[op.inputs[0].name] == 1
    ]
    if not norms:
        return {}
    with tf.compat.v1.Session(graph=graph) as session:
        # Weights, then scale, offset, mean and variance: they depend on constants only.
        values = session.run([[op.inputs[0].op.inputs[1], *op.inputs[1:5]] for op in norms])
    return {
        op.name: _new_values(op.inputs[0].op, op.get_attr("epsilon"), *value)
        for op, value in zip(norms, values, strict=True)
    }


def _new_values(
    convolution: tf.Operation,
    epsilon: float,
    weights: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> _Folded:
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    # [H, W, C, M] of a depthwise convolution: its output channel is C * M + m.
    is_depthwise = convolution.type == "DepthwiseConv2dNative"
    per_weight = factor.reshape(weights.shape[2:]) if is_depthwise else factor
    return _Folded(
        convolution.name,
        (weights * per_weight).astype(np.float32),
        (offset - mean * factor).astype(np.float32),
    )


def _sum_of(norm: tf.compat.v1.NodeDef, folded: _Folded) -> list[tf.compat.v1.NodeDef]:
    name = f"{norm.name}/folded_offset"
    node = tf.compat.v1.NodeDef(name=norm.name, op="BiasAdd", input=[norm.input[0], name])
    node.attr["T"].type = tf.float32.as_datatype_enum
    if "data_format" in norm.attr:
        node.attr["data_format"].CopyFrom(norm.attr["data_format"])
    return [graph_nodes.constant(name, folded.offset), node]
