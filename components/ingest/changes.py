"""Has anything changed since the last finished ingest? By size and time, then by content."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from slimworks import __version__
from slimworks.components import files
from slimworks.components.contracts import LabelMap
from slimworks.components.ingest import spans
from slimworks.components.ingest.catalogue import (
    TRANSIENT_REASONS,
    Catalogue,
    item_of,
    open_catalogue,
)
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.corrected import corrections_digest
from slimworks.components.ingest.evidence import count_rejected
from slimworks.components.ingest.images import Rejection, check_image
from slimworks.components.ingest.listing import Exclusion
from slimworks.components.ingest.selection import CONFLICTS
from slimworks.components.ingest.sources.detect import open_source
from slimworks.components.ingest.sources.items import (
    WHOLE_FILE,
    Source,
    SourceUnit,
    is_uri,
    units_of,
)
from slimworks.components.ingest.storage import access

# Settings of `data` that only stop a run: what keeps to them is the same under any of them.
BOUNDS = ("max_rejected_fraction", "min_images_per_class", "on_conflict")
# Those, and settings that change what is done with the images, not the images.
NOT_INGESTED = (
    *BOUNDS, "stop_above_drift", "retrain_min_drift", "retrain_min_new_images", "download_dir",
    "beam_pipeline_args",
)  # fmt: skip
# Where more files have another time, all have (a copy, a checkout): ingest reads them with all its
# workers, this module one after the other.
MOST_FILES_READ = 500

_TABLE = """
DROP TABLE IF EXISTS units;
CREATE TEMP TABLE units (name BLOB PRIMARY KEY, size INTEGER NOT NULL, version TEXT NOT NULL)
  WITHOUT ROWID;
"""
_MODULUS = 2**256


@dataclasses.dataclass(frozen=True)
class SourceState:
    """What the next ingest would start from.

    Attributes:
        text: Another one whenever ingest would come to another result.
        bounds: Values of `BOUNDS` to ingest with: where nothing changed and the last result keeps
            to the new bounds, those that it was made with.
    """

    text: str
    bounds: Mapping[str, Any]


def describe_source(
    source: str, config: DataConfig, state: str, beam_pipeline_args: Sequence[str] = ()
) -> SourceState:
    """Looks at the source's files and at the state.

    Where nothing changed since the last ingest with the same settings, the text is the one that
    this ingest was started with.

    Raises:
        SlimWorksError: As `check_source`.
    """
    access.configure(beam_pipeline_args)
    opened = open_source(source, config, (state,))
    with open_catalogue(state) as catalogue:
        label_map = spans.previous_label_map(catalogue)
        digest = take_units(catalogue, units_in_use(opened, config, label_map))
        is_known = catalogue.get("settings") == settings_of(opened, config)
        if is_known and _keeps_to_bounds(catalogue, config) and not has_changed(catalogue, config):
            return SourceState(
                str(catalogue.get("source_state")), catalogue.get("evidence")["bounds"]
            )
        return SourceState(next_source_state(catalogue, digest), _bounds_of(config))


def settings_of(source: Source, config: DataConfig) -> str:
    """What the result of an ingest depends on besides the files."""
    settings = config.canonical_json(("source", *NOT_INGESTED))
    return f"{__version__} {source.location} {settings} {corrections_digest(config)}".rstrip()


def next_source_state(catalogue: Catalogue, digest: str) -> str:
    """What the next ingest of this state is known by."""
    return f"{digest}:{catalogue.get('state_id')}:{catalogue.get('generation', 0) + 1}"


def remembered(catalogue: Catalogue, source: Source, config: DataConfig) -> dict[str, Any]:
    """Values of the catalogue's settings that the next `describe_source` goes by.

    Args:
        catalogue: With the temporary tables of `select_images` and `take_units`.
        source: What was ingested.
        config: The `data` section.
    """
    return {
        "settings": settings_of(source, config),
        "evidence": _evidence(catalogue, config),
        "containers": _container_digests(catalogue),
    }


def _bounds_of(config: DataConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in BOUNDS}


def _evidence(catalogue: Catalogue, config: DataConfig) -> dict[str, Any]:
    num_rejected, num_files = count_rejected(catalogue)
    return {
        "bounds": _bounds_of(config),
        "rejected_fraction": num_rejected / max(1, num_files),
        "smallest_class": catalogue.count(
            "SELECT MIN(n) FROM (SELECT COUNT(*) AS n FROM usable GROUP BY class_name)"
        ),
        "num_conflicts": catalogue.count(f"SELECT COUNT(*) FROM ({CONFLICTS})"),
    }


def _keeps_to_bounds(catalogue: Catalogue, config: DataConfig) -> bool:
    evidence = catalogue.get("evidence")
    return (
        evidence is not None
        and evidence["rejected_fraction"] <= config.max_rejected_fraction
        and evidence["smallest_class"] >= config.min_images_per_class
        and (config.on_conflict != "error" or not evidence["num_conflicts"])
    )


def listed_units(catalogue: Catalogue, source: Source) -> Iterator[SourceUnit]:
    """The source's units of the listing in the catalogue: the source is not walked again."""
    yield from source.containers()
    if source.images_are_files:
        for name, size, version in catalogue.connection.execute(
            "SELECT name, size, version FROM listed"
        ):
            yield SourceUnit(os.fsdecode(name), size, version)


def units_in_use(source: Source, config: DataConfig, label_map: LabelMap) -> Iterator[SourceUnit]:
    """The source's units without the images of excluded classes, as `listed_units` gives them."""
    exclusion = Exclusion(config, label_map)
    for unit in units_of(source):
        if unit.class_name is None or not exclusion.covers(unit.class_name):
            yield unit


def take_units(catalogue: Catalogue, units: Iterable[SourceUnit]) -> str:
    """Fills the temporary table `units`; returns a digest that does not depend on their order."""
    for statement in _TABLE.split(";\n"):
        catalogue.connection.execute(statement)
    total = 0

    def rows() -> Iterator[tuple[bytes, int, str]]:
        nonlocal total
        for unit in units:
            name = os.fsencode(unit.name)
            row = b"%d:%s %d %s" % (len(name), name, unit.size, unit.version.encode())
            total += int.from_bytes(hashlib.sha256(row).digest(), "big")
            yield name, unit.size, unit.version

    with catalogue.transaction():
        catalogue.connection.executemany("INSERT OR REPLACE INTO units VALUES (?, ?, ?)", rows())
    return f"{total % _MODULUS:064x}"


_OTHER_FILES = """
SELECT EXISTS (SELECT 1 FROM committed_units WHERE name NOT IN (SELECT name FROM units))
  OR EXISTS (SELECT 1 FROM units u LEFT JOIN committed_units c USING (name)
    WHERE c.name IS NULL OR u.size != c.size)
"""
_TOUCHED = "FROM units u JOIN committed_units c USING (name) WHERE u.version != c.version"


def has_changed(catalogue: Catalogue, config: DataConfig) -> bool:
    """Whether `units` differ from those of the last finished ingest in more than their times.

    A few files of the same size with another time are read; where they come to what they came to,
    their new times are noted. Files that could not be read are tried again: one that can be read
    now is a change.

    Args:
        catalogue: After `take_units`.
        config: Limits of the image check.
    """
    if catalogue.count(_OTHER_FILES):
        return True
    if catalogue.count(f"SELECT COUNT(*) {_TOUCHED}") > MOST_FILES_READ:
        return True
    touched = catalogue.connection.execute(f"SELECT u.version, name {_TOUCHED}").fetchall()
    containers = catalogue.get("containers", {})
    for _, name in touched:
        if not _is_what_it_was(catalogue, name, containers, config):
            return True
    if _can_be_read_again(catalogue, config.max_file_bytes):
        return True
    with catalogue.transaction():
        for table in ("committed_units", "committed_files", "outcomes"):
            catalogue.connection.executemany(
                f"UPDATE {table} SET version = ? WHERE name = ?", touched
            )
    return False


def _is_what_it_was(
    catalogue: Catalogue, name: bytes, containers: Mapping[str, str], config: DataConfig
) -> bool:
    container = os.fsdecode(name)
    if container in containers:
        return files.sha256_of_file(container) == containers[container]
    known = catalogue.connection.execute(
        "SELECT l.*, c.image_id, o.reason, o.detail FROM listed l JOIN committed_files c "
        "USING (name) JOIN outcomes o ON o.name = c.name AND o.version = c.version "
        "WHERE c.name = ?",
        (name,),
    ).fetchone()
    if known is None or item_of(known).kind != WHOLE_FILE:
        return False
    *_, image_id, reason, detail = known
    found: object = access.read_item(item_of(known), config.max_file_bytes)
    if isinstance(found, bytes) and image_id is None:
        found = check_image(found, config)
    if isinstance(found, bytes):
        return hashlib.sha256(found).hexdigest() == image_id
    return found == Rejection(reason, detail)


def _can_be_read_again(catalogue: Catalogue, max_bytes: int) -> bool:
    """Whether a file that was out of reach is back; one that never is must not train every run."""
    rows = catalogue.connection.execute(
        "SELECT l.* FROM outcomes JOIN listed l USING (name) WHERE reason IN (?, ?) LIMIT ?",
        (*TRANSIENT_REASONS, MOST_FILES_READ),
    )
    return any(not isinstance(access.read_item(item_of(row), max_bytes), Rejection) for row in rows)


def _container_digests(catalogue: Catalogue) -> dict[str, str]:
    """Sha256 of each manifest, archive and TFRecord file on this machine.

    Remote ones have versions that tell.
    """
    known = catalogue.get("containers", {})
    rows = catalogue.connection.execute(
        "SELECT u.name, u.version, c.version FROM units u LEFT JOIN committed_units c USING (name) "
        "WHERE name NOT IN (SELECT name FROM listed)"
    )
    digests = {}
    for raw, version, known_version in rows.fetchall():
        name = os.fsdecode(raw)
        if is_uri(name):
            continue
        if name in known and version == known_version:
            digests[name] = known[name]
        elif (digest := _digest_of_version(name, version)) is not None:
            digests[name] = digest
    return digests


def _digest_of_version(path: str, version: str) -> str | None:
    """Sha256 of a file; None where it is not, or not any more, the one that was ingested."""
    try:
        digest = files.sha256_of_file(path)
        return digest if access.describe_file(path).version == version else None
    except OSError:  # gone since: the next ingest sees that
        return None
