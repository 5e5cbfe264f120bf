"""Rows and records that cannot be used: named up to a point, an error beyond it."""

from __future__ import annotations

import math

from slimworks.components.errors import DataError
from slimworks.components.ingest.sources.items import SourceNotes, display_name

_SHOWN = 3


class Faults:
    """Counts what is wrong with the rows of a manifest or the records of TFRecords."""

    def __init__(self, notes: SourceNotes, location: str, what: str) -> None:
        """Starts at none.

        Args:
            notes: Where they are counted and named as ignored.
            location: The source.
            what: What is counted: "rows" or "records".
        """
        self.num_looked_at = 0
        self._notes = notes
        self._location = location
        self._what = what
        self._first: list[str] = []

    def note(self, name: str, sentence: str) -> None:
        """Sets one aside; `sentence` says which and why, such as "line 3 has no class"."""
        self._notes.ignore(name)
        if len(self._first) < _SHOWN:
            self._first.append(sentence)

    def conclude(self, max_fraction: float) -> None:
        """Warns of what was set aside.

        Raises:
            DataError: That is more than `max_fraction` of all.
        """
        if not self._first:
            return
        fraction = self._notes.num_ignored / self.num_looked_at
        cause = (
            f"{self._notes.num_ignored} of {self.num_looked_at} {self._what} of "
            f"{display_name(self._location)} cannot be used: {'; '.join(self._first)}."
        )
        if fraction <= max_fraction:
            self._notes.warnings.append(cause)
            return
        accepted = math.ceil(fraction * 100) / 100
        raise DataError(
            f"{cause} data.max_rejected_fraction is {max_fraction:g}.",
            f"Correct them, or leave them out: --set data.max_rejected_fraction={accepted:g}",
        )
