"""A network cut in two: features that no training changes, and the head that trains on them.

Where only the last layers are trained, those before them give an image the same activations in
every epoch. The cut is found in the traced graph, for any network and any set of trained
variables: it goes through the last tensors that depend on the images, but on no trained variable,
no random number and not on the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from slimworks.components.nets import randomness
from slimworks.components.nets.module import Outputs, SlimModule

AUXILIARY = "AuxLogits"

# Images float32 [N, S, S, C], the number of updates so far int64 [] -> what the network makes.
Forward = Callable[[tf.Tensor, tf.Tensor], Outputs]


class _Traced(NamedTuple):
    """A network in a graph of its own, where placeholders stand for variables: `names`."""

    graph: tf.Graph
    images: tf.Tensor
    moment: list[tf.Tensor]  # the step, and the position of the first image in the whole batch
    outputs: Outputs
    names: dict[str, str]
    variables: Mapping[str, tf.Variable]


class Cut:
    """The two parts of a network, on the variables of the module. Call both within a tf.function.

    Attributes:
        width: D, floats that the first part makes of an image.
        backbone: The variables that the first part reads, by name.
        operations: Those of the first part, in a fixed order.
    """

    def __init__(
        self,
        training: _Traced,
        inference: _Traced,
        frontier: Sequence[tf.Tensor],
        outputs: Sequence[tf.Tensor],
        changing: Collection[tf.Operation],
    ) -> None:
        self._shapes = [tuple(tensor.shape[1:]) for tensor in frontier]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.width = sum(self._sizes)
        self._features = _Part(training, [training.images], frontier)
        self.backbone = self._features.variables
        self.operations = self._features.operations
        terms = _terms(training.outputs.regularization_loss)
        # Weights that stay as they are make a loss that stays as it is.
        frozen = _Part(training, [], [term for term in terms if term.op not in changing])
        self._frozen_loss = sum(float(value) for value in frozen())
        self._num_logits = len(outputs)
        self._head = _Part(
            training,
            [*frontier, *training.moment],
            [*outputs, *(term for term in terms if term.op in changing)],
            [op for op in changing if op.type.startswith("Assign")],
        )
        # Finds its own tensors of these names.
        self._inference_head = _Part(inference, frontier, [inference.outputs.logits])

    def features(self, images: tf.Tensor) -> tf.Tensor:
        """Runs the first part. images: float32 [N, S, S, C] -> float32 [N, D]."""
        tensors = self._features(images)
        rows = [tf.reshape(t, [-1, size]) for t, size in zip(tensors, self._sizes, strict=True)]
        return tf.concat(rows, axis=1)

    def head(self, features: tf.Tensor, step: tf.Tensor) -> Outputs:
        """Runs the second part in training mode.

        Args:
            features: float32 [N, D].
            step: int64 [], updates so far.

        Returns:
            What the whole network returns; of the end points only an auxiliary head's logits, and
            these only where one of its variables is trained.
        """
        first_image = tf.cast(randomness.first_image(), tf.int64)
        values = self._head(*self._tensors(features), step, first_image)
        logits, losses = values[: self._num_logits], values[self._num_logits :]
        end_points = dict(zip([AUXILIARY], logits[1:], strict=False))
        return Outputs(logits[0], end_points, tf.add_n([self._frozen_loss, *losses]))

    def inference_head(self, features: tf.Tensor) -> tf.Tensor:
        """Runs the second part in inference mode. features: float32 [N, D] -> logits [N, K]."""
        (logits,) = self._inference_head(*self._tensors(features))
        return logits

    def _tensors(self, features: tf.Tensor) -> list[tf.Tensor]:
        columns = tf.split(features, self._sizes, axis=1)
        return [
            tf.reshape(column, [-1, *shape])
            for column, shape in zip(columns, self._shapes, strict=True)
        ]


def cut(module: SlimModule, trained: Collection[str], forward: Forward) -> Cut | None:
    """Finds where a network can be cut.

    Args:
        module: The network. What is not trained must have its values already.
        trained: Names of the variables that gradients change.
        forward: The network in training mode, with batch norm of frozen layers in inference mode.

    Returns:
        The two parts, or None where the first layers change already.
    """
    training = _trace(module, forward)
    inference = _trace(module, lambda images, _: module.forward(images, is_training=False))
    changing = _changing(training, trained)
    outputs = [training.outputs.logits]
    auxiliary = training.outputs.end_points.get(AUXILIARY)
    if auxiliary is not None and auxiliary.op in changing:
        outputs.append(auxiliary)
    names = {op.name for op in inference.graph.get_operations()}
    of_logits = _frontier(training, outputs[0], changing, lambda op: op.name in names)
    of_others = [_frontier(training, output, changing) for output in outputs[1:]]
    frontier = {tensor.name: tensor for tensor in sum(of_others, of_logits)}
    parts = Cut(training, inference, list(frontier.values()), outputs, changing)
    return parts if parts.backbone else None


class _Part:
    """Operations of a traced network as a function of the tensors that they begin with."""

    def __init__(
        self,
        traced: _Traced,
        inputs: Sequence[tf.Tensor],
        outputs: Sequence[tf.Tensor],
        effects: Sequence[tf.Operation] = (),
    ) -> None:
        needed = _between(inputs, [*(tensor.op for tensor in outputs), *effects])
        operations = [op for op in traced.graph.get_operations() if op in needed]
        self._names = {
            op.name: traced.names[op.name] for op in operations if op.name in traced.names
        }
        self.variables = {name: traced.variables[name] for name in self._names.values()}
        self.operations = [_node(op) for op in operations if op.name not in self._names]
        self._versions = traced.graph.graph_def_versions
        self._inputs = [tensor.name for tensor in inputs]
        self._read = {tensor.name for op in operations for tensor in op.inputs}
        self._outputs = [tensor.name for tensor in outputs]
        self._call = tf.function(self._build, autograph=False, reduce_retracing=True)

    def __call__(self, *values: tf.Tensor) -> list[tf.Tensor]:
        """Runs the operations on the module's variables; gradients go through."""
        results: list[tf.Tensor] = self._call(*values)
        return results

    def _build(self, *values: tf.Tensor) -> list[tf.Tensor]:
        graph = tf.compat.v1.get_default_graph()
        handles = {
            f"{placeholder}:0": graph.capture(self.variables[name].handle)
            for placeholder, name in self._names.items()
        }
        inputs = dict(zip(self._inputs, values, strict=True))
        read = {name: value for name, value in inputs.items() if name in self._read}
        results: list[tf.Tensor] = tf.graph_util.import_graph_def(
            tf.compat.v1.GraphDef(node=self.operations, versions=self._versions),
            input_map={**handles, **read},
            return_elements=self._outputs,
            name="",
        )
        return results


def _node(operation: tf.Operation) -> tf.compat.v1.NodeDef:
    node = operation.node_def
    node.attr.pop("_class", None)  # asks to sit beside another, which may be left behind
    return node


def _trace(module: SlimModule, forward: Forward) -> _Traced:
    size = module.image_size
    images = tf.TensorSpec([None, size, size, module.num_channels], tf.float32)
    number = tf.TensorSpec([], tf.int64)
    found: list[Outputs] = []

    def build(images: tf.Tensor, step: tf.Tensor, first_image: tf.Tensor) -> tf.Tensor:
        with randomness.images_from(first_image):
            found.append(forward(images, step))
        return found[0].logits

    # Not tf.function, which ties operations with side effects to each other.
    wrapped = tf.compat.v1.wrap_function(build, [images, number, number])
    names = {id(variable.handle): name for name, variable in module.variables_by_name.items()}
    return _Traced(
        graph=wrapped.graph,
        images=wrapped.inputs[0],
        moment=wrapped.inputs[1:3],
        outputs=found[0],
        names={inner.op.name: names[id(outer)] for outer, inner in wrapped.graph.captures},
        variables=module.variables_by_name,
    )


def _changing(traced: _Traced, trained: Collection[str]) -> set[tf.Operation]:
    """Operations whose results for the same image change from step to step."""
    changing = {tensor.op for tensor in traced.moment}
    for operation in traced.graph.get_operations():  # each stands behind its inputs
        if (
            traced.names.get(operation.name) in trained
            or "Random" in operation.type
            or any(tensor.op in changing for tensor in operation.inputs)
            or not changing.isdisjoint(operation.control_inputs)
        ):
            changing.add(operation)
    return changing


def _frontier(
    traced: _Traced,
    output: tf.Tensor,
    changing: set[tf.Operation],
    may_make: Callable[[tf.Operation], bool] = lambda _: True,
) -> list[tf.Tensor]:
    """Unchanging tensors that the changing way to `output` reads.

    Args:
        traced: The network in training mode.
        output: Where the way ends.
        changing: Operations whose results change.
        may_make: Which operations may make the tensors; auxiliary heads are absent in inference.
    """
    of_images = {traced.images.op}
    for operation in traced.graph.get_operations():
        if any(tensor.op in of_images for tensor in operation.inputs):
            of_images.add(operation)
    frontier: dict[str, tf.Tensor] = {}
    pending, seen = [output.op], set()
    while pending:
        operation = pending.pop()
        if operation in seen:
            continue
        seen.add(operation)
        for tensor in operation.inputs:
            is_fixed = tensor.op not in changing and may_make(tensor.op)
            if tensor.op in of_images and is_fixed and _has_rows(tensor):
                frontier[tensor.name] = tensor
            elif tensor.op in of_images or tensor.op in changing:
                pending.append(tensor.op)
    return [frontier[name] for name in sorted(frontier)]


def _has_rows(tensor: tf.Tensor) -> bool:
    """Whether it is [N, ...], so that each row belongs to an image; an image's shape is not."""
    shape = tensor.shape
    return bool(shape.rank) and shape[0] is None and shape[1:].is_fully_defined()


def _terms(total: tf.Tensor) -> list[tf.Tensor]:
    return list(total.op.inputs) if total.op.type == "AddN" else [total]


def _between(inputs: Sequence[tf.Tensor], ends: Sequence[tf.Operation]) -> set[tf.Operation]:
    """The operations that `ends` depend on, without those that make `inputs`."""
    given = {tensor.name for tensor in inputs}
    found: set[tf.Operation] = set()
    pending = list(ends)
    while pending:
        operation = pending.pop()
        if operation not in found:
            found.add(operation)
            pending += [tensor.op for tensor in operation.inputs if tensor.name not in given]
            pending += operation.control_inputs
    return found
