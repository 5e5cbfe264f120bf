"""What became of each class: the changes of a label map, and what every name stands for now."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

ADDED, RENAMED, MERGED = "added", "renamed", "merged"


@dataclasses.dataclass(frozen=True)
class LabelChange:
    """One change of one class.

    Attributes:
        version: Version of the label map that came of it; the changes of one ingest share it.
        kind: "added", "renamed" or "merged".
        class_name: The class added or merged; renamed: its new name.
        class_index: Its index; None for a class that was merged before it ever had one.
        previous_name: renamed: the name before.
        target_index: merged: the class that takes its images.
        span: The ingest that made the change, as far as it is known.
    """

    version: int
    kind: str
    class_name: str
    class_index: int | None
    previous_name: str | None = None
    target_index: int | None = None
    span: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The change's entry in label_map.json, without what does not apply."""
        value = dataclasses.asdict(self)
        return {key: value[key] for key in value if value[key] is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LabelChange:
        """Reads an entry.

        Raises:
            ValueError: A key is missing or unknown, or the kind is.
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r:.60} is no change")
        if value.get("kind") not in (ADDED, RENAMED, MERGED):
            raise ValueError(f"unknown kind of change {value.get('kind')!r}")
        try:
            change = cls(**{"class_index": None, **value})
        except TypeError as error:
            raise ValueError(str(error)) from error
        numbers = (change.class_index, change.target_index, change.span)
        names = (change.class_name, change.previous_name or "")
        if not all(isinstance(number, int | None) for number in (change.version, *numbers)):
            raise ValueError("an index or version is no whole number")
        if change.version is None or not all(isinstance(name, str) for name in names):
            raise ValueError("a version or name is missing")
        return change


class Meanings:
    """What every name stands for that ever stood for a class. Names never pass to another class.

    Attributes:
        class_names: Current names by class index.
        targets: Index of each merged class, and the index that took its images.
    """

    def __init__(self, class_names: Sequence[str], history: Iterable[LabelChange]) -> None:
        self.class_names = list(class_names)
        self.targets: dict[int, int] = {}
        self._absorbed: dict[str, int] = {}  # merged before they had an index
        self._indices = {name: index for index, name in enumerate(class_names)}
        for change in history:
            if change.kind != ADDED:
                self._follow(change)

    def apply(self, change: LabelChange) -> None:
        """Makes a change that is not in the class names yet."""
        if change.kind == ADDED:
            self._indices[change.class_name] = len(self.class_names)
            self.class_names.append(change.class_name)
            return
        self._follow(change)
        if change.kind == RENAMED and change.class_index is not None:
            self.class_names[change.class_index] = change.class_name
            self._indices[change.class_name] = change.class_index

    def own_index(self, name: str) -> int | None:
        """Index that has, or had, this name, whatever it was merged into; None: there is none."""
        return self._indices.get(name)

    def index_of(self, name: str) -> int | None:
        """Index that images of this name get; None: the name is unknown."""
        index = self._indices.get(name, self._absorbed.get(name))
        return None if index is None else self.final(index)

    def final(self, index: int) -> int:
        """Index that images of this class get, after all merges."""
        while index in self.targets:
            index = self.targets[index]
        return index

    def names(self) -> list[str]:
        """Every name that is known, current ones first."""
        return list(dict.fromkeys([*self.class_names, *self._indices, *self._absorbed]))

    def _follow(self, change: LabelChange) -> None:
        if change.kind == RENAMED and change.previous_name and change.class_index is not None:
            self._indices.setdefault(change.previous_name, change.class_index)
        elif change.kind == MERGED and change.target_index is not None:
            if change.class_index is None:
                self._absorbed[change.class_name] = change.target_index
            else:
                self.targets[change.class_index] = change.target_index


def require_sound(history: Sequence[LabelChange], num_classes: int) -> None:
    """Checks a history that was read: `Meanings.final` follows merges to their end.

    Raises:
        ValueError: It speaks of a class that is none, or merges go in a circle.
    """
    targets: dict[int, int] = {}
    for change in history:
        for index in (change.class_index, change.target_index):
            if index is not None and not 0 <= index < num_classes:
                raise ValueError(f"there is no class {index}")
        if change.kind == MERGED and None not in (change.class_index, change.target_index):
            targets[cast(int, change.class_index)] = cast(int, change.target_index)
    for start in targets:
        end, steps = start, 0
        while end in targets:
            end, steps = targets[end], steps + 1
            if steps > len(targets):
                raise ValueError(f"the merges of class {start} go in a circle")
