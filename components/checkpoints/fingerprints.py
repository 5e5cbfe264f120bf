"""Digests of every network's variables: which one a checkpoint is of, without building graphs.

`python -m slimworks.components.checkpoints.fingerprints` writes fingerprints.json anew from the
registered networks (minutes); a test compares it with them.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from slimworks.components import files
from slimworks.components.nets.registry import REGISTRY
from slimworks.components.nets.spec import NetSpec

Shape = tuple[int, ...]

FILE = Path(__file__).with_name("fingerprints.json")
DIGEST_CHARACTERS = 8


@dataclasses.dataclass(frozen=True)
class Layer:
    """All variables below one scope, such as `block1` or `Conv2d_0`.

    Attributes:
        num_variables: How many they are.
        names: Digest of their names below the network's root.
        shapes: Digest of their names and shapes, the class count left out.
    """

    num_variables: int
    names: str
    shapes: str


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """A network's variables in short.

    Attributes:
        head: Names, below the root, of the variables whose last dimension is the class count.
        layers: By the first part of the names below the root.
    """

    head: tuple[str, ...]
    layers: Mapping[str, Layer]

    @property
    def num_variables(self) -> int:
        """Of the training graph, auxiliary heads included."""
        return sum(layer.num_variables for layer in self.layers.values())


@functools.cache
def load_fingerprints() -> dict[str, Fingerprint]:
    """Returns the fingerprint of each registered network by name."""
    return {
        net: Fingerprint(
            head=tuple(value["head"]),
            layers={name: Layer(*layer) for name, layer in value["layers"].items()},
        )
        for net, value in files.read_json(FILE).items()
    }


@functools.cache
def head_names() -> frozenset[str]:
    """Names, below their roots, of the variables of any network that depend on the class count."""
    return frozenset(n for print_ in load_fingerprints().values() for n in print_.head)


def head_of(spec: NetSpec, shapes: Mapping[str, Shape]) -> tuple[str, ...]:
    """Returns the names below the root that depend on the class count of `spec.num_classes`."""
    return tuple(
        below_root(name, spec.scope)
        for name, shape in shapes.items()
        if name.startswith(spec.head_scopes) and shape[-1] == spec.num_classes
    )


def start_of(root: str) -> str:
    """What the names below a root scope start with; an empty root is none."""
    return f"{root}/" if root else ""


def below_root(name: str, root: str) -> str:
    """Removes the root scope of a name."""
    return name.removeprefix(start_of(root))


def digest_layers(shapes: Mapping[str, Shape], head: Iterable[str]) -> dict[str, Layer]:
    """Digests variables by the first part of their names.

    Args:
        shapes: By name below the root.
        head: Names whose last dimension is left out: the class count differs.
    """
    head = frozenset(head)
    layers: dict[str, list[tuple[str, Shape]]] = {}
    for name in sorted(shapes):
        shape = shapes[name][:-1] if name in head else shapes[name]
        layers.setdefault(name.partition("/")[0], []).append((name, shape))
    return {
        layer: Layer(
            len(members),
            _digest(name for name, _ in members),
            _digest(f"{name} {list(shape)}" for name, shape in members),
        )
        for layer, members in layers.items()
    }


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()[:DIGEST_CHARACTERS]


def fingerprints_of(layouts: Mapping[str, Mapping[str, Shape]]) -> dict[str, Fingerprint]:
    """Returns the fingerprints of networks.

    Args:
        layouts: Shapes by variable name by network, at each network's registered class count.
    """
    heads = {net: head_of(REGISTRY[net], shapes) for net, shapes in layouts.items()}
    every_head = {name for head in heads.values() for name in head}
    return {
        net: Fingerprint(
            heads[net],
            digest_layers(
                {below_root(name, REGISTRY[net].scope): s for name, s in shapes.items()},
                every_head,
            ),
        )
        for net, shapes in layouts.items()
    }


def to_text(fingerprints: Mapping[str, Fingerprint]) -> str:
    """Returns the content of fingerprints.json: one line a network."""
    lines = []
    for net, print_ in fingerprints.items():
        layers = {name: dataclasses.astuple(layer) for name, layer in print_.layers.items()}
        value = json.dumps({"head": print_.head, "layers": layers}, separators=(",", ":"))
        lines.append(f"{json.dumps(net)}:{value}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def build_layout(spec: NetSpec) -> dict[str, Shape]:
    """Returns the shapes of a network's variables by name, from its training graph."""
    from slimworks.components.nets import layout

    graph = layout.build_graph(
        spec.name, spec.num_classes, spec.default_image_size, spec.num_channels, is_training=True
    )
    return {variable.name: variable.shape for variable in graph.variables}


if __name__ == "__main__":
    prints = fingerprints_of({net: build_layout(spec) for net, spec in REGISTRY.items()})
    files.write_text(FILE, to_text(prints))
    sys.exit(0)
