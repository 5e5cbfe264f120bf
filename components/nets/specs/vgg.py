"""AlexNet v2, OverFeat and VGG: fc6 is a convolution over the whole last feature map."""

from __future__ import annotations

from typing import Any

from slimworks.components.nets.spec import DOWNLOADS, NetSpec, module_of


def _spec(
    name: str, module: str, arg_scope: str, size: int, min_size: int, **facts: Any
) -> NetSpec:
    return NetSpec(
        name=name,
        module=module_of(module),
        function=name,
        arg_scope=arg_scope,
        scope=name,
        head_scopes=(f"{name}/fc8",),
        embedding_end_point=f"{name}/fc7",
        preprocessing="vgg",
        default_image_size=size,
        min_image_size=min_size,  # below, the last feature map is smaller than the window of fc6
        num_classes=1000,
        labels_offset=1,
        **facts,
    )


def _vgg(name: str, **facts: Any) -> NetSpec:
    return _spec(name, "vgg", "vgg_arg_scope", 224, 224, **facts)


SPECS = (
    _spec(
        "alexnet_v2",
        "alexnet",
        "alexnet_v2_arg_scope",
        224,
        195,
        parameters=50_303_912,
        macs=736_555_776,
    ),
    _spec(
        "overfeat",
        "overfeat",
        "overfeat_arg_scope",
        231,
        231,
        parameters=145_704_424,
        macs=2_647_011_328,
    ),
    _vgg("vgg_a", parameters=132_863_336, macs=7_609_090_048),
    _vgg(
        "vgg_16",
        parameters=138_357_544,
        macs=15_470_264_320,
        checkpoint_url=f"{DOWNLOADS}/vgg_16_2016_08_28.tar.gz",
        top1=71.5,
        top5=89.8,
    ),
    _vgg(
        "vgg_19",
        parameters=143_667_240,
        macs=19_632_062_464,
        checkpoint_url=f"{DOWNLOADS}/vgg_19_2016_08_28.tar.gz",
        top1=71.1,
        top5=89.8,
    ),
)
