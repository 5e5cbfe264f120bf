"""NASNet-A (https://arxiv.org/abs/1707.07012) under TF-Slim's names."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

from slimworks.components.nets.nasnet import operations, parts
from slimworks.components.nets.nasnet.cells import (
    NasNetABaseCell,
    NasNetANormalCell,
    NasNetAReductionCell,
)
from slimworks.components.nets.nasnet.hparams import HParams, resolve


def cifar_config() -> HParams:
    """Returns the settings of NASNet-A (6 @ 768) for CIFAR-10."""
    return HParams(
        stem_multiplier=3.0,
        drop_path_keep_prob=0.6,
        num_cells=18,
        num_conv_filters=32,
        dense_dropout_keep_prob=1.0,
        skip_reduction_layer_input=False,
        total_training_steps=937_500,  # 600 epochs of 50,000 images in batches of 32
    )


def mobile_imagenet_config() -> HParams:
    """Returns the settings of NASNet-A (4 @ 1056) for ImageNet."""
    return HParams(
        stem_multiplier=1.0,
        drop_path_keep_prob=1.0,
        num_cells=12,
        num_conv_filters=44,
        dense_dropout_keep_prob=0.5,
        skip_reduction_layer_input=False,
    )


def large_imagenet_config() -> HParams:
    """Returns the settings of NASNet-A (6 @ 4032) for ImageNet."""
    return HParams(
        stem_multiplier=3.0,
        drop_path_keep_prob=0.7,
        num_cells=18,
        num_conv_filters=168,
        dense_dropout_keep_prob=0.5,
        skip_reduction_layer_input=True,
    )


def nasnet_cifar_arg_scope(
    weight_decay: float = 5e-4, batch_norm_decay: float = 0.9, batch_norm_epsilon: float = 1e-5
) -> dict[str, Any]:
    """Returns the arg scope of the network for CIFAR-10."""
    return parts.arg_scope(weight_decay, batch_norm_decay, batch_norm_epsilon)


def nasnet_mobile_arg_scope(
    weight_decay: float = 4e-5, batch_norm_decay: float = 0.9997, batch_norm_epsilon: float = 1e-3
) -> dict[str, Any]:
    """Returns the arg scope of the mobile network for ImageNet."""
    return parts.arg_scope(weight_decay, batch_norm_decay, batch_norm_epsilon)


def nasnet_large_arg_scope(
    weight_decay: float = 5e-5, batch_norm_decay: float = 0.9997, batch_norm_epsilon: float = 1e-3
) -> dict[str, Any]:
    """Returns the arg scope of the large network for ImageNet."""
    return parts.arg_scope(weight_decay, batch_norm_decay, batch_norm_epsilon)


@tf.autograph.experimental.do_not_convert
def build_nasnet_cifar(
    images: tf.Tensor,
    num_classes: int | None,
    is_training: bool = True,
    config: HParams | None = None,
    current_step: tf.Tensor | None = None,
    final_endpoint: str | None = None,
) -> tuple[tf.Tensor, parts.EndPoints]:
    """Builds NASNet-A for CIFAR-10.

    Args:
        images: [N, H, W, C] float32, standardised; the published layout is for [N, 32, 32, 3].
        num_classes: K. None or 0 returns the pooled features before the head.
        is_training: Batch norm uses the batch's statistics, dropout and drop path are active, and
            there is an auxiliary head: `end_points["AuxLogits"]`.
        config: What the network consists of; None for `cifar_config()`.
        current_step: Scalar, optimiser updates so far: drop path grows with it. None for the global
            step, which a TF1 graph gets where it has none; a traced TF2 function that has none
            drops no path.
        final_endpoint: Name of the activation to stop at; None builds all.

    Returns:
        Logits [N, K] (features [N, D] without a head, or the activation named `final_endpoint`) and
        activations by name.

    Raises:
        ValueError: H, W or C are not static, or an option is out of range.
    """
    hparams = resolve(config, cifar_config(), is_training)
    return _build(images, num_classes, is_training, hparams, current_step, final_endpoint, "cifar")


@tf.autograph.experimental.do_not_convert
def build_nasnet_mobile(
    images: tf.Tensor,
    num_classes: int | None,
    is_training: bool = True,
    final_endpoint: str | None = None,
    config: HParams | None = None,
    current_step: tf.Tensor | None = None,
) -> tuple[tf.Tensor, parts.EndPoints]:
    """Builds the mobile NASNet-A for ImageNet.

    Arguments and result as for `build_nasnet_cifar`; images are in [-1, 1] for the published
    checkpoint, and config None stands for `mobile_imagenet_config()`.
    """
    hparams = resolve(config, mobile_imagenet_config(), is_training)
    return _build(
        images, num_classes, is_training, hparams, current_step, final_endpoint, "imagenet"
    )


@tf.autograph.experimental.do_not_convert
def build_nasnet_large(
    images: tf.Tensor,
    num_classes: int | None,
    is_training: bool = True,
    final_endpoint: str | None = None,
    config: HParams | None = None,
    current_step: tf.Tensor | None = None,
) -> tuple[tf.Tensor, parts.EndPoints]:
    """Builds the large NASNet-A for ImageNet.

    Arguments and result as for `build_nasnet_cifar`; images are in [-1, 1] for the published
    checkpoint, and config None stands for `large_imagenet_config()`.
    """
    hparams = resolve(config, large_imagenet_config(), is_training)
    return _build(
        images, num_classes, is_training, hparams, current_step, final_endpoint, "imagenet"
    )


build_nasnet_cifar.default_image_size = 32
build_nasnet_mobile.default_image_size = 224
build_nasnet_large.default_image_size = 331


def _build(
    images: tf.Tensor,
    num_classes: int | None,
    is_training: bool,
    hparams: HParams,
    current_step: tf.Tensor | None,
    final_endpoint: str | None,
    stem: Literal["cifar", "imagenet"],
) -> tuple[tf.Tensor, parts.EndPoints]:
    # The two reduction cells, and the two cells of the stem for ImageNet.
    num_cells = hparams.num_cells + (2 if stem == "cifar" else 4)
    normal_cell, reduction_cell = (
        cell(
            hparams.num_conv_filters,
            hparams.drop_path_keep_prob,
            num_cells,
            hparams.total_training_steps,
            hparams.use_bounded_activation,
        )
        for cell in (NasNetANormalCell, NasNetAReductionCell)
    )
    with parts.layer_defaults(hparams, is_training):
        inputs = parts.formatted(images, hparams)
        if stem == "cifar":
            outputs = parts.cifar_stem(inputs, hparams)
        else:
            outputs = parts.imagenet_stem(inputs, hparams, reduction_cell, current_step)
        body = _body(outputs, normal_cell, reduction_cell, hparams, current_step)
        return parts.build_until(
            parts.with_heads(body, num_classes, is_training, hparams, final_endpoint),
            final_endpoint,
        )


def _body(
    outputs: list[tf.Tensor | None],
    normal_cell: NasNetABaseCell,
    reduction_cell: NasNetABaseCell,
    hparams: HParams,
    current_step: tf.Tensor | None,
) -> parts.Activations:
    """Yields the stem and one cell after the other; `outputs` grows by each."""
    reductions = operations.calc_reduction_layers(hparams.num_cells, hparams.num_reduction_layers)
    scaling = 1.0
    yield "Stem", outputs[-1]
    for index in range(hparams.num_cells):
        before_reduction = outputs[-2]
        if index in reductions:
            number = reductions.index(index)
            scaling *= hparams.filter_scaling_rate
            net = reduction_cell(
                outputs[-1],
                scope=f"reduction_cell_{number}",
                filter_scaling=scaling,
                stride=2,
                prev_layer=outputs[-2],
                cell_num=len(outputs) - 2,
                current_step=current_step,
            )
            outputs.append(net)
            yield f"Reduction_Cell_{number}", net
        net = normal_cell(
            outputs[-1],
            scope=f"cell_{index}",
            filter_scaling=scaling,
            prev_layer=before_reduction if hparams.skip_reduction_layer_input else outputs[-2],
            cell_num=len(outputs) - 2,
            current_step=current_step,
        )
        outputs.append(net)
        yield f"Cell_{index}", net
