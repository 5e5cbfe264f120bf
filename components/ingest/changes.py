"""Has the source changed since the last finished ingest? By size and time, then by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

from slimworks.components.ingest import storage
from slimworks.components.ingest.catalogue import Catalogue, item_of
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.sources.items import WHOLE_FILE, SourceUnit

_TABLE = """
DROP TABLE IF EXISTS units;
CREATE TEMP TABLE units (name BLOB PRIMARY KEY, size INTEGER NOT NULL, version TEXT NOT NULL)
  WITHOUT ROWID;
"""
_MODULUS = 2**256


def take_units(catalogue: Catalogue, units: Iterable[SourceUnit]) -> str:
    """Fills the temporary table `units`; returns a digest that does not depend on their order."""
    for statement in _TABLE.split(";\n"):
        catalogue.connection.execute(statement)
    total = 0
    with catalogue.transaction():
        for unit in units:
            name = os.fsencode(unit.name)
            row = b"%d:%s %d %s" % (len(name), name, unit.size, unit.version.encode())
            total += int.from_bytes(hashlib.sha256(row).digest(), "big")
            catalogue.connection.execute(
                "INSERT OR REPLACE INTO units VALUES (?, ?, ?)", (name, unit.size, unit.version)
            )
    return f"{total % _MODULUS:064x}"


def has_changed(catalogue: Catalogue, max_bytes: int) -> bool:
    """Whether `units` differ from those of the last finished ingest in more than their times.

    A file of the same size with another time is read and hashed; where it holds what it held, its
    new time is noted.
    """
    gone = catalogue.count(
        "SELECT COUNT(*) FROM committed_units WHERE name NOT IN (SELECT name FROM units)"
    )
    if gone:
        return True
    other = catalogue.connection.execute(
        "SELECT u.name, u.version, u.size = c.size FROM units u LEFT JOIN committed_units c "
        "USING (name) WHERE c.name IS NULL OR u.size != c.size OR u.version != c.version"
    )
    touched = []
    for name, version, is_same_size in other:
        if not is_same_size or not _holds_what_it_held(catalogue, name, max_bytes):
            return True
        touched.append((version, name))
    with catalogue.transaction():
        for table in ("committed_units", "committed_files", "outcomes"):
            catalogue.connection.executemany(
                f"UPDATE {table} SET version = ? WHERE name = ?", touched
            )
    return False


def _holds_what_it_held(catalogue: Catalogue, name: bytes, max_bytes: int) -> bool:
    known = catalogue.connection.execute(
        "SELECT l.*, c.image_id FROM listed l JOIN committed_files c USING (name) WHERE name = ?",
        (name,),
    ).fetchone()
    if known is None or known[-1] is None:
        return False
    item = item_of(known)
    if item.kind != WHOLE_FILE:
        return False
    data = storage.read_item(item, max_bytes)
    return not isinstance(data, Rejection) and hashlib.sha256(data).hexdigest() == known[-1]
