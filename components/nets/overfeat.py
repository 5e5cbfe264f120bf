"""OverFeat (https://arxiv.org/abs/1312.6229) under TF-Slim's names.

tf_slim 1.1.0 has it without features and global pool, so only its arg scope is used.
"""

from __future__ import annotations

import tensorflow as tf

from slimworks.components.nets import convolutional_head
from slimworks.components.nets.slim import published_nets, slim

overfeat_arg_scope = published_nets.overfeat.overfeat_arg_scope


def overfeat(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool = True,
    dropout_keep_prob: float = 0.5,
    spatial_squeeze: bool = True,
    scope: str = "overfeat",
    global_pool: bool = False,
    reuse: bool | None = None,
) -> tuple[tf.Tensor, convolutional_head.EndPoints]:
    """Builds OverFeat, the fast model. Arguments and result as for `alexnet_v2`."""
    with tf.compat.v1.variable_scope(scope, "overfeat", [inputs], reuse=reuse) as outer:
        collection = outer.original_name_scope + "_end_points"
        with slim.arg_scope([slim.conv2d, slim.max_pool2d], outputs_collections=collection):
            net = slim.conv2d(inputs, 64, [11, 11], 4, padding="VALID", scope="conv1")
            net = slim.max_pool2d(net, [2, 2], scope="pool1")
            net = slim.conv2d(net, 256, [5, 5], padding="VALID", scope="conv2")
            net = slim.max_pool2d(net, [2, 2], scope="pool2")
            net = slim.conv2d(net, 512, [3, 3], scope="conv3")
            net = slim.conv2d(net, 1024, [3, 3], scope="conv4")
            net = slim.conv2d(net, 1024, [3, 3], scope="conv5")
            net = slim.max_pool2d(net, [2, 2], scope="pool5")
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
                    window=6,
                    depth=3072,
                    biases_initializer=tf.compat.v1.zeros_initializer(),
                )


overfeat.default_image_size = 231  # type: ignore[attr-defined]
