"""NASNet-A and PNASNet-5. Their variables have no common root scope."""

from __future__ import annotations

from typing import Any

from slimworks.components.nets.spec import STORAGE, NetSpec, module_of

# The auxiliary head, which training builds, pools 5x5 pixels of what is left of 67.
_MIN_IMAGENET_SIZE = 67

_MODELS = f"{STORAGE}/download.tensorflow.org/models"


def _spec(name: str, auxiliary: str, **facts: Any) -> NetSpec:
    family = name.partition("_")[0]
    return NetSpec(
        name=name,
        module=module_of(f"nasnet.{family}"),
        function=f"build_{name}",
        arg_scope=f"{name}_arg_scope",
        scope="",
        head_scopes=("final_layer", auxiliary),
        embedding_end_point="global_pool",
        preprocessing="inception",
        has_drop_path=True,
        **facts,
    )


SPECS = (
    _spec(
        "nasnet_cifar",
        "aux_11",
        default_image_size=32,
        min_image_size=9,  # as above, at half the resolution
        min_image_size_without_auxiliary=1,
        parameters=4_978_036,
        macs=544_333_312,
        num_classes=10,
        batch_norm_decay=0.9,
    ),
    _spec(
        "nasnet_mobile",
        "aux_7",
        default_image_size=224,
        min_image_size=_MIN_IMAGENET_SIZE,
        min_image_size_without_auxiliary=3,
        parameters=7_703_044,
        macs=563_639_872,
        num_classes=1001,
        batch_norm_decay=0.9997,
        checkpoint_url=f"{_MODELS}/nasnet-a_mobile_04_10_2017.tar.gz",
        top1=74.0,
        top5=91.6,
    ),
    _spec(
        "nasnet_large",
        "aux_11",
        default_image_size=331,
        min_image_size=_MIN_IMAGENET_SIZE,
        min_image_size_without_auxiliary=3,
        parameters=93_325_736,
        macs=23_783_418_690,
        num_classes=1001,
        batch_norm_decay=0.9997,
        checkpoint_url=f"{_MODELS}/nasnet-a_large_04_10_2017.tar.gz",
        top1=82.7,
        top5=96.2,
    ),
    _spec(
        "pnasnet_large",
        "aux_7",
        default_image_size=331,
        min_image_size=_MIN_IMAGENET_SIZE,
        min_image_size_without_auxiliary=3,
        parameters=90_648_974,
        macs=24_937_400_112,
        num_classes=1001,
        batch_norm_decay=0.9997,
        checkpoint_url=f"{_MODELS}/pnasnet-5_large_2017_12_13.tar.gz",
        top1=82.9,
        top5=96.2,
    ),
    _spec(
        "pnasnet_mobile",
        "aux_5",
        default_image_size=224,
        min_image_size=_MIN_IMAGENET_SIZE,
        min_image_size_without_auxiliary=3,
        parameters=7_479_113,
        macs=587_294_280,
        num_classes=1001,
        batch_norm_decay=0.9997,
        checkpoint_url=f"{_MODELS}/pnasnet-5_mobile_2017_12_13.tar.gz",
        top1=74.2,
        top5=91.9,
    ),
)
