"""A TF-Slim network as a tf.Module: TF2 variables under TF1 names, no Keras model."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.ops import variable_scope

from slimworks.components.nets import layout, nets_factory, randomness
from slimworks.components.nets.freezing import are_frozen
from slimworks.components.nets.own_nets import is_own
from slimworks.components.nets.registry import check_image_size
from slimworks.components.nets.spec import NetSpec


class Outputs(NamedTuple):
    """What one forward pass returns.

    Attributes:
        logits: [N, K] float32.
        end_points: Activations by TF-Slim's names; `AuxLogits` [N, K] where there is such a head.
        regularization_loss: Scalar float32, sum of weight_decay * sum(w^2) / 2.
    """

    logits: tf.Tensor
    end_points: dict[str, tf.Tensor]
    regularization_loss: tf.Tensor


class SlimModule(tf.Module):
    """Owns the variables of one network and builds it into any number of traced functions.

    The variables are created on construction, from the training graph, so that auxiliary heads
    exist. Construct it within `strategy.scope()` to get variables for every replica: moving
    statistics are then kept per replica and averaged when read.

    Attributes:
        spec: The network.
        num_classes: K.
        image_size: Height and width in pixels.
        num_channels: Of the images.
        weight_decay: L2 factor.
        variables_by_name: All variables by TF1 name, such as "LeNet/conv1/weights".
    """

    def __init__(
        self,
        spec: NetSpec,
        num_classes: int,
        image_size: int,
        num_channels: int,
        weight_decay: float = 0.0,
        batch_norm_decay: float | None = None,
        seed: int = 0,
    ) -> None:
        """Creates the variables with values that depend on `seed` and their names only.

        Raises:
            ConfigError: The network cannot be built for this image size.
        """
        super().__init__(name=spec.function if is_own(spec.name) else spec.name)
        check_image_size(spec, image_size)
        self.spec = spec
        self.num_classes = num_classes
        self.image_size = image_size
        self.num_channels = num_channels
        self.weight_decay = weight_decay
        self._batch_norm_decay = batch_norm_decay
        net_graph = layout.build_graph(
            spec.name, num_classes, image_size, num_channels, is_training=True
        )
        trainable = {variable.name: variable.trainable for variable in net_graph.variables}
        variables = {
            name: _variable(name, value, trainable[name])
            for name, value in layout.initial_values(net_graph, seed)
        }
        self._store = _FixedVariableStore(variables)
        # Only now: tf.Module wraps and tracks a dictionary when it is assigned.
        self.variables_by_name: Mapping[str, tf.Variable] = variables

    @property
    def trainable_by_name(self) -> dict[str, tf.Variable]:
        """The variables that gradients change, in TF-Slim's order."""
        return {name: v for name, v in self.variables_by_name.items() if v.trainable}

    @property
    def moving_by_name(self) -> dict[str, tf.Variable]:
        """The moving means and variances of batch norm."""
        return {name: v for name, v in self.variables_by_name.items() if not v.trainable}

    @tf.autograph.experimental.do_not_convert
    def forward(
        self,
        images: tf.Tensor,
        is_training: bool,
        step: tf.Tensor | tf.Variable | None = None,
        seed: int | None = None,
    ) -> Outputs:
        """Builds the network on the module's variables, within a tf.function.

        Args:
            images: [N, S, S, C] float32, preprocessed; N may be unknown.
            is_training: Batch norm uses the batch's statistics and updates its moving averages
                when the function runs; dropout is active.
            step: Scalar integer, optimiser updates so far. NASNet and PNASNet drop more of their
                paths as it grows; without it, or where only the head is trained, they drop none.
            seed: With `step`, the masks of dropout and drop path are functions of both, see
                `randomness`; without, TensorFlow's random state makes them.

        Raises:
            RuntimeError: Called eagerly: slim layers exist only while a function is traced.
        """
        if tf.executing_eagerly():
            raise RuntimeError("SlimModule.forward works only inside a tf.function.")
        network_fn = nets_factory.get_network_fn(
            self.spec.name,
            self.num_classes,
            weight_decay=self.weight_decay,
            is_training=is_training,
            batch_norm_decay=self._batch_norm_decay,
        )
        key = tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES
        num_losses_before = len(tf.compat.v1.get_collection(key))
        with variable_scope.with_variable_store(self._store), _drawing(seed, step, is_training):
            options = {"current_step": self._path_step(step)} if self.spec.has_drop_path else {}
            logits, end_points = network_fn(_of_static_size(images, self), **options)
        losses = tf.compat.v1.get_collection(key)[num_losses_before:]
        loss = tf.add_n(losses) if losses else tf.constant(0.0)
        return Outputs(logits, dict(end_points), loss)

    def _path_step(self, step: tf.Tensor | tf.Variable | None) -> tf.Tensor | tf.Variable | None:
        """Returns the step that drop path is at: None where only the head is trained.

        As with batch norm, the head learns on the features that it is evaluated on.
        """
        mean = "/moving_mean"
        scopes = [name.removesuffix(mean) for name in self.moving_by_name if name.endswith(mean)]
        backbone = [scope for scope in scopes if not scope.startswith(self.spec.head_scopes)]
        return None if are_frozen(backbone) else step

    def embedding(self, end_points: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the layer before the head, averaged over space: [N, D] float32."""
        features = end_points[self.spec.embedding_end_point]
        return tf.reduce_mean(features, [1, 2]) if features.shape.rank == 4 else features


def _drawing(
    seed: int | None, step: tf.Tensor | tf.Variable | None, is_training: bool
) -> contextlib.AbstractContextManager[None]:
    if seed is None or step is None or not is_training:
        return contextlib.nullcontext()
    return randomness.stateless(seed, step)


def _of_static_size(images: tf.Tensor, module: SlimModule) -> tf.Tensor:
    """Pins H, W and C, which the windows of pools before heads are chosen by."""
    size = module.image_size
    return tf.ensure_shape(images, [None, size, size, module.num_channels])


def _variable(name: str, value: Any, trainable: bool) -> tf.Variable:
    if trainable:
        return tf.Variable(value, name=name)
    # Moving statistics: each replica tracks its own batches; reading averages them.
    return tf.Variable(
        value,
        name=name,
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.MEAN,
    )


class _FixedVariableStore:
    """Stands in for TF1's variable store: finds variables by name and creates none."""

    def __init__(self, variables: Mapping[str, tf.Variable]) -> None:
        self._variables = variables

    def get_variable(self, name: str, custom_getter: Any = None, **options: Any) -> tf.Variable:
        """Finds a variable, through the getters that layers put in front (they rename)."""
        if custom_getter is None:
            return self._find(name, **options)
        return custom_getter(self._find, name=name, **options)

    def _find(self, name: str, shape: Any = None, regularizer: Any = None, **_: Any) -> tf.Variable:
        variable = self._variables[name]
        if shape is not None and not variable.shape.is_compatible_with(shape):
            raise ValueError(f"{name} has shape {variable.shape}, the network asks for {shape}.")
        loss = regularizer(variable) if regularizer else None
        if loss is not None:
            tf.compat.v1.add_to_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES, loss)
        return variable
