"""The cells of NASNet-A, and what they share with PNASNet's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import tensorflow as tf

from slimworks.components.nets.nasnet.operations import (
    drop_path,
    factorized_reduction,
    get_channel_dim,
    get_channel_index,
    schedule_step,
    spatial_size,
)
from slimworks.components.nets.slim import slim

# Most activations lie within, and eight bits hold this range with little loss.
CLIP_BY_VALUE_CAP = 6.0

_SEPARABLE = re.compile(r"separable_(\d+)x\1(?:_(\d+))?")
_POOL = re.compile(r"(avg|max)_pool_(\d+)x\2")


class NasNetABaseCell:
    """A cell: pairs of operations on earlier states, each pair added to a new state.

    States 0 and 1 are the input of the cell and the output of the cell before the last one; state
    2 + i is the sum of pair i. The states that no pair takes are concatenated to the output.
    """

    def __init__(
        self,
        num_conv_filters: int,
        operations: Sequence[str],
        used_hiddenstates: Sequence[int],
        hiddenstate_indices: Sequence[int],
        drop_path_keep_prob: float,
        total_num_cells: int,
        total_training_steps: int,
        use_bounded_activation: bool = False,
    ) -> None:
        """Fixes what all cells of this kind in a network share.

        Args:
            num_conv_filters: Channels of each operation, before the scaling of a call.
            operations: Left and right operation of each pair in turn: "separable_KxK_L" for L
                separable convolutions, "avg_pool_KxK", "max_pool_KxK" or "none".
            used_hiddenstates: For each state whether a pair takes it.
            hiddenstate_indices: The state that each operation works on.
            drop_path_keep_prob: Fraction of the paths kept by the last cell at the end of training.
            total_num_cells: Of the network.
            total_training_steps: Optimiser updates after which drop path has its full strength.
            use_bounded_activation: ReLU6 instead of ReLU, and clipped sums.
        """
        self._num_conv_filters = num_conv_filters
        self._operations = operations
        self._used_hiddenstates = used_hiddenstates
        self._hiddenstate_indices = hiddenstate_indices
        self._drop_path_keep_prob = drop_path_keep_prob
        self._total_num_cells = total_num_cells
        self._total_training_steps = total_training_steps
        self._use_bounded_activation = use_bounded_activation

    def __call__(
        self,
        net: tf.Tensor,
        scope: str | None = None,
        filter_scaling: float = 1,
        stride: int = 1,
        prev_layer: tf.Tensor | None = None,
        cell_num: int = -1,
        current_step: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Builds the cell.

        Args:
            net: The output of the last cell, rank 4 with static H, W and C.
            scope: Prefix of the variable names.
            filter_scaling: Factor on the channels.
            stride: Of the operations on the two inputs.
            prev_layer: The output of the cell before the last one; None for `net` again.
            cell_num: Position in the network from 0; drop path grows with it.
            current_step: Optimiser updates so far; None for the graph's global step.

        Raises:
            ValueError: Unknown operation, or drop path without `cell_num`.
        """
        filters = int(self._num_conv_filters * filter_scaling)
        keep_prob = self._keep_prob(cell_num, current_step)
        with tf.compat.v1.variable_scope(scope, "cell"):
            previous = net if prev_layer is None else self._match(prev_layer, net, filters)
            states = [self._project(net, filters, "1x1", "beginning_bn"), previous]
            for pair in range(len(self._operations) // 2):
                with tf.compat.v1.variable_scope(f"comb_iter_{pair}"):
                    states.append(self._add_pair(states, pair, filters, stride, keep_prob))
            with tf.compat.v1.variable_scope("cell_output"):
                return self._unused_states(states)

    def _activate(self, net: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu6(net) if self._use_bounded_activation else tf.nn.relu(net)

    def _clip(self, net: tf.Tensor) -> tf.Tensor:
        if not self._use_bounded_activation:
            return net
        return tf.clip_by_value(net, -CLIP_BY_VALUE_CAP, CLIP_BY_VALUE_CAP)

    def _project(self, net: tf.Tensor, filters: int, conv_scope: str, norm_scope: str) -> tf.Tensor:
        net = slim.conv2d(self._activate(net), filters, 1, scope=conv_scope)
        return slim.batch_norm(net, scope=norm_scope)

    def _match(self, previous: tf.Tensor, net: tf.Tensor, filters: int) -> tf.Tensor:
        """Brings the second input to the resolution of the first, and to `filters` channels."""
        if spatial_size(previous) != spatial_size(net):
            return factorized_reduction(self._activate(previous), filters, stride=2)
        if get_channel_dim(previous.shape) != filters:
            return self._project(previous, filters, "prev_1x1", "prev_bn")
        return previous

    def _add_pair(
        self,
        states: Sequence[tf.Tensor],
        pair: int,
        filters: int,
        stride: int,
        keep_prob: tf.Tensor | float | None,
    ) -> tf.Tensor:
        results = []
        for side, name in enumerate(("left", "right")):
            operation = self._operations[2 * pair + side]
            state = self._hiddenstate_indices[2 * pair + side]
            own_stride = stride if state < 2 else 1  # later states have the new resolution
            with tf.compat.v1.variable_scope(name):
                result = self._apply(states[state], operation, filters, own_stride)
                if keep_prob is not None and operation != "none":
                    result = drop_path(result, keep_prob)
            results.append(result)
        with tf.compat.v1.variable_scope("combine"):
            total = results[0] + results[1]
            return tf.nn.relu6(total) if self._use_bounded_activation else total

    def _apply(self, net: tf.Tensor, operation: str, filters: int, stride: int) -> tf.Tensor:
        if operation == "none":
            return self._skip(net, filters, stride)
        if match := _SEPARABLE.fullmatch(operation):
            kernel, num_layers = int(match[1]), int(match[2] or 1)
            return self._clip(self._separable(net, kernel, num_layers, filters, stride))
        if match := _POOL.fullmatch(operation):
            pool = slim.avg_pool2d if match[1] == "avg" else slim.max_pool2d
            return self._clip(self._pool(net, pool, int(match[2]), filters, stride))
        raise ValueError(
            f"Unknown operation {operation!r}, expected none, separable_KxK_L, avg_pool_KxK or "
            "max_pool_KxK."
        )

    def _skip(self, net: tf.Tensor, filters: int, stride: int) -> tf.Tensor:
        """Passes on what fits already, and else projects it."""
        if stride == 1 and get_channel_dim(net.shape) == filters:
            return tf.nn.relu6(net) if self._use_bounded_activation else net
        net = slim.conv2d(self._activate(net), filters, 1, stride=stride, scope="1x1")
        return self._clip(slim.batch_norm(net, scope="bn_1"))

    def _separable(
        self, net: tf.Tensor, kernel: int, num_layers: int, filters: int, stride: int
    ) -> tf.Tensor:
        for layer in range(1, num_layers + 1):
            suffix = f"{kernel}x{kernel}_{layer}"
            net = slim.separable_conv2d(
                self._activate(net),
                filters,
                kernel,
                depth_multiplier=1,
                stride=stride if layer == 1 else 1,
                scope=f"separable_{suffix}",
            )
            net = slim.batch_norm(net, scope=f"bn_sep_{suffix}")
        return net

    def _pool(
        self, net: tf.Tensor, pool: Callable[..., tf.Tensor], kernel: int, filters: int, stride: int
    ) -> tf.Tensor:
        has_other_depth = get_channel_dim(net.shape) != filters
        net = tf.nn.relu6(net) if self._use_bounded_activation else net
        net = pool(net, kernel, stride=stride, padding="SAME")
        if has_other_depth:
            # No activation here, unlike before every other projection.
            net = slim.batch_norm(slim.conv2d(net, filters, 1, scope="1x1"), scope="bn_1")
        return net

    def _unused_states(self, states: Sequence[tf.Tensor]) -> tf.Tensor:
        """Concatenates the states that no pair took, at the resolution and depth of the last."""
        outputs = []
        for index, (state, is_used) in enumerate(zip(states, self._used_hiddenstates, strict=True)):
            if is_used:
                continue
            same_size = spatial_size(state) == spatial_size(states[-1])
            depth = get_channel_dim(states[-1].shape)
            if not same_size or get_channel_dim(state.shape) != depth:
                with tf.compat.v1.variable_scope(f"reduction_{index}"):
                    state = factorized_reduction(state, depth, stride=1 if same_size else 2)
            outputs.append(state)
        return tf.concat(outputs, get_channel_index())

    def _keep_prob(self, cell_num: int, current_step: tf.Tensor | None) -> tf.Tensor | float | None:
        """Returns the fraction of paths to keep: falls with the depth and with the updates done."""
        if self._drop_path_keep_prob >= 1:
            return None
        if cell_num < 0:
            raise ValueError(f"cell_num is {cell_num}, but drop path needs the cell's position.")
        step = schedule_step(current_step)
        if step is None:
            return None
        progress = tf.minimum(1.0, tf.cast(step, tf.float32) / self._total_training_steps)
        depth = (cell_num + 1) / self._total_num_cells
        return 1 - progress * depth * (1 - self._drop_path_keep_prob)


class NasNetANormalCell(NasNetABaseCell):
    """The cell of NASNet-A that keeps the resolution (figure 4 of the paper)."""

    def __init__(
        self,
        num_conv_filters: int,
        drop_path_keep_prob: float,
        total_num_cells: int,
        total_training_steps: int,
        use_bounded_activation: bool = False,
    ) -> None:
        super().__init__(
            num_conv_filters,
            operations=(
                *("separable_5x5_2", "separable_3x3_2"),
                *("separable_5x5_2", "separable_3x3_2"),
                *("avg_pool_3x3", "none"),
                *("avg_pool_3x3", "avg_pool_3x3"),
                *("separable_3x3_2", "none"),
            ),
            used_hiddenstates=(1, 0, 0, 0, 0, 0, 0),
            hiddenstate_indices=(0, 1, 1, 1, 0, 1, 1, 1, 0, 0),
            drop_path_keep_prob=drop_path_keep_prob,
            total_num_cells=total_num_cells,
            total_training_steps=total_training_steps,
            use_bounded_activation=use_bounded_activation,
        )


class NasNetAReductionCell(NasNetABaseCell):
    """The cell of NASNet-A that halves the resolution (figure 4 of the paper)."""

    def __init__(
        self,
        num_conv_filters: int,
        drop_path_keep_prob: float,
        total_num_cells: int,
        total_training_steps: int,
        use_bounded_activation: bool = False,
    ) -> None:
        super().__init__(
            num_conv_filters,
            operations=(
                *("separable_5x5_2", "separable_7x7_2"),
                *("max_pool_3x3", "separable_7x7_2"),
                *("avg_pool_3x3", "separable_5x5_2"),
                *("none", "avg_pool_3x3"),
                *("separable_3x3_2", "max_pool_3x3"),
            ),
            used_hiddenstates=(1, 1, 1, 0, 0, 0, 0),
            hiddenstate_indices=(0, 1, 0, 1, 0, 1, 3, 2, 2, 0),
            drop_path_keep_prob=drop_path_keep_prob,
            total_num_cells=total_num_cells,
            total_training_steps=total_training_steps,
            use_bounded_activation=use_bounded_activation,
        )
