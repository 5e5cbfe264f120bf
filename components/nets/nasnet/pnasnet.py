"""PNASNet-5 (https://arxiv.org/abs/1712.00559) under TF-Slim's names."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from slimworks.components.nets.nasnet import operations, parts
from slimworks.components.nets.nasnet.cells import NasNetABaseCell
from slimworks.components.nets.nasnet.hparams import HParams, resolve


def large_imagenet_config() -> HParams:
    """Returns the settings of PNASNet-5 (N = 4, F = 216) for ImageNet."""
    return HParams(
        stem_multiplier=3.0,
        drop_path_keep_prob=0.6,
        num_cells=12,
        num_conv_filters=216,
        dense_dropout_keep_prob=0.5,
        skip_reduction_layer_input=True,
    )


def mobile_imagenet_config() -> HParams:
    """Returns the settings of PNASNet-5 (N = 3, F = 54) for ImageNet."""
    return HParams(
        stem_multiplier=1.0,
        drop_path_keep_prob=1.0,
        num_cells=9,
        num_conv_filters=54,
        dense_dropout_keep_prob=0.5,
        skip_reduction_layer_input=True,
    )


def pnasnet_large_arg_scope(
    weight_decay: float = 4e-5, batch_norm_decay: float = 0.9997, batch_norm_epsilon: float = 1e-3
) -> dict[str, Any]:
    """Returns the arg scope of the large network for ImageNet."""
    return parts.arg_scope(weight_decay, batch_norm_decay, batch_norm_epsilon)


def pnasnet_mobile_arg_scope(
    weight_decay: float = 4e-5, batch_norm_decay: float = 0.9997, batch_norm_epsilon: float = 1e-3
) -> dict[str, Any]:
    """Returns the arg scope of the mobile network for ImageNet."""
    return parts.arg_scope(weight_decay, batch_norm_decay, batch_norm_epsilon)


@tf.autograph.experimental.do_not_convert
def build_pnasnet_large(
    images: tf.Tensor,
    num_classes: int | None,
    is_training: bool = True,
    final_endpoint: str | None = None,
    config: HParams | None = None,
    current_step: tf.Tensor | None = None,
) -> tuple[tf.Tensor, parts.EndPoints]:
    """Builds the large PNASNet-5 for ImageNet.

    Args:
        images: [N, H, W, C] float32, in [-1, 1] for the published checkpoint.
        num_classes: K. None or 0 returns the pooled features before the head.
        is_training: Batch norm uses the batch's statistics, dropout and drop path are active, and
            there is an auxiliary head: `end_points["AuxLogits"]`.
        final_endpoint: Name of the activation to stop at; None builds all.
        config: What the network consists of; None for `large_imagenet_config()`.
        current_step: Scalar, optimiser updates so far: drop path grows with it. None for the global
            step, which a TF1 graph gets where it has none; a traced TF2 function that has none
            drops no path.

    Returns:
        Logits [N, K] (features [N, D] without a head, or the activation named `final_endpoint`) and
        activations by name.

    Raises:
        ValueError: H, W or C are not static, or an option is out of range.
    """
    hparams = resolve(config, large_imagenet_config(), is_training)
    return _build(images, num_classes, is_training, hparams, current_step, final_endpoint)


@tf.autograph.experimental.do_not_convert
def build_pnasnet_mobile(
    images: tf.Tensor,
    num_classes: int | None,
    is_training: bool = True,
    final_endpoint: str | None = None,
    config: HParams | None = None,
    current_step: tf.Tensor | None = None,
) -> tuple[tf.Tensor, parts.EndPoints]:
    """Builds the mobile PNASNet-5 for ImageNet.

    Arguments and result as for `build_pnasnet_large`; config None stands for
    `mobile_imagenet_config()`.
    """
    hparams = resolve(config, mobile_imagenet_config(), is_training)
    return _build(images, num_classes, is_training, hparams, current_step, final_endpoint)


build_pnasnet_large.default_image_size = 331
build_pnasnet_mobile.default_image_size = 224


class PNasNetNormalCell(NasNetABaseCell):
    """The one cell of PNASNet-5, strided or not (figure 1 of the paper)."""

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
                *("separable_5x5_2", "max_pool_3x3"),
                *("separable_7x7_2", "max_pool_3x3"),
                *("separable_5x5_2", "separable_3x3_2"),
                *("separable_3x3_2", "max_pool_3x3"),
                *("separable_3x3_2", "none"),
            ),
            used_hiddenstates=(1, 1, 0, 0, 0, 0, 0),
            hiddenstate_indices=(1, 1, 0, 0, 0, 0, 4, 0, 1, 0),
            drop_path_keep_prob=drop_path_keep_prob,
            total_num_cells=total_num_cells,
            total_training_steps=total_training_steps,
            use_bounded_activation=use_bounded_activation,
        )


def _build(
    images: tf.Tensor,
    num_classes: int | None,
    is_training: bool,
    hparams: HParams,
    current_step: tf.Tensor | None,
    final_endpoint: str | None,
) -> tuple[tf.Tensor, parts.EndPoints]:
    cell = PNasNetNormalCell(
        hparams.num_conv_filters,
        hparams.drop_path_keep_prob,
        hparams.num_cells + 2,  # the stem's
        hparams.total_training_steps,
        hparams.use_bounded_activation,
    )
    with parts.layer_defaults(hparams, is_training):
        inputs = parts.formatted(images, hparams)
        outputs = parts.imagenet_stem(inputs, hparams, cell, current_step)
        body = _body(outputs, cell, hparams, current_step)
        return parts.build_until(
            parts.with_heads(body, num_classes, is_training, hparams, final_endpoint),
            final_endpoint,
        )


def _body(
    outputs: list[tf.Tensor | None],
    cell: NasNetABaseCell,
    hparams: HParams,
    current_step: tf.Tensor | None,
) -> parts.Activations:
    """Yields the stem and one cell after the other; `outputs` grows by each."""
    reductions = operations.calc_reduction_layers(hparams.num_cells, hparams.num_reduction_layers)
    scaling = 1.0
    previous = outputs[-2]
    yield "Stem", outputs[-1]
    for index in range(hparams.num_cells):
        is_reduction = index in reductions
        if is_reduction:
            scaling *= hparams.filter_scaling_rate
        if hparams.skip_reduction_layer_input or not is_reduction:
            previous = outputs[-2]
        net = cell(
            outputs[-1],
            scope=f"cell_{index}",
            filter_scaling=scaling,
            stride=2 if is_reduction else 1,
            prev_layer=previous,
            cell_num=len(outputs) - 2,
            current_step=current_step,
        )
        outputs.append(net)
        yield f"Cell_{index}", net
