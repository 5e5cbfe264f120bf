"""VGG (https://arxiv.org/abs/1409.1556) under TF-Slim's names.

tf_slim 1.1.0 has these networks without features, global pool and padding of fc6, so only its arg
scope is used.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from slimworks.components.nets import convolutional_head
from slimworks.components.nets.slim import published_nets, slim

vgg_arg_scope = published_nets.vgg.vgg_arg_scope

_DEPTHS = (64, 128, 256, 512, 512)


def _vgg(
    name: str, num_convolutions: tuple[int, int, int, int, int]
) -> Callable[..., tuple[tf.Tensor, convolutional_head.EndPoints]]:
    """Returns the network with so many convolutions before each pool (table 1 of the paper)."""

    def network(
        inputs: tf.Tensor,
        num_classes: int | None = 1000,
        is_training: bool = True,
        dropout_keep_prob: float = 0.5,
        spatial_squeeze: bool = True,
        reuse: bool | None = None,
        scope: str = name,
        fc_conv_padding: str = "VALID",
        global_pool: bool = False,
    ) -> tuple[tf.Tensor, convolutional_head.EndPoints]:
        """Builds the network.

        Args:
            inputs: [N, H, W, C] float32, RGB in 0..255 minus the channel means.
            num_classes: K. None or 0 returns the features before fc8.
            is_training: Dropout is active.
            dropout_keep_prob: Fraction of the activations of fc6 and fc7 that training keeps, in
                (0, 1].
            spatial_squeeze: Logits are [N, K] instead of [N, h, w, K]; larger maps than
                h = w = 1 are averaged then.
            reuse: Whether the variables exist already in this TF1 graph.
            scope: Prefix of the variable names.
            fc_conv_padding: "SAME" gives a map of h = H / 32 predictions, "VALID" of H / 32 - 6.
            global_pool: Averages fc7 over h and w, so that h = w = 1 at any image size.

        Returns:
            Logits (features [N, h, w, 4096] without fc8) and activations by name.
        """
        with tf.compat.v1.variable_scope(scope, name, [inputs], reuse=reuse) as outer:
            collection = outer.original_name_scope + "_end_points"
            with slim.arg_scope([slim.conv2d, slim.max_pool2d], outputs_collections=collection):
                net = inputs
                for index, (times, depth) in enumerate(zip(num_convolutions, _DEPTHS, strict=True)):
                    block = f"conv{index + 1}"
                    net = slim.repeat(net, times, slim.conv2d, depth, [3, 3], scope=block)
                    net = slim.max_pool2d(net, [2, 2], scope=f"pool{index + 1}")
                return convolutional_head.build_head(
                    net,
                    outer=outer,
                    collection=collection,
                    num_classes=num_classes,
                    is_training=is_training,
                    dropout_keep_prob=dropout_keep_prob,
                    spatial_squeeze=spatial_squeeze,
                    global_pool=global_pool,
                    window=7,
                    padding=fc_conv_padding,
                )

    network.__name__ = network.__qualname__ = name
    network.default_image_size = 224  # type: ignore[attr-defined]
    return network


vgg_a = _vgg("vgg_a", (1, 1, 2, 2, 2))
vgg_16 = _vgg("vgg_16", (2, 2, 3, 3, 3))
vgg_19 = _vgg("vgg_19", (2, 2, 4, 4, 4))

# The paper's names.
vgg_d = vgg_16
vgg_e = vgg_19
