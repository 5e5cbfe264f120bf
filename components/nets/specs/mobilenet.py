"""MobileNet v1, v2, v3 and EdgeTPU."""

from __future__ import annotations

from typing import Any

from slimworks.components.nets.spec import DOWNLOADS, STORAGE, NetSpec, module_of


def _spec(name: str, module: str, function: str, scope: str, **facts: Any) -> NetSpec:
    return NetSpec(
        name=name,
        module=module_of(module),
        function=function,
        scope=scope,
        head_scopes=(f"{scope}/Logits",),
        preprocessing="inception",
        default_image_size=224,
        num_classes=1001,
        **facts,
    )


def _v1(suffix: str, width: str, **facts: Any) -> NetSpec:
    return _spec(
        f"mobilenet_v1{suffix}",
        "mobilenet_v1",
        f"mobilenet_v1{suffix}",
        "MobilenetV1",
        arg_scope="mobilenet_v1_arg_scope",
        embedding_end_point="Conv2d_13_pointwise",
        min_image_size=1,  # every layer pads
        batch_norm_decay=0.9997,
        checkpoint_url=f"{DOWNLOADS}/mobilenet_v1_2018_08_02/mobilenet_v1_{width}_224.tgz",
        **facts,
    )


def _v2(suffix: str, width: str, **facts: Any) -> NetSpec:
    return _spec(
        f"mobilenet_v2{suffix}",
        "mobilenet.mobilenet_v2",
        f"mobilenet_v2{suffix}" if suffix else "mobilenet",
        "MobilenetV2",
        arg_scope="training_scope",
        embedding_end_point="global_pool",
        min_image_size=1,  # every layer pads
        batch_norm_decay=0.997,
        checkpoint_url=f"{STORAGE}/mobilenet_v2/checkpoints/mobilenet_v2_{width}_224.tgz",
        **facts,
    )


def _v3(suffix: str, archive: str, **facts: Any) -> NetSpec:
    return _spec(
        f"mobilenet_v3_{suffix}",
        "mobilenet.mobilenet_v3",
        suffix,
        "MobilenetV3",
        arg_scope="training_scope",
        embedding_end_point="global_pool",
        min_image_size=1,  # every layer pads
        batch_norm_decay=0.997,
        checkpoint_url=f"{STORAGE}/mobilenet_v3/checkpoints/{archive}_224_1.0_float.tgz",
        **facts,
    )


def _edgetpu(suffix: str, width: str, **facts: Any) -> NetSpec:
    return _spec(
        f"mobilenet_edgetpu{suffix}",
        "mobilenet.mobilenet_v3",
        f"edge_tpu{suffix}",
        "MobilenetEdgeTPU",
        arg_scope="training_scope",
        embedding_end_point="global_pool",
        min_image_size=1,  # every layer pads
        batch_norm_decay=0.997,
        checkpoint_url=f"{STORAGE}/mobilenet_edgetpu/checkpoints/mobilenet_edgetpu_224_{width}.tgz",
        note="accuracy of the 8-bit model",
        **facts,
    )


SPECS = (
    _v1("", "1.0", parameters=4_233_001, macs=568_741_376, top1=70.9, top5=89.9),
    _v1("_075", "0.75", parameters=2_586_329, macs=325_401_216, top1=68.4, top5=88.2),
    _v1("_050", "0.5", parameters=1_332_105, macs=149_497_600, top1=63.3, top5=84.9),
    _v1("_025", "0.25", parameters=470_329, macs=41_030_528, top1=49.8, top5=74.2),
    _v2("", "1.0", parameters=3_506_153, macs=300_775_552, top1=71.9, top5=91.0),
    _v2("_140", "1.4", parameters=6_110_569, macs=582_197_616, top1=74.9, top5=92.5),
    _v2("_035", "0.35", parameters=1_678_409, macs=59_287_088, top1=60.3, top5=82.9),
    _v3("small", "v3-small", parameters=2_543_881, macs=56_511_424, top1=67.5),
    _v3("large", "v3-large", parameters=5_484_313, macs=216_591_040, top1=75.2),
    _v3(
        "small_minimalistic",
        "v3-small-minimalistic",
        parameters=2_045_761,
        macs=52_289_472,
        top1=61.9,
    ),
    _v3(
        "large_minimalistic",
        "v3-large-minimalistic",
        parameters=3_925_569,
        macs=209_137_984,
        top1=72.3,
    ),
    _edgetpu("", "1.0", parameters=4_092_713, macs=990_670_464, top1=75.6),
    _edgetpu("_075", "0.75", parameters=2_989_441, macs=624_487_584, top1=73.5),
)
