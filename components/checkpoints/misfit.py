"""Why a checkpoint does not fit a network, in words. Pure functions of names and shapes."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence

from slimworks.components.errors import ConfigError
from slimworks.components.nets.registry import REGISTRY

Shape = tuple[int, ...]

NUM_LISTED = 3  # variables named in a message before "+N more"
MAX_SCOPES_TO_EXCLUDE = 4  # more misfits than this are another network, not a changed layer


@dataclasses.dataclass(frozen=True)
class Misfit:
    """How a checkpoint differs from a network.

    Attributes:
        checkpoint_path: As the user gave it.
        shapes: The network's shapes by variable name.
        checkpoint_shapes: The checkpoint's shapes by name.
        missing: The network's variables that the checkpoint lacks.
        reshaped: The variables whose shapes differ, with the checkpoint's names.
        head_scopes: Prefixes of the variables that depend on the class count.
    """

    checkpoint_path: str
    shapes: Mapping[str, Shape]
    checkpoint_shapes: Mapping[str, Shape]
    missing: Sequence[str]
    reshaped: Mapping[str, str]
    head_scopes: Sequence[str]

    @property
    def names(self) -> list[str]:
        """The network's variables that cannot be restored."""
        return [*self.reshaped, *self.missing]

    def error(self) -> ConfigError:
        """Returns the error to raise: the variables, the likely cause, the text to type."""
        cause, fix = _explain(self)
        listed = [
            f"{name} is {list(self.shapes[name])} in the network and "
            f"{list(self.checkpoint_shapes[stored])} in the checkpoint"
            for name, stored in self.reshaped.items()
        ] + [f"{name} {list(self.shapes[name])} is not in the checkpoint" for name in self.missing]
        more = f"; +{len(listed) - NUM_LISTED} more" if len(listed) > NUM_LISTED else ""
        return ConfigError(
            f"{self.checkpoint_path} does not fit the network: "
            f"{'; '.join(listed[:NUM_LISTED])}{more}. {cause}",
            fix,
        )


def _explain(misfit: Misfit) -> tuple[str, str]:
    ours, theirs = guess_net(misfit.shapes), guess_net(misfit.checkpoint_shapes)
    in_head = [name for name in misfit.names if name.startswith(tuple(misfit.head_scopes))]
    if len(in_head) == len(misfit.names):
        return _head_cause(misfit), exclude_fix(misfit.head_scopes)
    if ours and theirs and ours != theirs:
        return (
            f"The checkpoint looks like {theirs}, the network is {ours}.",
            f"Type `--set model.net={theirs}`, or give a checkpoint of {ours}.",
        )
    scopes = sorted({name.rpartition("/")[0] for name in misfit.names})
    if len(scopes) <= MAX_SCOPES_TO_EXCLUDE:
        return "The layers differ.", exclude_fix(sorted({*scopes, *_heads_of(misfit, in_head)}))
    roots = ", ".join(_roots(misfit.checkpoint_shapes)[:NUM_LISTED]) or "none"
    return (
        f"Most layers differ: the checkpoint's names start with {roots}.",
        f"Give a checkpoint of {ours or 'this network'} as train.checkpoint_path.",
    )


def _heads_of(misfit: Misfit, in_head: Sequence[str]) -> list[str]:
    return [scope for scope in misfit.head_scopes if any(n.startswith(scope) for n in in_head)]


def _head_cause(misfit: Misfit) -> str:
    for name, stored in misfit.reshaped.items():
        ours, theirs = misfit.shapes[name][-1], misfit.checkpoint_shapes[stored][-1]
        if {ours, theirs} == {1000, 1001}:
            return (
                f"The network has {ours} classes, the checkpoint {theirs}: "
                "one of the two counts a background class."
            )
        if ours != theirs:
            return f"The network has {ours} classes, the checkpoint {theirs}."
    return "Only the head differs."


def exclude_fix(scopes: Sequence[str]) -> str:
    """Returns the line of fix that leaves `scopes` out of the restore."""
    return (
        f"Type `--set train.checkpoint_exclude_scopes=[{','.join(scopes)}]` "
        "to train these from their initial values."
    )


def guess_net(shapes: Mapping[str, Shape]) -> str | None:
    """Returns the registered network that variables of these names and shapes belong to.

    The root of the names tells the family; its member of the nearest size is taken, which is
    decided well even when the class count is another: widths and depths differ by far more.
    """
    roots = _roots(shapes)
    if not roots:
        return None
    root = roots[0]
    family = [spec for spec in REGISTRY.values() if spec.scope == root]
    parameters = max(1, _count_parameters(shapes, root))
    return min(
        (spec.name for spec in family),
        key=lambda name: abs(math.log(REGISTRY[name].parameters / parameters)),
        default=None,
    )


def _roots(shapes: Mapping[str, Shape]) -> list[str]:
    """First parts of the names, the most frequent first."""
    counts = Counter(name.partition("/")[0] for name in shapes if "/" in name)
    return [root for root, _ in counts.most_common()]


def _count_parameters(shapes: Mapping[str, Shape], root: str) -> int:
    """Trainable scalars; slots and averages, whose names continue a variable's, do not count."""
    leaves = ("weights", "depthwise_weights", "pointwise_weights", "biases", "gamma", "beta")
    return sum(
        math.prod(shape)
        for name, shape in shapes.items()
        if name.startswith(f"{root}/") and name.rpartition("/")[2] in leaves
    )
