"""The network as TF-Slim's programs build it: a TF1 graph from `input` to predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from slimworks.components.export.batches import in_batches, softmax
from slimworks.components.export.source import ExportSource
from slimworks.components.export.weights import restore_weights, stored_names
from slimworks.components.nets import nets_factory
from slimworks.components.nets.layout import operations_behind

INPUT = "input"  # name of the placeholder in TF-Slim's export_inference_graph


@dataclasses.dataclass(frozen=True)
class InferenceGraph:
    """A network for inference, without values.

    Attributes:
        graph: Has the placeholder `input`, float32 [batch_size, S, S, C].
        logits: The operation that gives the logits [N, K].
        predictions: The operation that gives the probabilities [N, K]; None for the networks that
            TF-Slim gives no softmax: AlexNet, OverFeat and VGG.
        variables: What these depend on, by name: auxiliary heads are not among them.
    """

    graph: tf.Graph
    logits: str
    predictions: str | None
    variables: Mapping[str, tf.Variable]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the operations that users read."""
        return (self.logits, self.predictions) if self.predictions else (self.logits,)


def build_inference_graph(source: ExportSource, batch_size: int | None = None) -> InferenceGraph:
    """Builds the network under TF-Slim's operation names.

    Args:
        source: What to build.
        batch_size: First dimension of the placeholder; None: any.
    """
    shape = [batch_size, source.image_size, source.image_size, source.num_channels]
    graph = tf.Graph()
    with graph.as_default():
        # Reference variables, as in TF1: the constants of a frozen graph get the names that its
        # readers know ("MobilenetV1/Conv2d_0/weights", ".../weights/read").
        scope = tf.compat.v1.get_variable_scope()
        with tf.compat.v1.variable_scope(scope, use_resource=False):
            images = tf.compat.v1.placeholder(tf.float32, shape, name=INPUT)
            network_fn = nets_factory.get_network_fn(source.spec.name, source.num_classes)
            logits, end_points = network_fn(images)
        predictions = end_points.get("Predictions", end_points.get("predictions"))
        needed = operations_behind([logits] if predictions is None else [logits, predictions])
        variables = {
            variable.op.name: variable
            for variable in tf.compat.v1.model_variables()
            if variable.op.name in needed
        }
    return InferenceGraph(
        graph, logits.op.name, None if predictions is None else predictions.op.name, variables
    )


def checkpoint_values(inference: InferenceGraph, source: ExportSource) -> dict[str, np.ndarray]:
    """Reads the values of the graph's variables by the rules of restoring.

    Raises:
        ConfigError: The checkpoint does not fit the network.
    """
    variables = {
        name: tf.Variable(tf.zeros(variable.shape))
        for name, variable in inference.variables.items()
    }
    restore_weights(variables, source)
    return {name: variable.numpy() for name, variable in variables.items()}


def checkpoint_probabilities(source: ExportSource, pixels: np.ndarray) -> np.ndarray:
    """Probabilities as a TF1 program computes them: TensorFlow's own Saver and a session.

    The reference of every export: it shares no step with them but the network's definition.

    Args:
        source: The network and its checkpoint.
        pixels: float32 [N, S, S, C], preprocessed.

    Returns:
        float32 [N, K].
    """
    inference = build_inference_graph(source)
    names = stored_names(inference.variables, source)
    stored = {names[name]: variable for name, variable in inference.variables.items()}
    with inference.graph.as_default(), tf.compat.v1.Session(graph=inference.graph) as session:
        tf.compat.v1.train.Saver(stored).restore(session, source.checkpoint_path)

        def run(batch: np.ndarray) -> np.ndarray:
            logits: np.ndarray = session.run(f"{inference.logits}:0", {f"{INPUT}:0": batch})
            return softmax(logits, source.temperature)

        return in_batches(pixels, run)
