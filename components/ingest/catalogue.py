"""What ingest remembers from one run to the next: one SQLite file in the state folder.

Files are known by (name, size, version), so that only new and changed ones are read again; images
are known by the sha256 of their bytes, with the split and the class index that they keep. What a
check found is kept as soon as it is known: a killed ingest goes on from there. Everything that a
finished ingest decided (splits, spans, shards, label map) is committed in one transaction.

Everything that grows with the number of images lies here and not in memory.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.sources.items import SourceItem

CATALOGUE_FILE = "catalogue.sqlite"
SHARDS_FOLDER = "shards"
FORMAT = 1
_CACHE_KIB = 16 * 1024  # SQLite's 2 MB make random inserts of 100,000 images crawl
# Outcomes that say something about the moment, not about the file: looked at again every time.
TRANSIENT_REASONS = ("unreadable", "changed")

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- Files of the source as the present ingest found them. Names and paths are bytes: any is possible.
CREATE TABLE listed (
  name BLOB PRIMARY KEY, class_name TEXT NOT NULL, path BLOB NOT NULL, kind TEXT NOT NULL,
  key BLOB NOT NULL, size INTEGER NOT NULL, version TEXT NOT NULL, is_regular INTEGER NOT NULL,
  split TEXT, user_group TEXT, slices TEXT NOT NULL
) WITHOUT ROWID;
-- What checking a file came to: an image, or a reason against it.
CREATE TABLE outcomes (
  name BLOB PRIMARY KEY, size INTEGER NOT NULL, version TEXT NOT NULL,
  image_id TEXT, reason TEXT, detail TEXT
) WITHOUT ROWID;
CREATE INDEX outcomes_by_image ON outcomes (image_id);
CREATE TABLE facts (  -- with a rowid: ids come in no order, and rows are large
  image_id TEXT NOT NULL UNIQUE, format TEXT NOT NULL, original_format TEXT NOT NULL,
  height INTEGER NOT NULL, width INTEGER NOT NULL, colorspace TEXT NOT NULL,
  channels INTEGER NOT NULL, brightness REAL NOT NULL, sharpness REAL NOT NULL,
  fingerprint BLOB NOT NULL, signature BLOB NOT NULL, stored_bytes INTEGER NOT NULL,
  is_converted INTEGER NOT NULL
);
-- Files that the last finished ingest knew, and which image each was.
CREATE TABLE committed_files (
  name BLOB PRIMARY KEY, size INTEGER NOT NULL, version TEXT NOT NULL, image_id TEXT
) WITHOUT ROWID;
CREATE INDEX committed_files_by_image ON committed_files (image_id);
-- What the source's change is told by (see SourceUnit).
CREATE TABLE committed_units (
  name BLOB PRIMARY KEY, size INTEGER NOT NULL, version TEXT NOT NULL
) WITHOUT ROWID;
-- Images that were ever used; shard is NULL where it is in none: removed, or out of the window.
CREATE TABLE images (
  image_id TEXT PRIMARY KEY, split TEXT NOT NULL, span INTEGER NOT NULL, example TEXT,
  shard INTEGER, position INTEGER, num_bytes INTEGER
) WITHOUT ROWID;
CREATE INDEX images_by_shard ON images (shard);
CREATE TABLE shards (
  shard INTEGER PRIMARY KEY, split TEXT NOT NULL, file TEXT NOT NULL, num_images INTEGER NOT NULL,
  num_bytes INTEGER NOT NULL
);
"""


class Catalogue:
    """The open file; `connection` is for the modules of this package that ask it questions."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self.connection = connection
        self.folder = folder

    def get(self, key: str, default: Any = None) -> Any:
        """Value of a JSON setting of the last finished ingest."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else default

    def set(self, key: str, value: Any) -> None:
        """Sets a JSON value; part of the open transaction."""
        self.connection.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value, sort_keys=True))
        )

    def count(self, query: str, parameters: tuple[Any, ...] = ()) -> int:
        """The one number that a query returns."""
        return int(self.connection.execute(query, parameters).fetchone()[0])

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.rollback()
            raise
        self.connection.commit()

    def replace_listing(self, items: Iterable[SourceItem]) -> None:
        """Forgets the last listing and takes in this one, item by item."""
        with self.transaction():
            self.connection.execute("DELETE FROM listed")
            self.connection.executemany(
                "INSERT INTO listed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_as_row, items)
            )

    def forget_outcomes(self) -> None:
        """Every file is to be checked again: the rules changed."""
        with self.transaction():
            self.connection.execute("DELETE FROM outcomes")
            self.connection.execute("DELETE FROM facts")

    def forget_versions(self) -> None:
        """Every file is to be read again: another place may hold other files under equal names."""
        with self.transaction():
            self.connection.execute("UPDATE outcomes SET version = ''")

    def files_to_check(self) -> Iterator[tuple[SourceItem, str | None]]:
        """Yields new and changed files by name, with the image id that each had before.

        A file with the size that it had may hold what it held: its id saves decoding it.
        """
        rows = self.connection.execute(
            "SELECT l.*, CASE WHEN o.size = l.size THEN o.image_id END FROM listed l "
            "LEFT JOIN outcomes o USING (name) WHERE o.name IS NULL OR o.size != l.size "
            "OR o.version != l.version OR o.reason IN (?, ?) ORDER BY name",
            TRANSIENT_REASONS,
        )
        for row in rows:
            yield item_of(row), row[-1]

    def count_to_check(self) -> int:
        """Number of `files_to_check`."""
        return self.count(
            "SELECT COUNT(*) FROM listed l LEFT JOIN outcomes o USING (name) "
            "WHERE o.name IS NULL OR o.size != l.size OR o.version != l.version "
            "OR o.reason IN (?, ?)",
            TRANSIENT_REASONS,
        )


def _as_row(item: SourceItem) -> tuple[Any, ...]:
    return (
        os.fsencode(item.name), item.class_name, os.fsencode(item.path), item.kind,
        os.fsencode(item.key), item.size, item.version, item.is_regular, item.split, item.group,
        json.dumps(dict(item.slices), sort_keys=True) if item.slices else "{}",
    )  # fmt: skip


def item_of(row: tuple[Any, ...]) -> SourceItem:
    """Item of a row of `listed`; further columns are passed over."""
    name, class_name, path, kind, key, size, version, is_regular, split, group, slices = row[:11]
    return SourceItem(
        name=os.fsdecode(name), class_name=class_name, path=os.fsdecode(path), kind=kind,
        key=os.fsdecode(key), size=size, version=version, is_regular=bool(is_regular), split=split,
        group=group, slices=json.loads(slices),
    )  # fmt: skip


@contextlib.contextmanager
def open_catalogue(folder: str | os.PathLike[str]) -> Iterator[Catalogue]:
    """Opens the catalogue of a state folder, or makes an empty one; held until the block ends.

    Raises:
        ConfigError: Another ingest holds it, a newer SlimWorks wrote it, or it cannot be written.
        DataError: The file is damaged.
    """
    path = Path(folder) / CATALOGUE_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_named_faults(path))  # also of what is asked while it is open
        # Transactions are begun by name: the module's own would end at every CREATE TABLE.
        connection = sqlite3.connect(path, timeout=1, isolation_level=None)
        stack.callback(connection.close)
        _prepare(connection, path)
        yield Catalogue(connection, path.parent)


@contextlib.contextmanager
def _named_faults(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into those that name the file and the way out."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text:
            raise ConfigError(
                f"Another ingest is using {path.parent}.",
                "Wait for it, or write to another folder.",
            ) from None
        if "is full" in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if "readonly" in text or "unable to open" in text:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from error
        raise _damaged(path, error) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, error) from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA temp_store = FILE")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("BEGIN EXCLUSIVE")
    tables = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if not tables:
        if (path.parent / SHARDS_FOLDER).is_dir():
            raise _damaged(path, "it is empty or gone, and there are shards beside it")
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('format', ?)", (str(FORMAT),))
        # Tells this state from one that was lost: their spans and generations count alike.
        state_id = json.dumps(secrets.token_hex(4))
        connection.execute("INSERT INTO meta VALUES ('state_id', ?)", (state_id,))
    connection.commit()
    found = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    if int(found[0]) > FORMAT:
        raise ConfigError(
            f"{path} has format {found[0]}, this SlimWorks reads {FORMAT}.",
            "Upgrade SlimWorks, or use another folder.",
        )


def _damaged(path: Path, why: object) -> DataError:
    return DataError(
        f"{path} cannot be used: {why}.",
        f"Restore it from a backup. Or delete it and {path.parent / SHARDS_FOLDER}: then all "
        "images are read again, and splits are made anew.",
    )
