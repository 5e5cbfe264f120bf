"""Applies the classes of single images that people corrected (`data.corrections`).

Works on the temporary table `accepted` of `selection.py`, before contradictions are looked for: a
correction settles them. What was changed is kept in the temporary table `corrected`. The user's
files stay as they are, and an image keeps its split.
"""

from __future__ import annotations

from collections.abc import Mapping

from slimworks.components import files
from slimworks.components.errors import ConfigError, nearest
from slimworks.components.ingest.catalogue import Catalogue
from slimworks.components.ingest.config import DataConfig
from slimworks.components.labels.corrections import Correction, read_corrections

_TABLE = """
CREATE TEMP TABLE corrected (image_id TEXT PRIMARY KEY, class_name TEXT NOT NULL) WITHOUT ROWID
"""
_APPLY = """
UPDATE accepted SET class_name =
  (SELECT c.class_name FROM corrected c WHERE c.image_id = accepted.image_id)
WHERE image_id IN (SELECT image_id FROM corrected)
"""
# Corrections that change nothing: the image is not there, or its files were moved since.
_FORGET_IDLE = """
DELETE FROM corrected WHERE NOT EXISTS (
  SELECT 1 FROM accepted a WHERE a.image_id = corrected.image_id
  AND a.class_name != corrected.class_name
)
"""


def apply_corrections(
    catalogue: Catalogue, class_names: Mapping[str, str], config: DataConfig
) -> list[str]:
    """Gives the images of the corrections file their corrected classes.

    Args:
        catalogue: With `accepted`; in a transaction.
        class_names: Final class name by the name that the source uses.
        config: `corrections`.

    Returns:
        Warnings for people.

    Raises:
        DataError: The file cannot be read, or holds a line that is no correction.
        ConfigError: A line names a class that the source does not have.
    """
    run = catalogue.connection.execute
    run("DROP TABLE IF EXISTS corrected")
    run(_TABLE)
    if config.corrections is None:
        return []
    found = read_corrections(config.corrections)
    rows = [(one.image_id, _final_name(one, class_names, config)) for one in found.values()]
    catalogue.connection.executemany("INSERT INTO corrected VALUES (?, ?)", rows)
    absent = catalogue.count(
        "SELECT COUNT(*) FROM corrected WHERE image_id NOT IN (SELECT image_id FROM accepted)"
    )
    run(_FORGET_IDLE)
    run(_APPLY)
    if not absent:
        return []
    return [f"{absent} of the {len(rows)} images of data.corrections are not in the data."]


def num_corrected(catalogue: Catalogue) -> int:
    """Images whose class was changed by the last `apply_corrections`."""
    return catalogue.count("SELECT COUNT(*) FROM corrected")


def corrections_digest(config: DataConfig) -> str:
    """Digest of the corrections file; empty where there is none.

    Raises:
        DataError: It cannot be read.
    """
    if config.corrections is None:
        return ""
    read_corrections(config.corrections)
    return files.sha256_of_file(config.corrections)


def _final_name(one: Correction, class_names: Mapping[str, str], config: DataConfig) -> str:
    final = class_names.get(one.class_name, one.class_name)
    known = set(class_names.values())
    if final not in known:
        raise ConfigError(
            f"{config.corrections} gives image {one.image_id[:12]} ({one.filename}) the class "
            f"{one.class_name!r}, which the data does not have."
            f"{nearest(one.class_name, sorted(known))}",
            "Correct that line, or delete it.",
        )
    return final
