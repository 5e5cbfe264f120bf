"""The renames and merges that a configuration declares, checked before any data is known."""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections.abc import Mapping

from slimworks.components.errors import ConfigError

RENAME, MERGE = "data.rename_classes", "data.merge_classes"
# Control characters, line and paragraph separators, half characters: labels.txt holds one class
# name a line, in UTF-8.
_REFUSED_CATEGORIES = ("Cc", "Zl", "Zp", "Cs")


@dataclasses.dataclass(frozen=True)
class Declarations:
    """Renames and merges that agree with each other.

    Attributes:
        renames: Old class name -> new one; no new name is renamed again.
        merges: Class name -> the class that takes its images, both by their new names; no such
            class is merged itself.
    """

    renames: Mapping[str, str]
    merges: Mapping[str, str]

    @classmethod
    def of(cls, renames: Mapping[str, str], merges: Mapping[str, str]) -> Declarations:
        """Checks what the configuration says.

        Args:
            renames: `data.rename_classes`.
            merges: `data.merge_classes`.

        Raises:
            ConfigError: A name is none, two lines contradict each other, or lines form a chain.
        """
        renames, merges = _composed(RENAME, renames), _composed(MERGE, merges)
        _refuse_chains(RENAME, renames)
        for name in merges:
            if name in renames:
                raise ConfigError(
                    f"Class {name!r} is in {RENAME} and in {MERGE}.",
                    f"Keep one of the two: {RENAME}: {{{as_line(name, renames[name])}}} or "
                    f"{MERGE}: {{{as_line(name, merges[name])}}}.",
                )
        merges = {name: renames.get(into, into) for name, into in merges.items()}
        _refuse_chains(MERGE, merges)
        return cls(renames, merges)


def composed(name: str) -> str:
    """The name in Unicode's composed form: one class, however its letters are written."""
    return unicodedata.normalize("NFC", name)


def fault_of(name: str) -> str | None:
    """What forbids a class name, such as "is empty"; None where nothing does."""
    if not name.strip():
        return "is empty"
    for letter in name:
        if unicodedata.category(letter) in _REFUSED_CATEGORIES:
            return f"has the character {letter!r}"
    return None


def as_line(name: str, value: str) -> str:
    """`name: value` as YAML takes it, whatever letters the names have."""
    return f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}"


def _composed(section: str, pairs: Mapping[str, str]) -> dict[str, str]:
    """Composed names without the lines that change nothing."""
    checked: dict[str, str] = {}
    for name, value in pairs.items():
        for text in (name, value):
            if fault := fault_of(text):
                raise ConfigError(
                    f"{section} has the class name {text!r}, which {fault}.",
                    "Write a name that fits on one line of labels.txt.",
                )
        name, value = composed(name), composed(value)
        if checked.setdefault(name, value) != value:
            raise ConfigError(
                f"{section} has {name!r} twice, for {checked[name]!r} and for {value!r}.",
                "Keep one of the two lines.",
            )
    return {name: value for name, value in checked.items() if name != value}


def _refuse_chains(section: str, pairs: Mapping[str, str]) -> None:
    for name, value in pairs.items():
        chain = [name, value]
        while (after := pairs.get(chain[-1])) is not None and chain[-1] not in chain[:-1]:
            chain.append(after)
        shown, end = " -> ".join(map(repr, chain)), chain[-1]
        if end in chain[:-1]:
            raise ConfigError(
                f"{section} goes in a circle: {shown}.",
                "Take one of these lines out. Two names cannot be swapped: a name stands for the "
                "same class for ever.",
            )
        if len(chain) > 2:
            raise ConfigError(
                f"{section} has a chain: {shown}.",
                f"Name the end in each line: {', '.join(as_line(n, end) for n in chain[:-1])}.",
            )
