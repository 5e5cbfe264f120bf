"""Verbs that inform: nets, doctor."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from slimworks.components.errors import ConfigError
from slimworks.pipeline.cli import emit, verb

if TYPE_CHECKING:
    from slimworks.components.nets.spec import NetSpec


@verb(
    "nets",
    "  slimworks nets\n"
    "  slimworks nets mobilenet_v1_025 --image-size 128\n"
    "  slimworks nets my_nets:my_net                              one of your own\n"
    "  slimworks nets --checkpoint mobilenet_v1_0.25_128.ckpt     which network is it of?\n",
)
@click.argument("name", required=False)
@click.option("--num-classes", type=int, help="Classes; default: the published checkpoint's.")
@click.option("--image-size", type=int, help="Input side in pixels; default: the net's.")
@click.option("--checkpoint", metavar="FILE", help="Say which network this checkpoint is of.")
def nets_verb(
    name: str | None,
    num_classes: int | None,
    image_size: int | None,
    checkpoint: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """List networks, print what one consists of, or say which one a checkpoint is of."""
    if checkpoint is not None:
        if name is not None:
            raise ConfigError(
                f"nets was given {name} and --checkpoint.", "Give one of the two at a time."
            )
        _emit_checkpoint(checkpoint, as_json)
    elif name is not None:
        _emit_net(name, num_classes, image_size, as_json)
    else:
        _emit_list(as_json)
    return 0


def _emit_list(as_json: bool) -> None:
    from slimworks.components.nets.registry import REGISTRY

    rows = [
        (f"{'net':<31}{'parameters':>12}{'MACs':>15}{'size':>5}{'top-1':>6}{'top-5':>6}", "file")
    ]
    rows += [
        (
            f"{spec.name:<31}{spec.parameters:>12,}{spec.macs:>15,}"
            f"{spec.default_image_size:>5}{_or_dash(spec.top1):>6}{_or_dash(spec.top5):>6}",
            _or_dash(spec.checkpoint_file),
        )
        for spec in REGISTRY.values()
    ]
    value = {"nets": [_record(spec) for spec in REGISTRY.values()]}
    emit(value, as_json, "\n".join(f"{left}  {right}" for left, right in rows))


def _record(spec: NetSpec) -> dict[str, Any]:
    return {**dataclasses.asdict(spec), "checkpoint_file": spec.checkpoint_file}


def _or_dash(value: float | str | None) -> str:
    """Text of a figure or name; "-" for none."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _emit_net(name: str, num_classes: int | None, image_size: int | None, as_json: bool) -> None:
    from slimworks.components.nets.own_nets import is_own
    from slimworks.components.nets.registry import check_image_size, get_net

    _check_num_classes(num_classes)
    if not is_own(name):  # checks before seconds of imports
        spec = get_net(name)
        check_image_size(spec, image_size or spec.default_image_size)
    from slimworks.pipeline import tfx_import

    tfx_import.load()
    from slimworks.components.nets.describe import describe_net

    spec = get_net(name, image_size)
    description = describe_net(name, num_classes=num_classes, image_size=image_size)
    variables = {
        key: {"shape": shape, "trainable": key in description.trainable}
        for key, shape in description.variables.items()
    }
    value = {**dataclasses.asdict(description), "variables": variables, "record": _record(spec)}
    del value["trainable"]
    lines = [
        f"{name}: {description.parameters:,} trainable parameters, {description.macs:,} MACs at "
        f"{description.image_size} px and {description.num_classes} classes",
        *_fact_lines(spec),
        f"end points ({len(description.end_points)}):",
        *[f"  {key:<48} {_shape(shape)}" for key, shape in description.end_points.items()],
        f"variables ({len(variables)}; * not trained: moving statistics):",
        *[
            f"  {key:<70} {_shape(shape)}{'' if key in description.trainable else ' *'}"
            for key, shape in description.variables.items()
        ],
    ]
    emit(value, as_json, "\n".join(lines))


def _check_num_classes(num_classes: int | None) -> None:
    if num_classes is not None and num_classes < 1:
        raise ConfigError(
            f"--num-classes is {num_classes}, expected at least 1.",
            "Leave it out for the published checkpoint's number of classes.",
        )


def _fact_lines(spec: NetSpec) -> list[str]:
    from slimworks.components.nets.own_nets import is_own

    facts = _own_facts(spec) if is_own(spec.name) else _published_facts(spec)
    return [f"  {key + ':':<15} {text}" for key, text in facts.items() if text]


def _own_facts(spec: NetSpec) -> dict[str, str]:
    return {
        "image size": f"{spec.default_image_size} px; {_channels(spec)}",
        "preprocessing": spec.preprocessing,
        "head": ", ".join(spec.head_scopes),
        "note": spec.note,
    }


def _published_facts(spec: NetSpec) -> dict[str, str]:
    background = "class 0 is the background" if spec.num_classes == 1001 else "no background class"
    offset = f"; labels_offset {spec.labels_offset}" if spec.labels_offset else ""
    measured = spec.published_image_size or spec.default_image_size
    accuracy = f"top-1 {_or_dash(spec.top1)} %, top-5 {_or_dash(spec.top5)} % at {measured} px"
    return {
        "image size": f"{spec.default_image_size} px, at least {spec.min_image_size}; "
        f"{_channels(spec)}",
        "preprocessing": spec.preprocessing,
        "classes": f"{spec.num_classes} as published: {background}{offset}",
        "head": ", ".join(spec.head_scopes),
        "checkpoint": spec.checkpoint_url or "none published",
        "ImageNet": accuracy if spec.top1 else "no published accuracy",
        "note": spec.note,
    }


def _channels(spec: NetSpec) -> str:
    return f"{spec.num_channels} channel{'s' if spec.num_channels > 1 else ''}"


def _emit_checkpoint(checkpoint: str, as_json: bool) -> None:
    from slimworks.pipeline import tfx_import

    tfx_import.load()
    from slimworks.components.checkpoints.describe import describe_checkpoint

    found = describe_checkpoint(checkpoint)
    near = "" if found.fits else ", in name only: another width or kind of input"
    step = "not stated" if found.global_step is None else f"{found.global_step:,}"
    slots = ", ".join(f"{count} {slot}" for slot, count in found.slots.items())
    facts = {
        "net": f"{found.net}{near}",
        "variables": f"{found.num_fitting} of {found.num_variables} fit"
        + (f"; {found.num_others} others" if found.num_others else ""),
        "classes": f"{found.num_classes or 'none'}: {found.classes}",
        "names": "".join(
            f"start with {stored!r} where the network's start with {wanted!r}"
            for stored, wanted in found.name_map.items()
        ),
        "averages": f"{found.num_averages} moving averages, preferred in restoring"
        if found.num_averages
        else "no moving averages",
        "slots": slots or "no optimizer slots",
        "step": step,
        "image size": f"{found.image_size} px by its name" if found.image_size else "",
        "to fine-tune": found.command or "",
    }
    lines = [f"{found.checkpoint}: {found.version} checkpoint"]
    lines += [f"  {key + ':':<13} {text}" for key, text in facts.items() if text]
    emit(dataclasses.asdict(found), as_json, "\n".join(lines))


def _shape(shape: Any) -> str:
    return "x".join("N" if size is None else str(size) for size in shape)


@verb("doctor", "  slimworks doctor\n  slimworks doctor --server 127.0.0.1:8500\n")
@click.option(
    "--root", default="slimworks-runs", show_default=True, help="Where runs are to be kept."
)
@click.option("--server", metavar="HOST:PORT", help="Also ask this model server.")
@click.option("--model-name", default="default", show_default=True, help="Served model.")
@click.option("--quick", is_flag=True, help="Only versions, disk and permissions.")
def doctor_verb(
    root: str, server: str | None, model_name: str, quick: bool, as_json: bool, debug: bool
) -> int:
    """Check versions, CPU, memory, disk, permissions and server; each failure with its fix."""
    from slimworks.pipeline.doctor import examine

    checks = examine(root, server, model_name, quick)
    lines = []
    for check in checks:
        lines.append(f"{'ok  ' if check.is_healthy else 'FAIL'} {check.name}: {check.found}")
        if not check.is_healthy:
            lines.append(f"     Fix: {check.fix}")
    healthy = all(check.is_healthy for check in checks)
    value = {"is_healthy": healthy, "checks": [dataclasses.asdict(check) for check in checks]}
    emit(value, as_json, "\n".join(lines))
    return 0 if healthy else 2
