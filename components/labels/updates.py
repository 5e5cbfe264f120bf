"""From a label map, the names found in the data and the declared changes to the next map."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from slimworks.components.errors import ConfigError, DataError, nearest
from slimworks.components.labels.declarations import (
    MERGE,
    RENAME,
    Declarations,
    as_line,
    composed,
    fault_of,
)
from slimworks.components.labels.history import ADDED, MERGED, RENAMED, LabelChange, Meanings

_NAMES_SHOWN = 10


class Update:
    """The changes that lead from one version of a label map to the next.

    Args:
        meanings: The map before; changed in place.
        declarations: Renames and merges of the configuration.
        names_in_data: Class names as the source spells them.
        declared_order: Class names in the order that the source states.
        version: Of the next map.
        span: The ingest that makes the changes.

    Raises:
        DataError: The source has a class name that labels.txt cannot hold.
    """

    def __init__(
        self,
        meanings: Meanings,
        declarations: Declarations,
        names_in_data: Iterable[str],
        declared_order: Sequence[str],
        *,
        version: int,
        span: int | None,
    ) -> None:
        self.meanings = meanings
        self.changes: list[LabelChange] = []
        self._declarations = declarations
        self._declared = list(dict.fromkeys(_checked(name) for name in declared_order))
        found = {_checked(name) for name in names_in_data}
        self._found = found | set(self._declared)
        self._undeclared = found - set(self._declared)
        self._is_first = not meanings.class_names
        self._version = version
        self._span = span

    def run(self) -> None:
        """Renames, then adds, then merges: what is declared goes by the new names.

        Raises:
            ConfigError: A declared change names no class, or would change what an index means.
        """
        for old, new in self._declarations.renames.items():
            self._rename(old, new)
        self._refuse_two_names()
        self._add_all()
        for name, into in self._declarations.merges.items():
            self._merge(name, into)
        for name, into in self._declarations.merges.items():
            self._check_merged(name, into)

    def _rename(self, old: str, new: str) -> None:
        index = self.meanings.own_index(old)
        is_known = self.meanings.index_of(new) is not None
        if index is None:
            absorbed_by = self.meanings.index_of(old)
            if absorbed_by is not None and absorbed_by != self.meanings.index_of(new):
                raise self._not_free(old, new, old)
            if not is_known and {old, new} <= self._found:
                raise self._not_free(old, new, new)
            # Where the new name is a class already, the folder was renamed long ago.
            if old in self._found or is_known or (self._is_first and new in self._found):
                return
            raise self._unknown(RENAME, "renames", old)
        if is_known and self.meanings.own_index(new) != index:
            raise self._not_free(old, new, new)
        previous = self.meanings.class_names[index]
        if previous != new:
            self._record(RENAMED, new, index, previous_name=previous)

    def _refuse_two_names(self) -> None:
        """Two lines for one class, found by its former names, would undo each other for ever."""
        for old, new in self._declarations.renames.items():
            index = self.meanings.own_index(old)
            now = new if index is None else self.meanings.class_names[index]
            if now != new:
                raise ConfigError(
                    f"{RENAME} gives one class two names: {old!r} stands for {now!r} already, and "
                    f"would become {new!r}.",
                    f"Write {as_line(old, now)}, or take that line out.",
                )

    def _add_all(self) -> None:
        """Appends what is new: first in the order that the source states, then sorted."""
        renames = self._declarations.renames
        others = sorted((renames.get(name, name), name) for name in self._undeclared)
        if all(new.isascii() and new.isdecimal() for new, _ in others):
            others.sort(key=lambda pair: (len(pair[0].lstrip("0")), pair[0].lstrip("0")))
        for name in [*self._declared, *(name for _, name in others)]:
            if self.meanings.index_of(name) is None:
                self._add(name, renames.get(name, name))

    def _add(self, name: str, new: str) -> None:
        index = self.meanings.own_index(new)
        if index is None:
            if self.meanings.index_of(new) is not None:
                self._record(MERGED, name, None, target_index=self.meanings.index_of(new))
                return
            if new in self._declarations.merges and name not in self._declared:
                return  # it never gets an index of its own
            index = len(self.meanings.class_names)
            self._record(ADDED, new, index)
        if name != new:
            now = self.meanings.class_names[index]
            self._record(RENAMED, now, index, previous_name=name)

    def _merge(self, name: str, into: str) -> None:
        target = self.meanings.index_of(into)
        if target is None:
            raise self._unknown(MERGE, f"merges {name!r} into", into)
        index = self.meanings.own_index(name)
        if index is None:
            self._absorb(name, target)
        elif target == index:
            if self.meanings.own_index(into) != index:
                raise ConfigError(
                    f"{MERGE} merges {name!r} into {into!r}, but {into!r} was merged into {name!r} "
                    "before.",
                    "Take that line out: a merge cannot be turned round.",
                )
        elif index not in self.meanings.targets:
            self._record(MERGED, name, index, target_index=target)

    def _absorb(self, name: str, target: int) -> None:
        """Merges a class of this data that never had an index, under all its names."""
        former = [old for old, new in self._declarations.renames.items() if new == name]
        unindexed = [n for n in (name, *former) if self.meanings.index_of(n) is None]
        if self.meanings.index_of(name) is None and not self._found & set(unindexed):
            raise self._unknown(MERGE, "merges", name)
        for each in unindexed:
            self._record(MERGED, each, None, target_index=target)

    def _check_merged(self, name: str, into: str) -> None:
        index = self.meanings.index_of(name)
        if index is None or index == self.meanings.index_of(into):
            return
        now = self.meanings.class_names[index]
        raise ConfigError(
            f"{MERGE} merges {name!r} into {into!r}, but it was merged into {now!r} before.",
            f"Write {as_line(name, now)}, or take that line out.",
        )

    def _record(
        self,
        kind: str,
        name: str,
        index: int | None,
        *,
        previous_name: str | None = None,
        target_index: int | None = None,
    ) -> None:
        change = LabelChange(
            self._version, kind, name, index, previous_name, target_index, self._span
        )
        self.meanings.apply(change)
        self.changes.append(change)

    def _unknown(self, section: str, what: str, name: str) -> ConfigError:
        known = list(dict.fromkeys([*self.meanings.names(), *sorted(self._found)]))
        more = "" if len(known) <= _NAMES_SHOWN else f" and {len(known) - _NAMES_SHOWN} more"
        return ConfigError(
            f"{section} {what} {name!r}, which is no class.{nearest(name, known)}",
            f"Correct it or take the line out. Classes: {', '.join(known[:_NAMES_SHOWN])}{more}.",
        )

    def _not_free(self, old: str, new: str, name: str) -> ConfigError:
        """The error of a rename that `name` (the old name or the new one) stands against."""
        index, final = self.meanings.own_index(name), self.meanings.index_of(name)
        if final is None or (index == final and self.meanings.class_names[final] == name):
            known = "" if final is None else f" (index {final})"
            return ConfigError(
                f"{RENAME} renames {old!r} to {new!r}, which is a class of its own{known}.",
                f"To put both into one class, write {MERGE}: {{{as_line(old, new)}}} instead.",
            )
        now = self.meanings.class_names[final]
        return ConfigError(
            f"{RENAME} renames {old!r} to {new!r}, but {name!r} stands for {now!r} since an "
            "earlier change.",
            "Take that line out." if name == old else "Choose a name that no class ever had.",
        )


def _checked(name: str) -> str:
    if fault := fault_of(name):
        raise DataError(
            f"The class name {name!r} {fault}.",
            "Rename the class: labels.txt holds one class name a line, in UTF-8.",
        )
    return composed(name)
