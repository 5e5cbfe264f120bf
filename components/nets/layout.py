"""The variables of a network and their initial values, read from its TF1 training graph."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import init_ops, resource_variable_ops

from slimworks.components.errors import ConfigError
from slimworks.components.nets import nets_factory

# Initial values are computed and handed over in groups of about this size.
GROUP_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class VariableLayout:
    """One variable: its TF1 name (no ":0"), and what makes the tensor of its initial value."""

    name: str
    shape: tuple[int, ...]
    trainable: bool
    initializer: functools.partial[tf.Tensor]

    @property
    def constant_value(self) -> np.ndarray | None:
        """float32 of its shape where every element starts alike, without a graph; else None."""
        constants = {init_ops.Zeros: 0.0, init_ops.Ones: 1.0}
        value = constants.get(type(self.initializer.func))
        return None if value is None else np.full(self.shape, value, np.float32)

    @property
    def num_elements(self) -> int:
        """Number of scalars."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclasses.dataclass(frozen=True)
class NetGraph:
    """A network built into a TF1 graph of its own; its variables have no values there."""

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
    """Builds a network for one image [1, S, S, C]; its variables are in TF-Slim's order.

    Raises:
        ConfigError: A user's own network cannot be built, or makes other variables.
    """
    graph = tf.Graph()
    graph.seed = 0  # op determinism wants one
    initializers: dict[str, functools.partial[tf.Tensor]] = {}

    def create(_: Any, **options: Any) -> tf.Variable:
        if options.get("collections") is None:  # tf.Variable, not get_variable
            raise _no_model_variable(name, str(options.get("name")))
        initializers[options["name"]] = options["initial_value"]
        return _create_without_value(**options)

    with graph.as_default(), tf.compat.v1.variable_creator_scope(create):
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
                initializer=initializers[variable.op.name],
            )
            for variable in tf.compat.v1.model_variables()
        )
        # A schedule of the network itself, as NASNet's drop path, follows the global step.
        steps = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.GLOBAL_STEP)
    known = {variable.name for variable in variables} | {step.op.name for step in steps}
    if others := set(initializers) - known:
        raise _no_model_variable(name, min(others))
    return NetGraph(graph, logits, end_points, variables)


def _no_model_variable(net: str, variable: str) -> ConfigError:
    """Of what only a user's own network can do."""
    return ConfigError(
        f"{net} makes the variable {variable}, which is no model variable: no training would "
        "change it and no checkpoint hold it.",
        "Make it by slim.model_variable(name, shape, ...), as TF-Slim's layers make theirs.",
    )


def _create_without_value(
    name: str, shape: Any, dtype: Any, trainable: bool, collections: Sequence[str], **_: Any
) -> tf.Variable:
    """Creates a variable that nothing initializes, outside the collection of all variables.

    What initializes, assigns and checks variables is half of the time that a network takes to
    build. And the layers look each new one up among all of that collection, which takes time that
    grows with the square of their number.
    """
    variable = resource_variable_ops.UninitializedVariable(
        name=name, shape=shape, dtype=dtype, trainable=trainable
    )
    keys = tf.compat.v1.GraphKeys
    tf.compat.v1.get_collection_ref(keys.GLOBAL_VARIABLES).pop()  # it lists itself there
    for collection in set(collections) - {keys.GLOBAL_VARIABLES}:
        tf.compat.v1.add_to_collection(collection, variable)
    return variable


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
    graph, drawn = _seeded_graph(net_graph.variables, seed)
    # Random ops give other values on accelerators.
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    # Not `with session`: that would make its graph the caller's default while this waits.
    with contextlib.closing(tf.compat.v1.Session(graph=graph, config=config)) as session:
        for group in _groups(net_graph.variables):
            names = [variable.name for variable in group if variable.name in drawn]
            values = session.run({name: drawn[name] for name in names})
            for variable in group:
                yield variable.name, values.get(variable.name, variable.constant_value)


def _seeded_graph(
    variables: Sequence[VariableLayout], seed: int
) -> tuple[tf.Graph, dict[str, str]]:
    """A graph that draws the initial values that are not constant; names of its tensors."""
    drawn = {}
    with tf.Graph().as_default() as unseeded:
        unseeded.seed = 0  # op determinism wants one
        for variable in variables:
            if variable.constant_value is None:
                with tf.name_scope(f"{variable.name}/Initializer/"):
                    drawn[variable.name] = variable.initializer().name
    definition = unseeded.as_graph_def()
    for node in definition.node:
        if "seed2" in node.attr:
            digest = hashlib.sha256(f"{seed}/{node.name}".encode()).digest()
            node.attr["seed"].i = int.from_bytes(digest[:4], "little")
            node.attr["seed2"].i = int.from_bytes(digest[4:8], "little")
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(definition, name="")
    return graph, drawn


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
