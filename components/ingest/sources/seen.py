"""Names met so far, on disk: memory does not grow with their number."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator


class SeenNames:
    """A temporary table of names, each with a text, that vanishes when it is closed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def put(self, name: str, text: str = "") -> str | None:
        """Remembers a new name and returns None; returns the text of one that is known."""
        key = os.fsencode(name)
        added = self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, text))
        if added.rowcount:
            return None
        query = "SELECT text FROM seen WHERE name = ?"
        return str(self._connection.execute(query, (key,)).fetchone()[0])

    def unique(self, name: str, number: int) -> str:
        """The name, or `name#number` (with more # where needed) where it was given before."""
        if self.put(name) is None:
            return name
        name = f"{name}#{number}"
        while self.put(name) is not None:
            name += "#"
        return name


@contextlib.contextmanager
def seen_names() -> Iterator[SeenNames]:
    """Yields an empty table in a temporary file."""
    # An empty name means a private file that SQLite deletes, with a cache of 2 MB before it.
    connection = sqlite3.connect("", isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            "CREATE TABLE seen (name BLOB PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID"
        )
        yield SeenNames(connection)
    finally:
        connection.close()
