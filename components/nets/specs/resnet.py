"""ResNet v1 and v2."""

from __future__ import annotations

from typing import Any

from slimworks.components.nets.spec import DOWNLOADS, NetSpec, module_of


def _spec(name: str, module: str, archive_date: str | None, **facts: Any) -> NetSpec:
    return NetSpec(
        name=name,
        module=module_of(module),
        function=name,
        arg_scope="resnet_arg_scope",
        scope=name,
        head_scopes=(f"{name}/logits",),
        embedding_end_point="global_pool",
        default_image_size=224,
        min_image_size=1,  # every layer pads
        batch_norm_decay=0.997,
        checkpoint_url=f"{DOWNLOADS}/{name}_{archive_date}.tar.gz" if archive_date else None,
        **facts,
    )


def _v1(depth: int, archive_date: str | None, **facts: Any) -> NetSpec:
    return _spec(
        f"resnet_v1_{depth}",
        "resnet_v1",
        archive_date,
        preprocessing="vgg",
        num_classes=1000,
        labels_offset=1,
        **facts,
    )


def _v2(depth: int, archive_date: str | None, **facts: Any) -> NetSpec:
    return _spec(
        f"resnet_v2_{depth}",
        "resnet_v2",
        archive_date,
        # What the published checkpoints were trained and measured with. TF-Slim's table says
        # "vgg", whose pixels are a hundred times larger than these weights expect.
        preprocessing="inception",
        num_classes=1001,
        published_image_size=299,
        **facts,
    )


SPECS = (
    _v1(50, "2016_08_28", parameters=25_557_032, macs=3_482_255_360, top1=75.2, top5=92.2),
    _v1(101, "2016_08_28", parameters=44_549_160, macs=7_194_476_544, top1=76.4, top5=92.9),
    _v1(152, "2016_08_28", parameters=60_192_808, macs=10_906_697_728, top1=76.8, top5=93.2),
    _v1(200, None, parameters=64_673_832, macs=14_400_552_960),
    _v2(50, "2017_04_14", parameters=25_570_409, macs=3_482_257_408, top1=75.6, top5=92.8),
    _v2(101, "2017_04_14", parameters=44_579_945, macs=7_194_478_592, top1=77.0, top5=93.7),
    _v2(152, "2017_04_14", parameters=60_238_953, macs=10_906_699_776, top1=77.8, top5=94.1),
    _v2(
        200,
        None,
        parameters=64_728_169,
        macs=14_400_555_008,
        top1=79.9,
        top5=95.2,
        note="accuracy quoted from the paper; no checkpoint was published",
    ),
)
