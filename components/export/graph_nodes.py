"""Editing a GraphDef: constants in, unneeded nodes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from slimworks.components.nets.layout import operations_behind


def constant(name: str, value: np.ndarray) -> tf.compat.v1.NodeDef:
    """Returns a constant node of the value's shape and dtype."""
    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return node


def graph_of(graph_def: tf.compat.v1.GraphDef) -> tf.Graph:
    """Returns the graph that a GraphDef describes, with attributes at their defaults filled in."""
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
    return graph


def names_behind(graph: tf.Graph, outputs: Sequence[str]) -> set[str]:
    """Names of the operations that the operations `outputs` depend on, themselves included."""
    return set(operations_behind([graph.get_tensor_by_name(f"{name}:0") for name in outputs]))


def pruned(
    nodes: Iterable[tf.compat.v1.NodeDef], like: tf.compat.v1.GraphDef, outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """Returns a GraphDef of the nodes that `outputs` need, with the versions of `like`."""
    graph_def = tf.compat.v1.GraphDef(node=nodes, versions=like.versions)
    needed = names_behind(graph_of(graph_def), outputs)
    kept = [node for node in graph_def.node if node.name in needed]
    return tf.compat.v1.GraphDef(node=kept, versions=like.versions)
