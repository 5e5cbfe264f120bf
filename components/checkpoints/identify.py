"""Which registered network a set of variables belongs to, by names and shapes."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from slimworks.components.checkpoints import fingerprints
from slimworks.components.checkpoints.fingerprints import Layer, Shape, start_of
from slimworks.components.checkpoints.names import AVERAGE_SUFFIX, variables_among
from slimworks.components.nets.registry import REGISTRY

MAX_ROOT_PARTS = 3  # "a/b/MobilenetV1": deeper roots are not looked for
MIN_NAMED_FRACTION = 0.5  # of a network's variables; fewer shared names are chance ("conv1")

# Leaves that gradients change in TF-Slim's layers.
_TRAINED_LEAVES = frozenset(
    ("weights", "depthwise_weights", "pointwise_weights", "biases", "gamma", "beta")
)


@dataclasses.dataclass(frozen=True)
class Match:
    """The network whose variables come nearest.

    Attributes:
        net: Its registered name.
        root: What the checkpoint's names start with where the network's start with its scope.
        num_variables: Of the network, auxiliary heads included.
        num_named: Of these, how many the checkpoint has by name, counted in whole layers.
        num_fitting: Of these, how many have the network's shapes too, but for the class count.
        num_classes: Of the checkpoint's head; None where it has none.
    """

    net: str
    root: str
    num_variables: int
    num_named: int
    num_fitting: int
    num_classes: int | None

    @property
    def fits(self) -> bool:
        """Most of the shapes are the network's: not only the names."""
        return self.num_fitting >= MIN_NAMED_FRACTION * self.num_variables

    @property
    def name_map(self) -> dict[str, str]:
        """What `train.checkpoint_name_map` has to be; empty where the names are the network's."""
        scope = REGISTRY[self.net].scope
        return {} if self.root == scope else {start_of(self.root): start_of(scope)}


def identify(stored: Mapping[str, Shape]) -> Match | None:
    """Returns the registered network that comes nearest to variables, or None.

    Shapes decide before names, so that networks of one family are told apart by width; where no
    shape fits, the nearest number of parameters does.

    Args:
        stored: Shapes by name; slots, averages and scalars of the training loop are left out.
    """
    shapes = network_shapes(stored)
    named: Counter[tuple[str, str]] = Counter()
    fitting: Counter[tuple[str, str]] = Counter()
    by_layer = _nets_by_layer()
    for root in _roots(shapes):
        below = {fingerprints.below_root(n, root): s for n, s in shapes.items() if _is_in(n, root)}
        for name, layer in fingerprints.digest_layers(below, fingerprints.head_names()).items():
            for net, known in by_layer.get((name, layer.names), ()):
                named[net, root] += layer.num_variables
                fitting[net, root] += layer.num_variables * (layer.shapes == known.shapes)
    prints = fingerprints.load_fingerprints()
    plausible = [
        (net, root)
        for (net, root), count in named.items()
        if count >= MIN_NAMED_FRACTION * prints[net].num_variables
    ]
    if not plausible:
        return None

    def nearness(key: tuple[str, str]) -> tuple[float, ...]:
        net, root = key
        num_lacking = prints[net].num_variables - named[key]
        return fitting[key], named[key] - num_lacking, -_distance(net, root, shapes)

    net, root = best = max(plausible, key=nearness)
    return Match(
        net=net,
        root=root,
        num_variables=prints[net].num_variables,
        num_named=named[best],
        num_fitting=fitting[best],
        num_classes=_num_classes(net, root, shapes),
    )


def network_shapes(stored: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes by name of the variables among stored names, the averaged-only included."""
    return {
        name: stored[name] if name in stored else stored[name + AVERAGE_SUFFIX]
        for name in variables_among(stored)
    }


def _is_in(name: str, root: str) -> bool:
    return name.startswith(start_of(root))


def _roots(shapes: Iterable[str]) -> list[str]:
    """The scopes that could be roots: those that hold more than a layer of a network."""
    layers = {
        layer for print_ in fingerprints.load_fingerprints().values() for layer in print_.layers
    }
    found: dict[str, set[str]] = {}
    for name in shapes:
        parts = name.split("/")
        for depth in range(min(MAX_ROOT_PARTS + 1, len(parts))):
            if parts[depth] in layers:
                found.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    return [root for root, members in found.items() if len(members) > 1]


def _nets_by_layer() -> dict[tuple[str, str], list[tuple[str, Layer]]]:
    """Layer's name and digest of the names in it -> the networks that have it."""
    found: dict[tuple[str, str], list[tuple[str, Layer]]] = {}
    for net, print_ in fingerprints.load_fingerprints().items():
        for name, layer in print_.layers.items():
            found.setdefault((name, layer.names), []).append((net, layer))
    return found


def _distance(net: str, root: str, shapes: Mapping[str, Shape]) -> float:
    """How far the number of trained scalars is from the network's, on a scale of ratios."""
    parameters = sum(
        math.prod(shape)
        for name, shape in shapes.items()
        if _is_in(name, root) and name.rpartition("/")[2] in _TRAINED_LEAVES
    )
    return abs(math.log(REGISTRY[net].parameters / max(parameters, 1)))


def _num_classes(net: str, root: str, shapes: Mapping[str, Shape]) -> int | None:
    spec = REGISTRY[net]
    main = fingerprints.below_root(spec.head_scopes[0], spec.scope)
    for name in fingerprints.load_fingerprints()[net].head:
        if name.startswith(main) and (shape := shapes.get(start_of(root) + name)):
            return shape[-1]
    return None
