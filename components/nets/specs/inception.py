"""Inception v1 to v4 and Inception-ResNet v2."""

from __future__ import annotations

from typing import Any

from slimworks.components.nets.spec import DOWNLOADS, NetSpec, module_of


def _spec(name: str, scope: str, archive: str, **facts: Any) -> NetSpec:
    return NetSpec(
        name=name,
        module=module_of("inception"),
        function=name,
        arg_scope=f"{name}_arg_scope",
        scope=scope,
        preprocessing="inception",
        num_classes=1001,
        batch_norm_decay=0.9997,
        checkpoint_url=f"{DOWNLOADS}/{archive}.tar.gz",
        **facts,
    )


SPECS = (
    _spec(
        "inception_v1",
        "InceptionV1",
        "inception_v1_2016_08_28",
        head_scopes=("InceptionV1/Logits",),
        embedding_end_point="Mixed_5c",
        default_image_size=224,
        min_image_size=1,  # every layer pads
        parameters=6_618_649,
        macs=1_498_377_216,
        top1=69.8,
        top5=89.6,
    ),
    _spec(
        "inception_v2",
        "InceptionV2",
        "inception_v2_2016_08_28",
        head_scopes=("InceptionV2/Logits",),
        embedding_end_point="Mixed_5c",
        default_image_size=224,
        min_image_size=1,  # every layer pads
        parameters=11_179_361,
        macs=1_934_858_240,
        top1=73.9,
        top5=91.8,
    ),
    _spec(
        "inception_v3",
        "InceptionV3",
        "inception_v3_2016_08_28",
        head_scopes=("InceptionV3/Logits", "InceptionV3/AuxLogits"),
        embedding_end_point="Mixed_7c",
        default_image_size=299,
        min_image_size=107,  # below, the auxiliary head has no 5x5 left to pool
        min_image_size_without_auxiliary=75,
        parameters=27_145_970,
        macs=5_713_218_144,
        top1=78.0,
        top5=93.9,
    ),
    _spec(
        "inception_v4",
        "InceptionV4",
        "inception_v4_2016_09_09",
        head_scopes=("InceptionV4/Logits", "InceptionV4/AuxLogits"),
        embedding_end_point="Mixed_7d",
        default_image_size=299,
        min_image_size=107,  # as inception_v3
        min_image_size_without_auxiliary=75,
        parameters=46_009_106,
        macs=12_253_976_160,
        top1=80.2,
        top5=95.2,
    ),
    _spec(
        "inception_resnet_v2",
        "InceptionResnetV2",
        "inception_resnet_v2_2016_08_30",
        head_scopes=("InceptionResnetV2/Logits", "InceptionResnetV2/AuxLogits"),
        embedding_end_point="Conv2d_7b_1x1",
        default_image_size=299,
        min_image_size=107,  # as inception_v3
        min_image_size_without_auxiliary=75,
        parameters=59_182_258,
        macs=13_155_795_552,
        top1=80.4,
        top5=95.3,
    ),
)
