"""What every listing must come to: at least two classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from slimworks.components.errors import DataError
from slimworks.components.ingest.sources.items import SourceNotes

_MOST_NAMED = 12  # classes in one message


def require_two(
    sizes: Counter[str], location: str, notes: SourceNotes, what: str, fix: str
) -> None:
    """Raises DataError where no class or one only was found.

    Args:
        sizes: Number of images by class name.
        location: The source, as messages show it.
        notes: What its listing noticed.
        what: What a source of this format has to hold.
        fix: What to do about it.
    """
    if not sizes and not notes.num_ignored:
        raise DataError(f"The data source {location} is empty.", fix)
    if not sizes:
        files = "1 file" if notes.num_ignored == 1 else f"{notes.num_ignored} files"
        cause = f"The data source {location} has {files} but no {what}."
        raise DataError(cause, fix)
    if len(sizes) == 1:
        name = next(iter(sizes))
        raise DataError(
            f"{location} holds one class only, {name!r}: a classifier needs at least two.", fix
        )


def named(names: Iterable[str]) -> str:
    """The names with commas between them; of many the first."""
    names = list(names)
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def numeric_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names that are all whole numbers, by value; nothing where one is none.

    Sorted as text, class 10 would get an index before class 2.
    """
    names = list(names)
    if not all(name.isascii() and name.isdecimal() for name in names):
        return ()
    return tuple(sorted(names, key=lambda name: (int(name), name)))
