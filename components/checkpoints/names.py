"""Which stored name fills which variable: the name map, averages, and what is no variable."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from slimworks.components.errors import ConfigError

AVERAGE_SUFFIX = "/ExponentialMovingAverage"
REGEX_MARK = "re:"
SETTING = "train.checkpoint_name_map"

_LOOP_SCALARS = ("global_step", "beta1_power", "beta2_power")  # of training, not of a network
_NUM_EXAMPLES = 3  # names in a message


@dataclasses.dataclass(frozen=True)
class Pair:
    """One entry of a name map: the start of a stored name, and what stands there instead.

    Attributes:
        stored: A plain prefix, or "re:" and a regular expression that matches from the start.
        wanted: Replaces the prefix or the match; may use the expression's groups.
    """

    stored: str
    wanted: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """The expression that matches the part of a stored name that is replaced."""
        if self.stored.startswith(REGEX_MARK):
            return re.compile(self.stored.removeprefix(REGEX_MARK))
        return re.compile(re.escape(self.stored))

    def rename(self, name: str) -> str | None:
        """Returns the variable's name for a stored name, or None where the pair is for others."""
        match = self.pattern.match(name)
        if match is None:
            return None
        is_regex = self.stored.startswith(REGEX_MARK)
        start = match.expand(self.wanted) if is_regex else self.wanted
        return start + name[match.end() :]


def parse_name_map(name_map: Mapping[str, str]) -> tuple[Pair, ...]:
    """Returns the pairs of a name map, in order.

    Raises:
        ConfigError: A broken regular expression, or a reference to a group that it has not.
    """
    pairs = tuple(Pair(stored, wanted) for stored, wanted in name_map.items())
    for pair in pairs:
        if not pair.stored.startswith(REGEX_MARK):
            continue
        try:
            pair.pattern.sub(pair.wanted, "")
        except (re.error, IndexError) as error:
            raise ConfigError(
                f"{SETTING}: {pair.stored!r} -> {pair.wanted!r} is no valid regular expression "
                f"with replacement: {error}.",
                "Mend it, or write a plain prefix without `re:`.",
            ) from None
    return pairs


def variables_among(stored: Iterable[str]) -> list[str]:
    """Returns the stored names of variables, in order, without what is kept below a variable.

    A slot or an average is stored below its variable's name: "a/weights/Momentum". Of a variable
    that is stored as average only, the variable's own name is returned.
    """
    names = list(stored)
    known = set(names)
    bases = {name.removesuffix(AVERAGE_SUFFIX) for name in names if name.endswith(AVERAGE_SUFFIX)}
    roots = known | bases
    found = dict.fromkeys(name.removesuffix(AVERAGE_SUFFIX) for name in names)
    return [name for name in found if not _has_ancestor(name, roots) and name not in _LOOP_SCALARS]


def _has_ancestor(name: str, names: Collection[str]) -> bool:
    parent = name.rpartition("/")[0]
    while parent:
        if parent in names:
            return True
        parent = parent.rpartition("/")[0]
    return False


def stored_by_variable(
    stored: Sequence[str], variables: Collection[str], pairs: Sequence[Pair], checkpoint: str
) -> dict[str, str]:
    """Returns variable name -> stored name for every variable that a checkpoint has.

    The first pair that matches a stored name renames it; names that no pair matches stay.

    Args:
        stored: Names of the checkpoint's variables, as `variables_among` returns them.
        variables: Names of the network's variables.
        pairs: The name map.
        checkpoint: Its path, for messages.

    Raises:
        ConfigError: A pair is of no use, or two stored names get the name of one variable.
    """
    matched: dict[Pair, list[str]] = {pair: [] for pair in pairs}
    found: dict[str, str] = {}
    for name in stored:
        wanted = name
        for pair in pairs:
            renamed = pair.rename(name)
            if renamed is not None:
                matched[pair].append(renamed)
                wanted = renamed
                break
        if wanted in found and wanted in variables:
            raise ConfigError(
                f"{SETTING} gives {found[wanted]} and {name} of {checkpoint} one name, {wanted}.",
                "Write narrower pairs, so that one stored name is left for each variable.",
            )
        found[wanted] = name
    for pair, names in matched.items():
        _check_use(pair, names, stored, variables, checkpoint)
    return {wanted: name for wanted, name in found.items() if wanted in variables}


def values_to_read(
    stored: Mapping[str, str], names: Collection[str], prefer_averages: bool = True
) -> dict[str, str]:
    """Returns variable name -> name of the value to read: the average or the variable's own.

    Args:
        stored: Variable name -> stored name, as `stored_by_variable` returns it.
        names: All names of the checkpoint.
        prefer_averages: Takes the average where there is one.
    """
    values = {}
    for name, base in stored.items():
        average = base + AVERAGE_SUFFIX
        if prefer_averages and average in names:
            values[name] = average
        elif base in names:
            values[name] = base
    return values


def _check_use(
    pair: Pair,
    renamed: Sequence[str],
    stored: Sequence[str],
    variables: Collection[str],
    checkpoint: str,
) -> None:
    if not renamed:
        raise ConfigError(
            f"{SETTING}: {pair.stored!r} matches no name of {checkpoint} that no earlier pair "
            "has taken.",
            f"Names there start with {_starts(stored)}; a pair is `stored: wanted`.",
        )
    if not set(renamed) & set(variables):
        raise ConfigError(
            f"{SETTING}: {pair.stored!r} -> {pair.wanted!r} makes {renamed[0]}, and no variable of "
            "the network is named like that.",
            f"The network's names start with {_starts(list(variables))}.",
        )


def _starts(names: Sequence[str]) -> str:
    """First two parts of some names, such as "vgg_16/conv1, vgg_16/conv2, ..."."""
    starts = list(dict.fromkeys("/".join(name.split("/")[:2]) for name in sorted(names)))
    more = ", ..." if len(starts) > _NUM_EXAMPLES else ""
    return (", ".join(starts[:_NUM_EXAMPLES]) or "nothing") + more
