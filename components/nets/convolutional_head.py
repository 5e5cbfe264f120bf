"""The head of AlexNet, OverFeat and VGG: dense layers as convolutions over the last feature map."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from slimworks.components.nets import pooling
from slimworks.components.nets.slim import slim

EndPoints = dict[str, tf.Tensor]


def build_head(
    net: tf.Tensor,
    *,
    outer: Any,
    collection: str,
    num_classes: int | None,
    is_training: bool,
    dropout_keep_prob: float,
    spatial_squeeze: bool,
    global_pool: bool,
    window: int,
    depth: int = 4096,
    padding: str = "VALID",
    **logits_options: Any,
) -> tuple[tf.Tensor, EndPoints]:
    """Builds fc6, fc7 and fc8 on [N, H, W, C].

    Args:
        net: The last feature map.
        outer: Variable scope of the network.
        collection: Holds the outputs of the layers so far, and is emptied.
        num_classes: K. None or 0 returns the features before fc8.
        is_training: Dropout is active.
        dropout_keep_prob: Fraction of the activations of fc6 and fc7 that training keeps, in
            (0, 1].
        spatial_squeeze: Logits are [N, K] instead of [N, h, w, K]; larger maps than h = w = 1 are
            averaged then (TF-Slim fails there).
        global_pool: Averages fc7 over h and w in any case.
        window: Height and width of fc6, which are those of the feature map at the published image
            size.
        depth: Number of channels of fc6; fc7 has 4096.
        padding: Of fc6; "SAME" for maps of the feature map's resolution.
        **logits_options: Of the convolution fc8.

    Returns:
        Logits (features [N, h, w, 4096] without fc8) and activations by name.
    """
    net = slim.conv2d(net, depth, [window, window], padding=padding, scope="fc6")
    net = slim.dropout(net, dropout_keep_prob, is_training=is_training, scope="dropout6")
    net = slim.conv2d(net, 4096, [1, 1], scope="fc7")
    collected = slim.utils.convert_collection_to_dict(collection, clear_collection=True)
    # tf_slim names pools after the name scope, which a second build in one graph finds taken.
    end_points = {
        name.replace(outer.original_name_scope, f"{outer.name}/", 1): activation
        for name, activation in collected.items()
    }
    is_squeezed = bool(num_classes) and spatial_squeeze
    if global_pool or (is_squeezed and pooling.has_more_than_one_pixel(net)):
        net = tf.reduce_mean(net, [1, 2], keepdims=True, name="global_pool")
        end_points["global_pool"] = net
    if not num_classes:
        return net, end_points
    net = slim.dropout(net, dropout_keep_prob, is_training=is_training, scope="dropout7")
    net = slim.conv2d(
        net,
        num_classes,
        [1, 1],
        activation_fn=None,
        normalizer_fn=None,
        outputs_collections=None,
        scope="fc8",
        **logits_options,
    )
    if spatial_squeeze:
        net = tf.squeeze(net, [1, 2], name="fc8/squeezed")
    end_points[f"{outer.name}/fc8"] = net
    return net, end_points
