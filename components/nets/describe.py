"""What a network consists of: end points, variables, parameters, multiply-accumulates."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from slimworks.components.nets import layout
from slimworks.components.nets.registry import check_image_size, get_net

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class NetDescription:
    """A network at one class count and image size.

    Attributes:
        name: Of the registry.
        num_classes: K.
        image_size: Height and width in pixels.
        num_channels: Of the images.
        end_points: Shapes of the activations for one image, by name. They are those of training:
            the auxiliary head of NASNet and PNASNet exists in training only.
        variables: Shapes by TF1 name, in TF-Slim's order.
        parameters: Number of trainable scalars.
        macs: Multiply-accumulates of one image's logits.
        trainable: Names of the variables that gradients change.
    """

    name: str
    num_classes: int
    image_size: int
    num_channels: int
    end_points: dict[str, Shape]
    variables: dict[str, Shape]
    parameters: int
    macs: int
    trainable: frozenset[str]


def describe_net(
    name: str, num_classes: int | None = None, image_size: int | None = None
) -> NetDescription:
    """Builds a network's training graph and reads off what it consists of.

    Args:
        name: Of the registry, or a user's own MODULE:FUNCTION.
        num_classes: K; None for the published checkpoint's.
        image_size: Height and width in pixels; None for the published size.

    Raises:
        ConfigError: Unknown network, or an image size that it cannot take.
    """
    spec = get_net(name, image_size)
    num_classes = num_classes or spec.num_classes
    image_size = image_size or spec.default_image_size
    check_image_size(spec, image_size)
    net_graph = layout.build_graph(
        name, num_classes, image_size, spec.num_channels, is_training=True
    )
    return NetDescription(
        name=name,
        num_classes=num_classes,
        image_size=image_size,
        num_channels=spec.num_channels,
        end_points={
            end_point: tuple(tensor.shape.as_list())
            for end_point, tensor in net_graph.end_points.items()
        },
        variables={variable.name: variable.shape for variable in net_graph.variables},
        parameters=sum(v.num_elements for v in net_graph.variables if v.trainable),
        macs=count_macs(net_graph.logits),
        trainable=frozenset(v.name for v in net_graph.variables if v.trainable),
    )


def count_macs(logits: tf.Tensor) -> int:
    """Counts the multiply-accumulates of convolutions and matrix products behind `logits`.

    Auxiliary heads do not count, nor do biases, batch norm and pools.
    """
    return sum(_macs(operation) for operation in layout.operations_behind([logits]).values())


def _macs(operation: tf.Operation) -> int:
    if operation.type not in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
        return 0
    kernel = operation.inputs[1].shape.as_list()
    # Terms per output element: kernels are [h, w, in, out], [h, w, channels, 1] or [in, out].
    terms = kernel[:2] if operation.type == "DepthwiseConv2dNative" else kernel[:-1]
    outputs = operation.outputs[0].shape.as_list()
    return int(np.prod(terms, dtype=np.int64) * np.prod(outputs, dtype=np.int64))
