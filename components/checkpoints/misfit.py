"""Why a checkpoint does not fit a network, in words. Pure functions of names and shapes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from slimworks.components.checkpoints.identify import Match, Shape, identify
from slimworks.components.errors import ConfigError

MAX_ROWS = 10  # variables of a kind in the table before "+N more"
MAX_SCOPES_TO_EXCLUDE = 4  # more misfits than this are another network, not a changed layer
BACKGROUND = {1000, 1001}  # ImageNet's classes without and with one for the background


@dataclasses.dataclass(frozen=True)
class Misfit:
    """How a checkpoint differs from a network.

    Attributes:
        checkpoint_path: As the user gave it.
        shapes: The network's shapes by variable name.
        checkpoint_shapes: The checkpoint's shapes by stored name.
        missing: The network's variables that the checkpoint lacks.
        unexpected: The checkpoint's variables that the network lacks.
        reshaped: The variables whose shapes differ, with the checkpoint's names.
        head_scopes: Prefixes of the variables that depend on the class count.
        excluded_scopes: Prefixes that the user leaves out already.
    """

    checkpoint_path: str
    shapes: Mapping[str, Shape]
    checkpoint_shapes: Mapping[str, Shape]
    missing: Sequence[str]
    unexpected: Sequence[str]
    reshaped: Mapping[str, str]
    head_scopes: Sequence[str]
    excluded_scopes: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """The network's variables that cannot be restored."""
        return [*self.reshaped, *self.missing]

    def error(self) -> ConfigError:
        """Returns the error to raise: counts and likely cause, the text to type, the table."""
        cause, fix = _explain(self)
        counts = [
            (len(self.reshaped), "of another shape"),
            (len(self.missing), "missing"),
            (len(self.unexpected), "unexpected"),
        ]
        found = ", ".join(f"{count} {kind}" for count, kind in counts if count)
        return ConfigError(
            f"{self.checkpoint_path} does not fit the network: {found}. {cause}",
            fix,
            details=table(self),
        )


def table(misfit: Misfit) -> str:
    """Returns lines that list, for each kind of misfit, up to MAX_ROWS variables and shapes."""
    shape_of = {
        name: f"{_text(misfit.shapes[name])} in the network, "
        f"{_text(misfit.checkpoint_shapes[stored])} in the checkpoint"
        + (f" ({stored})" if stored != name else "")
        for name, stored in misfit.reshaped.items()
    }
    missing = {name: _text(misfit.shapes[name]) for name in misfit.missing}
    unexpected = {name: _text(misfit.checkpoint_shapes.get(name, ())) for name in misfit.unexpected}
    return "\n".join(
        [
            *_rows("wrong shape", shape_of),
            *_rows("missing in the checkpoint", missing),
            *_rows("unexpected in the checkpoint", unexpected),
        ]
    )


def _rows(title: str, rows: Mapping[str, str]) -> list[str]:
    if not rows:
        return []
    shown = dict(list(rows.items())[:MAX_ROWS])
    width = max(len(name) for name in shown)
    lines = [f"{title} ({len(rows)}):"]
    lines += [f"  {name:<{width}}  {text}" for name, text in shown.items()]
    return lines + ([f"  +{len(rows) - MAX_ROWS} more"] if len(rows) > MAX_ROWS else [])


def _text(shape: Shape) -> str:
    return "x".join(str(size) for size in shape) or "scalar"


def _explain(misfit: Misfit) -> tuple[str, str]:
    in_head = [name for name in misfit.names if name.startswith(tuple(misfit.head_scopes))]
    if len(in_head) == len(misfit.names):
        return _head_cause(misfit), _head_fix(misfit, in_head)
    ours, theirs = identify(misfit.shapes), identify(misfit.checkpoint_shapes)
    wanted = ours.net if ours else "this network"
    if theirs and theirs.fits:
        if theirs.net != wanted:
            return _other_net(theirs, wanted)
        if theirs.name_map:
            return _other_names(theirs)
    scopes = sorted({name.rpartition("/")[0] for name in misfit.names})
    if len(scopes) <= MAX_SCOPES_TO_EXCLUDE:
        heads = _heads_of(misfit, in_head)
        return "The layers differ.", exclude_fix(
            [*misfit.excluded_scopes, *dict.fromkeys([*scopes, *heads])]
        )
    if theirs:
        return (
            f"The names are those of {theirs.net}, the shapes of no registered network: another "
            "width or kind of input.",
            f"Give a checkpoint of {wanted} as train.checkpoint_path.",
        )
    starts = sorted({name.partition("/")[0] for name in misfit.unexpected})[:3]
    return (
        f"It is of no registered network; its names start with {', '.join(starts) or 'nothing'}.",
        f"Give a checkpoint of {wanted} as train.checkpoint_path, or map its names: "
        "train.checkpoint_name_map.",
    )


def _other_net(theirs: Match, wanted: str) -> tuple[str, str]:
    settings = [f"--set model.net={theirs.net}"]
    if theirs.name_map:
        settings.append(name_map_setting(theirs.name_map))
    return (
        f"The checkpoint is of {theirs.net} ({theirs.num_fitting} of {theirs.num_variables} "
        f"variables fit), the network is {wanted}.",
        f"Type `{' '.join(settings)}`, or give a checkpoint of {wanted}.",
    )


def _other_names(theirs: Match) -> tuple[str, str]:
    ((stored, wanted),) = theirs.name_map.items()
    return (
        f"The checkpoint is of {theirs.net}, with names that start with {stored!r} where the "
        f"network's start with {wanted!r}.",
        f"Type `{name_map_setting(theirs.name_map)}`.",
    )


def _heads_of(misfit: Misfit, in_head: Sequence[str]) -> list[str]:
    return [scope for scope in misfit.head_scopes if any(n.startswith(scope) for n in in_head)]


def _head_cause(misfit: Misfit) -> str:
    for name, stored in misfit.reshaped.items():
        ours, theirs = misfit.shapes[name][-1], misfit.checkpoint_shapes[stored][-1]
        if {ours, theirs} == BACKGROUND:
            return (
                f"The network has {ours} classes, the checkpoint {theirs}: "
                "one of the two counts a background class."
            )
        if ours != theirs:
            return f"The network has {ours} classes, the checkpoint {theirs}."
    return "Only the head differs."


def _head_fix(misfit: Misfit, in_head: Sequence[str]) -> str:
    heads = tuple(scope.rstrip("/") for scope in misfit.head_scopes)
    if not all(scope.startswith(heads) for scope in misfit.excluded_scopes):
        # `auto` would restore the other layers that the user leaves out.
        return exclude_fix([*misfit.excluded_scopes, *_heads_of(misfit, in_head)])
    return (
        "Type `--set train.checkpoint_exclude_scopes=auto`, which is the default: the head is "
        "trained from its initial values."
    )


def exclude_fix(scopes: Sequence[str]) -> str:
    """Returns the line of fix that leaves `scopes` out of the restore."""
    return (
        f"Type `--set train.checkpoint_exclude_scopes=[{','.join(scopes)}]` "
        "to train these from their initial values."
    )


def guess_net(shapes: Mapping[str, Shape]) -> str | None:
    """Returns the name of the registered network that variables belong to, or None."""
    match = identify(shapes)
    return match.net if match else None


def name_map_setting(name_map: Mapping[str, str]) -> str:
    """Returns the option that sets a name map, quoted for a shell."""
    return f"--set 'train.checkpoint_name_map={json.dumps(dict(name_map))}'"
