"""Which steps run, and which run anew: --from, --until and --no-cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from slimworks.components.errors import ConfigError, nearest
from slimworks.pipeline import dag

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

    from slimworks.pipeline.run import RunOptions


def check_steps(options: RunOptions) -> None:
    """Raises ConfigError where --from, --until or --no-cache names no step, or an empty range."""
    for option, step in (
        ("--from", options.first_step),
        ("--until", options.last_step),
        ("--no-cache", None if options.no_cache == "all" else options.no_cache),
    ):
        if step is not None and step not in dag.NODES:
            raise ConfigError(
                f"{option} {step!r} is no step.{nearest(step, dag.NODES)}",
                f"Steps: {', '.join(dag.NODES)}.",
            )
    if options.first_step and options.last_step:
        first, last = (dag.NODES.index(s) for s in (options.first_step, options.last_step))
        if first > last:
            raise ConfigError(
                f"--from {options.first_step} comes after --until {options.last_step}.",
                f"Steps: {', '.join(dag.NODES)}.",
            )


def upstream_of(ir: pipeline_pb2.Pipeline) -> dict[str, set[str]]:
    """Steps of a compiled pipeline, each with those that it waits for."""
    return {n.pipeline_node.node_info.id: set(n.pipeline_node.upstream_nodes) for n in ir.nodes}


def uncached_and_kept(
    options: RunOptions, upstream: Mapping[str, set[str]]
) -> tuple[set[str], set[str]]:
    """Steps that take no earlier result, and steps that run at all."""
    no_cache: set[str] = set()
    if options.no_cache == "all":
        no_cache = set(upstream)
    elif options.no_cache:
        no_cache = {options.no_cache}
    if options.first_step:
        no_cache |= {n for n in upstream if options.first_step in _ancestors(n, upstream) | {n}}
    keep = set(upstream)
    if options.last_step:
        keep = _ancestors(options.last_step, upstream) | {options.last_step}
    return no_cache, keep


def _ancestors(node: str, upstream: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    pending = [node]
    while pending:
        for parent in upstream[pending.pop()] - found:
            found.add(parent)
            pending.append(parent)
    return found
