"""The record of a user's own network, read off its graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components import files
from slimworks.components.errors import ConfigError, SlimWorksError
from slimworks.components.nets import layout, own_network
from slimworks.components.nets.describe import count_macs
from slimworks.components.nets.spec import NetSpec

_SLIM_DECAY = 0.999  # of slim.batch_norm where nothing else is said


def inspect_net(name: str, image_size: int | None) -> NetSpec:
    """Builds a user's own network and reads off what there is to know.

    The head is what has another shape with another number of classes.

    Args:
        name: MODULE:FUNCTION.
        image_size: Height and width in pixels; None: its own default.

    Raises:
        ConfigError: It cannot be found, imported or built.
    """
    network = own_network.load(name)
    size, num_classes = image_size or network.image_size, network.num_classes

    def built(num_classes: int, is_training: bool) -> layout.NetGraph:
        return layout.build_graph(name, num_classes, size, network.num_channels, is_training)

    built(num_classes, is_training=False)  # what is served must be built, too
    graph, other = built(num_classes, True), built(num_classes + 1, True)
    shapes = {variable.name: variable.shape for variable in other.variables}
    names = [variable.name for variable in graph.variables]
    head = [v.name for v in graph.variables if shapes.get(v.name) != v.shape]
    if not head:
        raise ConfigError(
            f"{name} has no variable whose shape follows num_classes.",
            "Give the last layer num_classes outputs.",
        )
    has_batch_norm = any(variable.endswith("/moving_mean") for variable in names)
    return NetSpec(
        name=name,
        module=network.net.module,
        function=network.net.function,
        arg_scope=getattr(network.make_arg_scope, "__name__", ""),
        scope=_root(names),
        head_scopes=_head_scopes(head, names, set(layout.operations_behind([graph.logits]))),
        embedding_end_point=own_network.EMBEDDING,
        preprocessing=network.preprocessing,
        default_image_size=size,
        min_image_size=1,  # where it needs more, it cannot be built
        num_channels=network.num_channels,
        parameters=sum(v.num_elements for v in graph.variables if v.trainable),
        macs=count_macs(graph.logits),
        num_classes=num_classes,
        batch_norm_decay=(
            network.stated_batch_norm_decay() or _SLIM_DECAY if has_batch_norm else None
        ),
        note=f"your own: {network.net.file}",
    )


def _root(names: list[str]) -> str:
    """The scope that all variables are in; "" for none."""
    roots = {name.rpartition("/")[0].partition("/")[0] for name in names}
    return roots.pop() if len(roots) == 1 else ""


def _head_scopes(head: list[str], names: list[str], behind_logits: set[str]) -> tuple[str, ...]:
    """Prefixes of the head's variables, those of the logits before auxiliary ones."""
    main_first = sorted(head, key=lambda name: name not in behind_logits)
    scopes = dict.fromkeys(name.rpartition("/")[0] or name for name in main_first)
    others = [name for name in names if name not in head]
    return tuple(
        f"{scope}/" if any(name.startswith(scope) for name in others) else scope for scope in scopes
    )


def main(given: Mapping[str, Any]) -> None:
    """Writes the record, or why there is none, for the process that asked.

    Args:
        given: `name`, `image_size`, and `output`, the file to write.
    """
    found: dict[str, Any]
    try:
        found = dataclasses.asdict(inspect_net(given["name"], given["image_size"]))
    except SlimWorksError as error:
        found = {"error": type(error).__name__, "cause": error.cause, "fix": error.fix}
        found["details"] = error.details
    files.write_json(Path(given["output"]), found)
