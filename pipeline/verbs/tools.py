"""Verbs that inform: nets, doctor."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from slimworks.pipeline.cli import emit, verb


@verb("nets", "  slimworks nets\n  slimworks nets mobilenet_v1_025 --image-size 128\n")
@click.argument("name", required=False)
@click.option("--num-classes", type=int, help="Classes; default: the published checkpoint's.")
@click.option("--image-size", type=int, help="Input side in pixels; default: the net's.")
def nets_verb(
    name: str | None, num_classes: int | None, image_size: int | None, as_json: bool, debug: bool
) -> int:
    """List networks, or print one network's end points, variables, parameters and MACs."""
    from slimworks.components.nets.registry import REGISTRY, get_net

    if name is None:
        rows = [dataclasses.asdict(spec) for spec in REGISTRY.values()]
        lines = [f"{'net':<22}{'parameters':>13}{'image size':>12}{'top-1':>7}  checkpoint"]
        lines += [
            f"{spec.name:<22}{spec.parameters:>13,}{spec.default_image_size:>12}"
            f"{'' if spec.top1 is None else spec.top1:>7}  {spec.checkpoint_url or '-'}"
            for spec in REGISTRY.values()
        ]
        emit({"nets": rows}, as_json, "\n".join(lines))
        return 0
    get_net(name)
    from slimworks.components.nets.describe import describe_net
    from slimworks.pipeline import tfx_import

    tfx_import.load()
    description = describe_net(name, num_classes=num_classes, image_size=image_size)
    value = dataclasses.asdict(description)
    lines = [
        f"{name}: {description.parameters:,} trainable parameters, {description.macs:,} MACs",
        "end points:",
        *[f"  {key:<40} {_shape(shape)}" for key, shape in description.end_points.items()],
        "variables:",
        *[f"  {key:<60} {_shape(shape)}" for key, shape in description.variables.items()],
    ]
    emit(value, as_json, "\n".join(lines))
    return 0


def _shape(shape: Any) -> str:
    return "x".join("N" if size is None else str(size) for size in shape)


@verb("doctor", "  slimworks doctor\n  slimworks doctor --server 127.0.0.1:8500\n")
@click.option(
    "--root", default="slimworks-runs", show_default=True, help="Where runs are to be kept."
)
@click.option("--server", metavar="HOST:PORT", help="Also ask this model server.")
@click.option("--model-name", default="default", show_default=True, help="Served model.")
def doctor_verb(root: str, server: str | None, model_name: str, as_json: bool, debug: bool) -> int:
    """Check versions, CPU, memory, disk, permissions and server; each failure with its fix."""
    from slimworks.pipeline.doctor import examine

    checks = examine(root, server, model_name)
    lines = []
    for check in checks:
        lines.append(f"{'ok  ' if check.is_healthy else 'FAIL'} {check.name}: {check.found}")
        if not check.is_healthy:
            lines.append(f"     Fix: {check.fix}")
    healthy = all(check.is_healthy for check in checks)
    value = {"is_healthy": healthy, "checks": [dataclasses.asdict(check) for check in checks]}
    emit(value, as_json, "\n".join(lines))
    return 0 if healthy else 2
