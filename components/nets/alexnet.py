"""AlexNet v2 (https://arxiv.org/abs/1404.5997) under TF-Slim's names.

tf_slim 1.1.0 has it without features and global pool, so only its arg scope is used.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.nets import convolutional_head
from slimworks.components.nets.slim import published_nets, slim

alexnet_v2_arg_scope = published_nets.alexnet.alexnet_v2_arg_scope


def alexnet_v2(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool = True,
    dropout_keep_prob: float = 0.5,
    spatial_squeeze: bool = True,
    scope: str = "alexnet_v2",
    global_pool: bool = False,
    reuse: bool | None = None,
) -> tuple[tf.Tensor, convolutional_head.EndPoints]:
    """Builds AlexNet v2.

    Args:
        inputs: [N, H, W, C] float32.
        num_classes: K. None or 0 returns the features before fc8.
        is_training: Dropout is active.
        dropout_keep_prob: Fraction of the activations of fc6 and fc7 that training keeps, in
            (0, 1].
        spatial_squeeze: Logits are [N, K] instead of [N, h, w, K]; larger maps than h = w = 1 are
            averaged then.
        scope: Prefix of the variable names.
        global_pool: Averages fc7 over h and w, so that h = w = 1 at any image size.
        reuse: Whether the variables exist already in this TF1 graph.

    Returns:
        Logits (features [N, h, w, 4096] without fc8) and activations by name.
    """
    with tf.compat.v1.variable_scope(scope, "alexnet_v2", [inputs], reuse=reuse) as outer:
        collection = outer.original_name_scope + "_end_points"
        with slim.arg_scope([slim.conv2d, slim.max_pool2d], outputs_collections=collection):
            net = slim.conv2d(inputs, 64, [11, 11], 4, padding="VALID", scope="conv1")
            net = slim.max_pool2d(net, [3, 3], 2, scope="pool1")
            net = slim.conv2d(net, 192, [5, 5], scope="conv2")
            net = slim.max_pool2d(net, [3, 3], 2, scope="pool2")
            net = slim.conv2d(net, 384, [3, 3], scope="conv3")
            net = slim.conv2d(net, 384, [3, 3], scope="conv4")
            net = slim.conv2d(net, 256, [3, 3], scope="conv5")
            net = slim.max_pool2d(net, [3, 3], 2, scope="pool5")
            with slim.arg_scope(
                [slim.conv2d],
                weights_initializer=tf.compat.v1.truncated_normal_initializer(stddev=0.005),
                biases_initializer=tf.compat.v1.constant_initializer(0.1),
            ):
                return convolutional_head.build_head(
                    net,
                    outer=outer,
                    collection=collection,
                    num_classes=num_classes,
                    is_training=is_training,
                    dropout_keep_prob=dropout_keep_prob,
                    spatial_squeeze=spatial_squeeze,
                    global_pool=global_pool,
                    window=5,
                    biases_initializer=tf.compat.v1.zeros_initializer(),
                )


alexnet_v2.default_image_size = 224  # type: ignore[attr-defined]
