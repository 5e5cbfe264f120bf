"""From checked files to images: one of identical files, none where their classes contradict.

Works in temporary tables of the catalogue: `usable` holds one row an image, numbered from 0 by
image id; `memberships` the groups that the user put an image into; `set_aside` the sound files that
are left out, with the reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from slimworks.components.errors import DataError
from slimworks.components.ingest.catalogue import Catalogue
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.corrected import apply_corrections
from slimworks.components.ingest.sources.items import display_name
from slimworks.components.ingest.splits import group_of

# Reasons of files that are sound; they do not count against data.max_rejected_fraction.
LABEL_CONFLICT = "label_conflict"
SOUND_REASONS = (LABEL_CONFLICT, "split_bridge", "split_leak")
_NAMES_TO_SHOW = 3

_TABLES = """
DROP TABLE IF EXISTS class_map;
DROP TABLE IF EXISTS accepted;
DROP TABLE IF EXISTS usable;
DROP TABLE IF EXISTS memberships;
DROP TABLE IF EXISTS set_aside;
CREATE TEMP TABLE class_map (source_name TEXT PRIMARY KEY, class_name TEXT NOT NULL) WITHOUT ROWID;
CREATE TEMP TABLE accepted (
  image_id TEXT NOT NULL, rank INTEGER NOT NULL, name BLOB NOT NULL, class_name TEXT NOT NULL,
  PRIMARY KEY (image_id, rank, name)
) WITHOUT ROWID;
CREATE TEMP TABLE usable (
  number INTEGER PRIMARY KEY, image_id TEXT NOT NULL UNIQUE, name BLOB NOT NULL,
  class_name TEXT NOT NULL, rank INTEGER NOT NULL
);
CREATE TEMP TABLE memberships (
  number INTEGER NOT NULL, user_group TEXT NOT NULL, PRIMARY KEY (number, user_group)
) WITHOUT ROWID;
CREATE TEMP TABLE set_aside (name BLOB PRIMARY KEY, reason TEXT NOT NULL, detail TEXT NOT NULL)
  WITHOUT ROWID;
"""
# Of identical files the one in the most precious of the user's splits is kept, then the first.
_ACCEPT = """
INSERT INTO accepted
SELECT o.image_id,
  CASE l.split WHEN 'test' THEN 0 WHEN 'eval' THEN 1 WHEN 'train' THEN 2 ELSE 3 END,
  l.name, c.class_name
FROM listed l JOIN outcomes o USING (name) JOIN class_map c ON c.source_name = l.class_name
WHERE o.image_id IS NOT NULL
"""
# Images that stand under several classes.
CONFLICTS = """
SELECT image_id FROM accepted GROUP BY image_id HAVING COUNT(DISTINCT class_name) > 1
"""
_USABLE = f"""
INSERT INTO usable (number, image_id, name, class_name, rank)
SELECT ROW_NUMBER() OVER (ORDER BY image_id) - 1, image_id, name, class_name, rank FROM accepted a
WHERE image_id NOT IN ({CONFLICTS}) AND NOT EXISTS (
  SELECT 1 FROM accepted b WHERE b.image_id = a.image_id AND (b.rank, b.name) < (a.rank, a.name)
)
"""
# Images with the groups that the source gives their files.
_GIVEN_GROUPS = """
INSERT OR IGNORE INTO memberships
SELECT u.number, l.user_group FROM listed l CROSS JOIN outcomes o USING (name)
CROSS JOIN usable u USING (image_id) WHERE l.user_group IS NOT NULL
"""


def select_images(
    catalogue: Catalogue, class_names: Mapping[str, str], config: DataConfig
) -> list[str]:
    """Fills the temporary tables.

    Args:
        catalogue: With the listing and all outcomes.
        class_names: Final class name by the name that the source uses.
        config: `group_regex`, `on_conflict`, `corrections`.

    Returns:
        Warnings for people.

    Raises:
        DataError: Identical images under several classes where that is an error; a group_regex
            that matches nothing.
    """
    connection = catalogue.connection
    connection.executescript(_TABLES)
    connection.executemany("INSERT INTO class_map VALUES (?, ?)", class_names.items())
    with catalogue.transaction():
        connection.execute(_ACCEPT)
        warnings = apply_corrections(catalogue, class_names, config)
        _set_conflicts_aside(catalogue, config)
        connection.execute(_USABLE)
        return warnings + _find_groups(catalogue, config)


def _set_conflicts_aside(catalogue: Catalogue, config: DataConfig) -> None:
    conflicts = [image_id for (image_id,) in catalogue.connection.execute(CONFLICTS)]
    for image_id in conflicts:
        same = files_of(catalogue, image_id)
        if config.on_conflict == "error":
            names = _listed([name for name, _, _ in same])
            number = "1 image stands" if len(conflicts) == 1 else f"{len(conflicts)} images stand"
            raise DataError(
                f"{number} under several classes: {names} are identical.",
                "Delete the wrong ones, or let them be set aside: --set data.on_conflict=set_aside",
            )
        others = {
            class_name: _listed([name for name, other, _ in same if other != class_name])
            for class_name in {class_name for _, class_name, _ in same}
        }
        catalogue.connection.executemany(
            "INSERT INTO set_aside VALUES (?, ?, ?)",
            [
                (raw, LABEL_CONFLICT, f"the same image is also {others[class_name]}")
                for _, class_name, raw in same
            ],
        )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_TO_SHOW
    return ", ".join(names[:_NAMES_TO_SHOW]) + (f" and {more} more" if more > 0 else "")


def files_of(catalogue: Catalogue, image_id: str) -> list[tuple[str, str, bytes]]:
    """Files that hold an image: name for people, class, name as it is."""
    rows = catalogue.connection.execute(
        "SELECT name, class_name FROM accepted WHERE image_id = ? ORDER BY name", (image_id,)
    )
    return [(shown(name), class_name, name) for name, class_name in rows]


def shown(name: bytes) -> str:
    """Name of a catalogue row as people read it."""
    return display_name(name.decode("utf-8", "surrogateescape"))


def _find_groups(catalogue: Catalogue, config: DataConfig) -> list[str]:
    if not config.group_regex:
        catalogue.connection.execute(_GIVEN_GROUPS)
        return []
    pattern = re.compile(config.group_regex)
    matched: Counter[bool] = Counter()
    example = ""

    def memberships() -> Iterator[tuple[int, str]]:
        nonlocal example
        rows = catalogue.connection.execute(
            "SELECT u.number, a.name, l.user_group FROM usable u "
            "JOIN accepted a USING (image_id) JOIN listed l ON l.name = a.name ORDER BY a.name"
        )
        for number, name, group in rows:
            found = group_of(shown(name), pattern) if group is None else group
            matched[found is not None] += 1
            if found is not None:
                yield number, found
            else:
                example = example or shown(name)

    catalogue.connection.executemany(
        "INSERT OR IGNORE INTO memberships VALUES (?, ?)", memberships()
    )
    if not matched[False]:
        return []
    if not matched[True]:
        raise DataError(
            f"data.group_regex {config.group_regex!r} matches no path, such as {example!r}.",
            "Correct it: it is searched in the path below the data folder.",
        )
    num_files = matched.total()
    return [f"data.group_regex does not match {matched[False]} of {num_files} paths."]
