"""The variables of a network and their initial values, read from its TF1 training graph."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from slimworks.components.nets import nets_factory

# Initial values are computed and handed over in groups of about this size.
GROUP_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class VariableLayout:
    """One variable: its TF1 name (no ":0"), and the tensor of its initial value."""

    name: str
    shape: tuple[int, ...]
    trainable: bool
    initial_value: str

    @property
    def num_elements(self) -> int:
        """Number of scalars."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclasses.dataclass(frozen=True)
class NetGraph:
    """A network built into a TF1 graph of its own."""

    graph: tf.Graph
    logits: tf.Tensor
    end_points: dict[str, tf.Tensor]
    variables: tuple[VariableLayout, ...]


def build_graph(
    name: str,
    num_classes: int,
    image_size: int,
    num_channels: int,
    is_training: bool,
    weight_decay: float = 0.0,
) -> NetGraph:
    """Builds a network for one image [1, S, S, C]; its variables are in TF-Slim's order."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.variable_creator_scope(_create_unlisted):
        images = tf.compat.v1.placeholder(
            tf.float32, [1, image_size, image_size, num_channels], name="input"
        )
        network_fn = nets_factory.get_network_fn(name, num_classes, weight_decay, is_training)
        logits, end_points = network_fn(images)
        variables = tuple(
            VariableLayout(
                name=variable.op.name,
                shape=tuple(variable.shape.as_list()),
                trainable=variable.trainable,
                initial_value=variable.initial_value.name,
            )
            for variable in tf.compat.v1.model_variables()
        )
    return NetGraph(graph, logits, end_points, variables)


def _create_unlisted(create: Callable[..., tf.Variable], **options: Any) -> tf.Variable:
    """Creates a variable outside the collection of all variables.

    The layers look each new variable up among all of that collection, which takes time that grows
    with the square of their number: nasnet_large (1,558) builds in 14 s of CPU time, not in 24.
    """
    collections = options.pop("collections", None) or []
    listed = tf.compat.v1.GraphKeys.GLOBAL_VARIABLES
    return create(collections=[name for name in collections if name != listed], **options)


def operations_behind(tensors: Sequence[tf.Tensor]) -> dict[str, tf.Operation]:
    """Returns the operations of a graph that `tensors` depend on, themselves included, by name."""
    found: dict[str, tf.Operation] = {}
    pending = [tensor.op for tensor in tensors]
    while pending:
        operation = pending.pop()
        if operation.name not in found:
            found[operation.name] = operation
            pending += [tensor.op for tensor in operation.inputs] + operation.control_inputs
    return found


def initial_values(net_graph: NetGraph, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (variable name, float32 value), the same for the same seed and name on any machine.

    The values come from the network's own initializers; only the seeds of their random ops are
    set, from `seed` and the op's name, which starts with the variable's.
    """
    fetches = [variable.initial_value for variable in net_graph.variables]
    needed = operations_behind([net_graph.graph.get_tensor_by_name(fetch) for fetch in fetches])
    nodes = [node for node in net_graph.graph.as_graph_def().node if node.name in needed]
    for node in nodes:
        node.attr.pop("_class", None)  # asks to sit beside the variable, which is left behind
        if "seed2" in node.attr:
            digest = hashlib.sha256(f"{seed}/{node.name}".encode()).digest()
            node.attr["seed"].i = int.from_bytes(digest[:4], "little")
            node.attr["seed2"].i = int.from_bytes(digest[4:8], "little")
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tf.compat.v1.GraphDef(node=nodes), name="")
    # Random ops give other values on accelerators.
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    # Not `with session`: that would make its graph the caller's default while this waits.
    with contextlib.closing(tf.compat.v1.Session(graph=graph, config=config)) as session:
        for group in _groups(net_graph.variables):
            values = session.run([variable.initial_value for variable in group])
            yield from zip((variable.name for variable in group), values, strict=True)


def _groups(variables: tuple[VariableLayout, ...]) -> Iterator[list[VariableLayout]]:
    group: list[VariableLayout] = []
    num_bytes = 0
    for variable in variables:
        group.append(variable)
        num_bytes += 4 * variable.num_elements
        if num_bytes >= GROUP_BYTES:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group
