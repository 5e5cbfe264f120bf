"""What every listing must come to: at least two classes, and excluded ones that exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from slimworks.components.errors import ConfigError, DataError, nearest
from slimworks.components.ingest.sources.items import SourceNotes

_MOST_NAMED = 12  # classes in one message


class ClassTally:
    """Counts the images of each class while a source lists them; leaves out what is excluded."""

    def __init__(self, exclude_classes: Sequence[str]) -> None:
        self.excluded = dict.fromkeys(exclude_classes, False)  # whether each was met
        self.sizes: Counter[str] = Counter()

    def takes(self, class_name: str) -> bool:
        """Counts one image; False where its class is excluded."""
        if class_name in self.excluded:
            self.excluded[class_name] = True
            return False
        self.sizes[class_name] += 1
        return True

    def require_known_exclusions(self) -> None:
        """Raises ConfigError where a class was to be left out that is not there."""
        known = sorted({*self.sizes, *(name for name, is_met in self.excluded.items() if is_met)})
        for name, is_met in self.excluded.items():
            if not is_met:
                raise ConfigError(
                    f"data.exclude_classes names {name!r}, which is no class of the data."
                    f"{nearest(name, known)}",
                    f"Known classes: {named(known)}.",
                )

    def require_two(self, location: str, notes: SourceNotes, what: str, fix: str) -> None:
        """Raises DataError where no class or one only was found.

        Args:
            location: The source.
            notes: What its listing noticed.
            what: What a source of this format has to hold, for the message.
            fix: What to do about it.
        """
        if not self.sizes and not notes.num_ignored:
            raise DataError(f"The data source {location} is empty.", fix)
        if not self.sizes:
            raise DataError(
                f"The data source {location} has {notes.num_ignored} files but no {what}.", fix
            )
        if len(self.sizes) == 1:
            raise single_class(location, next(iter(self.sizes)), fix)


def single_class(location: str, name: str, fix: str) -> DataError:
    """Error for a source whose every image is of one class."""
    return DataError(
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
