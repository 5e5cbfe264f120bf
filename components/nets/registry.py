"""One record per network: all that must agree about it. Importable without TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from slimworks.components.errors import ConfigError, nearest

Preprocessing = Literal["inception", "vgg", "cifarnet", "lenet"]

_DOWNLOADS = "http://download.tensorflow.org/models"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetSpec:
    """What is known of one network.

    Attributes:
        name: TF-Slim's factory name.
        module: Module that holds the functions; imported only when the network is built.
        function: Name of the build function.
        arg_scope: Name of the function that returns the arg scope.
        scope: Root of the variable names.
        head_scopes: Prefixes of the variables that depend on the class count, auxiliary heads
            included; the whole auxiliary head, as TF-Slim's users exclude it.
        embedding_end_point: The last activation before the head.
        preprocessing: Family of the preprocessing that the network was published with.
        default_image_size: Height and width in pixels.
        min_image_size: Smallest height and width in pixels that can be built.
        max_image_size: Largest, or None where the network pools globally.
        num_channels: Of the input.
        parameters: Number of trainable parameters at `num_classes`.
        num_classes: Of the published checkpoint and the layout.
        labels_offset: 1 where the published checkpoint has no background class, else 0.
        batch_norm_decay: Default decay of the moving averages; None without batch norm.
        has_global_pool: The build function takes `global_pool`, and needs it for images above
            the default size.
        checkpoint_url: Archive with the published weights.
        top1: Published ImageNet accuracy in percent.
        top5: As top1, label among the first five.
    """

    name: str
    module: str
    function: str
    arg_scope: str
    scope: str
    head_scopes: tuple[str, ...]
    embedding_end_point: str
    preprocessing: Preprocessing
    default_image_size: int
    min_image_size: int
    max_image_size: int | None = None
    num_channels: int = 3
    parameters: int
    num_classes: int
    labels_offset: int = 0
    batch_norm_decay: float | None = None
    has_global_pool: bool = False
    checkpoint_url: str | None = None
    top1: float | None = None
    top5: float | None = None


def _ours(module: str) -> str:
    return f"slimworks.components.nets.{module}"


def _small(name: str, scope: str, **facts: Any) -> NetSpec:
    """Networks for MNIST and CIFAR, without published checkpoints."""
    return NetSpec(
        name=name,
        module=_ours(name),
        function=name,
        arg_scope=f"{name}_arg_scope",
        scope=scope,
        preprocessing=name,  # type: ignore[arg-type]
        num_classes=10,
        **facts,
    )


def _mobilenet_v1(suffix: str, width: str, **facts: Any) -> NetSpec:
    return NetSpec(
        name=f"mobilenet_v1{suffix}",
        module=_ours("mobilenet_v1"),
        function=f"mobilenet_v1{suffix}",
        arg_scope="mobilenet_v1_arg_scope",
        scope="MobilenetV1",
        head_scopes=("MobilenetV1/Logits",),
        embedding_end_point="Conv2d_13_pointwise",
        preprocessing="inception",
        default_image_size=224,
        min_image_size=32,  # one pixel is left of it before the pool
        has_global_pool=True,
        num_classes=1001,
        batch_norm_decay=0.9997,
        checkpoint_url=f"{_DOWNLOADS}/mobilenet_v1_2018_08_02/mobilenet_v1_{width}_224.tgz",
        **facts,
    )


def _inception(version: int, **facts: Any) -> NetSpec:
    return NetSpec(
        name=f"inception_v{version}",
        module=_ours("inception"),
        function=f"inception_v{version}",
        arg_scope=f"inception_v{version}_arg_scope",
        scope=f"InceptionV{version}",
        preprocessing="inception",
        has_global_pool=True,
        num_classes=1001,
        batch_norm_decay=0.9997,
        checkpoint_url=f"{_DOWNLOADS}/inception_v{version}_2016_08_28.tar.gz",
        **facts,
    )


def _resnet(version: int, depth: int, date: str | None, **facts: Any) -> NetSpec:
    name = f"resnet_v{version}_{depth}"
    return NetSpec(
        name=name,
        module=_ours(f"resnet_v{version}"),
        function=name,
        arg_scope="resnet_arg_scope",
        scope=name,
        head_scopes=(f"{name}/logits",),
        embedding_end_point="global_pool",
        # TF-Slim's choice. The accuracies of v2 were measured at 299 px with "inception".
        preprocessing="vgg",
        default_image_size=224,
        min_image_size=32,
        num_classes=1000 if version == 1 else 1001,
        labels_offset=1 if version == 1 else 0,
        batch_norm_decay=0.997,
        checkpoint_url=f"{_DOWNLOADS}/{name}_{date}.tar.gz" if date else None,
        **facts,
    )


def _convolutional_head(name: str, module: str, arg_scope: str, **facts: Any) -> NetSpec:
    """VGG and its relatives: fc6 is a convolution over the whole last feature map."""
    return NetSpec(
        name=name,
        module=f"tf_slim.nets.{module}",
        function=name,
        arg_scope=arg_scope,
        scope=name,
        head_scopes=(f"{name}/fc8",),
        embedding_end_point=f"{name}/fc7",
        preprocessing="vgg",
        num_classes=1000,
        labels_offset=1,
        **facts,
    )


def _vgg(name: str, parameters: int, **facts: Any) -> NetSpec:
    return _convolutional_head(
        name,
        "vgg",
        "vgg_arg_scope",
        default_image_size=224,
        min_image_size=224,
        max_image_size=255,
        parameters=parameters,
        **facts,
    )


_SPECS = (
    _small(
        "lenet",
        "LeNet",
        head_scopes=("LeNet/fc4",),
        embedding_end_point="fc3",
        default_image_size=28,
        min_image_size=4,
        num_channels=1,
        parameters=3_274_634,
    ),
    _small(
        "cifarnet",
        "CifarNet",
        head_scopes=("CifarNet/logits",),
        embedding_end_point="fc4",
        default_image_size=32,
        min_image_size=4,
        parameters=1_756_426,
    ),
    _mobilenet_v1("", "1.0", parameters=4_233_001, top1=70.9, top5=89.9),
    _mobilenet_v1("_075", "0.75", parameters=2_586_329, top1=68.4, top5=88.2),
    _mobilenet_v1("_050", "0.5", parameters=1_332_105, top1=63.3, top5=84.9),
    _mobilenet_v1("_025", "0.25", parameters=470_329, top1=49.8, top5=74.2),
    _inception(
        1,
        head_scopes=("InceptionV1/Logits",),
        embedding_end_point="Mixed_5c",
        default_image_size=224,
        min_image_size=32,
        parameters=6_618_649,
        top1=69.8,
        top5=89.6,
    ),
    _inception(
        2,
        head_scopes=("InceptionV2/Logits",),
        embedding_end_point="Mixed_5c",
        default_image_size=224,
        min_image_size=32,
        parameters=11_179_361,
        top1=73.9,
        top5=91.8,
    ),
    _inception(
        3,
        head_scopes=("InceptionV3/Logits", "InceptionV3/AuxLogits"),
        embedding_end_point="Mixed_7c",
        default_image_size=299,
        min_image_size=107,  # below, the auxiliary head has no 5x5 left to pool
        parameters=27_145_970,
        top1=78.0,
        top5=93.9,
    ),
    _resnet(1, 50, "2016_08_28", parameters=25_557_032, top1=75.2, top5=92.2),
    _resnet(1, 101, "2016_08_28", parameters=44_549_160, top1=76.4, top5=92.9),
    _resnet(1, 152, "2016_08_28", parameters=60_192_808, top1=76.8, top5=93.2),
    _resnet(1, 200, None, parameters=64_673_832),
    _resnet(2, 50, "2017_04_14", parameters=25_570_409, top1=75.6, top5=92.8),
    _resnet(2, 101, "2017_04_14", parameters=44_579_945, top1=77.0, top5=93.7),
    _resnet(2, 152, "2017_04_14", parameters=60_238_953, top1=77.8, top5=94.1),
    _resnet(2, 200, None, parameters=64_728_169, top1=79.9, top5=95.2),
    _vgg("vgg_a", 132_863_336),
    _vgg(
        "vgg_16",
        138_357_544,
        checkpoint_url=f"{_DOWNLOADS}/vgg_16_2016_08_28.tar.gz",
        top1=71.5,
        top5=89.8,
    ),
    _vgg(
        "vgg_19",
        143_667_240,
        checkpoint_url=f"{_DOWNLOADS}/vgg_19_2016_08_28.tar.gz",
        top1=71.1,
        top5=89.8,
    ),
    _convolutional_head(
        "alexnet_v2",
        "alexnet",
        "alexnet_v2_arg_scope",
        default_image_size=224,
        min_image_size=195,
        max_image_size=226,
        parameters=50_303_912,
    ),
    _convolutional_head(
        "overfeat",
        "overfeat",
        "overfeat_arg_scope",
        default_image_size=231,
        min_image_size=231,
        max_image_size=262,
        parameters=145_704_424,
    ),
)

REGISTRY: dict[str, NetSpec] = {spec.name: spec for spec in _SPECS}


def get_net(name: str) -> NetSpec:
    """Returns the record of a network.

    Raises:
        ConfigError: No network has this name; the nearest one is suggested.
    """
    if name in REGISTRY:
        return REGISTRY[name]
    raise ConfigError(
        f"model.net is {name!r}, which is no known network.{nearest(name, REGISTRY)}",
        f"Choose one of {', '.join(REGISTRY)}; `slimworks nets` describes them.",
    )


def check_image_size(spec: NetSpec, image_size: int) -> None:
    """Checks that a network can be built for square images of this many pixels a side.

    Raises:
        ConfigError: Too small, or too large for a head without global pooling.
    """
    if image_size < spec.min_image_size:
        bound = f"needs at least {spec.min_image_size}"
    elif spec.max_image_size is not None and image_size > spec.max_image_size:
        bound = f"takes at most {spec.max_image_size}"
    else:
        return
    raise ConfigError(
        f"model.image_size is {image_size}, but {spec.name} {bound} pixels.",
        f"Type `--set model.image_size={spec.default_image_size}`, or choose another model.net.",
    )
