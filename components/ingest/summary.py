"""The report of one ingest: what was used, what was not, and the proof that no group leaks."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.ingest import spans
from slimworks.components.ingest.catalogue import Catalogue, item_of
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.corrected import num_corrected
from slimworks.components.ingest.duplicates import Row, identical_rows, near_rows
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.outliers import find_outliers
from slimworks.components.ingest.planning import Planned
from slimworks.components.ingest.selection import SOUND_REASONS, shown
from slimworks.components.ingest.storage import access
from slimworks.components.ingest.thumbnails import (
    keep_thumbnails,
    reuse_thumbnails,
    write_thumbnails,
)

_LOGGER = logging.getLogger(__name__)
# Setting of the catalogue: changes that were committed and that no summary told yet.
UNREPORTED = "unreported"
_DUPLICATES_SHOWN = 12  # rows of duplicates.jsonl of each kind that get thumbnails
_IMAGES_SHOWN = 4  # of one row


@dataclasses.dataclass(frozen=True)
class IngestSummary:
    """Content of summary.json.

    Attributes:
        state_id: Of the state folder; spans count anew in another one.
        source: What was read.
        format: Its format, a value of `data.format`.
        source_digest: Fingerprint of its file names, sizes and versions.
        span: Number of the newest span; spans count the ingests that found new images.
        previous_span: The span before this ingest; 0 before the first.
        window: Newest spans that are used; None: all.
        num_files: Files looked at: used, duplicates, rejected, out of the window.
        num_new_files: Of them not known to the ingest before.
        num_changed_files: Of them with another content than before.
        num_unchanged_files: Of them not read again.
        num_images: Examples written.
        num_new_images: Images of this ingest's own span.
        num_removed_images: Images used before and not any more.
        num_changed_split: Images that are in another split than before; 0 while data grows.
        num_moved_to_test: Of them from the train split to the test split.
        class_names: Label map, by class index.
        label_map_version: Of the label map.
        images_by_split: Examples by split, then by class name.
        images_by_format: Examples by format of the user's file.
        num_converted: Examples whose bytes were converted to PNG.
        sizes: Smallest, median and largest height, width and bytes.
        brightness: Smallest, median and largest mean luma, in [0, 1].
        sharpness: Smallest, median and largest.
        imbalance: The largest and the smallest class, and the ratio of their sizes.
        num_outliers: Images that are far darker, brighter or more blurred than the others.
        num_rejected: Files set aside; by reason in `rejected_by_reason`.
        rejected_fraction: Of `num_files`; conflicts do not count, their files are sound.
        max_rejected_fraction: The bound that held.
        num_duplicates: Files left out because an identical one is kept.
        num_conflicts: Different images found under several classes.
        num_corrected: Images that got another class from data.corrections.
        num_near_duplicates: Images that look like another one.
        num_near_duplicate_groups: Groups of such images.
        num_near_duplicate_conflicts: Of them with several classes: one is wrong, mostly.
        num_set_aside_for_splits: Images left out because they would connect two splits.
        num_ignored: Files without a class; the first names in `ignored`.
        num_groups: Images that must stay together count once.
        groups_in_several_splits: Proof: 0.
        num_shards: TFRecord files.
        num_shards_written: Of them written by this ingest.
        warnings: Sentences for people.
        seconds: Wall time.
    """

    state_id: str
    source: str
    format: str
    source_digest: str
    span: int
    previous_span: int
    window: int | None
    num_files: int
    num_new_files: int
    num_changed_files: int
    num_unchanged_files: int
    num_images: int
    num_new_images: int
    num_removed_images: int
    num_changed_split: int
    num_moved_to_test: int
    class_names: tuple[str, ...]
    label_map_version: int
    images_by_split: dict[str, dict[str, int]]
    images_by_format: dict[str, int]
    num_converted: int
    sizes: dict[str, dict[str, float]]
    brightness: dict[str, float]
    sharpness: dict[str, float]
    imbalance: dict[str, Any]
    num_outliers: int
    num_rejected: int
    rejected_by_reason: dict[str, int]
    rejected_fraction: float
    max_rejected_fraction: float
    num_duplicates: int
    num_conflicts: int
    num_corrected: int
    num_near_duplicates: int
    num_near_duplicate_groups: int
    num_near_duplicate_conflicts: int
    num_set_aside_for_splits: int
    num_ignored: int
    ignored: tuple[str, ...]
    num_groups: int
    groups_in_several_splits: int
    num_shards: int
    num_shards_written: int
    warnings: tuple[str, ...]
    seconds: float


def count_changes(catalogue: Catalogue, planned: Planned, last_span: int) -> dict[str, int]:
    """What is new since the last ingest that wrote its summary; ask before `spans.commit`.

    Where an ingest was killed between its commit and its summary, its changes are counted in.
    """
    count = catalogue.count
    joined = "FROM listed l LEFT JOIN committed_files c USING (name) JOIN outcomes o USING (name)"
    changes = {
        "num_new_files": count(f"SELECT COUNT(*) {joined} WHERE c.name IS NULL"),
        "num_changed_files": count(
            f"SELECT COUNT(*) {joined} WHERE c.name IS NOT NULL AND o.image_id IS NOT c.image_id"
        ),
        "num_removed_images": count(
            "SELECT COUNT(*) FROM images WHERE shard IS NOT NULL "
            "AND image_id NOT IN (SELECT image_id FROM planned WHERE is_live)"
        ),
        "num_changed_split": planned.num_changed_split,
        "num_moved_to_test": planned.num_moved_to_test,
        "num_anew": int(planned.is_anew),
    }
    unreported = catalogue.get(UNREPORTED) or {"previous_span": last_span}
    changes = {key: value + unreported.get(key, 0) for key, value in changes.items()}
    return changes | {"previous_span": unreported["previous_span"]}


@dataclasses.dataclass(frozen=True)
class Columns:
    """Facts of the images in use, [N] each, by number."""

    number: np.ndarray
    height: np.ndarray
    width: np.ndarray
    stored_bytes: np.ndarray
    brightness: np.ndarray
    sharpness: np.ndarray
    is_converted: np.ndarray


def read_columns(catalogue: Catalogue) -> Columns:
    """Reads the facts of the images in use."""
    kinds = (
        ("number", np.int32), ("height", np.int32), ("width", np.int32), ("stored_bytes", np.int64),
        ("brightness", np.float32), ("sharpness", np.float32), ("is_converted", np.bool_),
    )  # fmt: skip
    rows = catalogue.connection.execute(
        f"SELECT {', '.join(name for name, _ in kinds)} FROM planned JOIN facts USING (image_id) "
        "WHERE is_live ORDER BY number"
    )
    table = np.fromiter(rows, dtype=list(kinds))
    return Columns(*(np.ascontiguousarray(table[name]) for name, _ in kinds))


def content_facts(
    catalogue: Catalogue, columns: Columns, label_map: contracts.LabelMap
) -> dict[str, Any]:
    """What the images in use are like."""
    rows = catalogue.connection.execute(
        "SELECT split, class_index, COUNT(*) FROM planned WHERE is_live GROUP BY split, class_index"
    )
    counts = {(split, index): count for split, index, count in rows}
    names = label_map.class_names
    sizes = {
        name: sum(counts.get((split, index), 0) for split in contracts.SPLITS)
        for index, name in enumerate(names)
    }
    formats = catalogue.connection.execute(
        "SELECT original_format, COUNT(*) FROM planned WHERE is_live GROUP BY original_format "
        "ORDER BY original_format"
    )
    return {
        "num_images": sum(counts.values()),
        "class_names": names,
        "label_map_version": label_map.version,
        "images_by_split": {
            split: {name: counts.get((split, index), 0) for index, name in enumerate(names)}
            for split in contracts.SPLITS
        },
        "images_by_format": dict(formats.fetchall()),
        "num_converted": int(columns.is_converted.sum()),
        "num_corrected": num_corrected(catalogue),
        "sizes": {
            "height": _spread(columns.height),
            "width": _spread(columns.width),
            "bytes": _spread(columns.stored_bytes),
        },
        "brightness": _spread(columns.brightness),
        "sharpness": _spread(columns.sharpness),
        "imbalance": _imbalance(sizes),
    }


def _imbalance(sizes: dict[str, int]) -> dict[str, Any]:
    present = sorted((count, name) for name, count in sizes.items() if count)
    (smallest, low), (largest, high) = present[0], present[-1]
    return {
        "largest": [high, largest],
        "smallest": [low, smallest],
        "ratio": round(largest / smallest, 3),
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    return {
        "min": round(float(values.min()), 6),
        "median": round(float(np.median(values)), 6),
        "max": round(float(values.max()), 6),
    }


def reject_facts(catalogue: Catalogue, num_files: int) -> dict[str, Any]:
    """What was set aside, by reason."""
    rows = catalogue.connection.execute(
        f"SELECT reason, COUNT(*) FROM ({_REJECTS}) GROUP BY reason ORDER BY reason"
    )
    by_reason = dict(rows.fetchall())
    num_unusable = sum(n for reason, n in by_reason.items() if reason not in SOUND_REASONS)
    return {
        "num_rejected": sum(by_reason.values()),
        "rejected_by_reason": by_reason,
        "rejected_fraction": round(num_unusable / num_files, 6),
    }


_REJECTS = """
SELECT name, reason, detail FROM listed JOIN outcomes USING (name) WHERE reason IS NOT NULL
UNION ALL SELECT name, reason, detail FROM set_aside
"""


def _reject_rows(catalogue: Catalogue) -> Iterator[Row]:
    for name, reason, detail in catalogue.connection.execute(f"{_REJECTS} ORDER BY name"):
        yield {"file": shown(name), "reason": reason, "detail": detail}


def group_facts(catalogue: Catalogue, planned: Planned) -> dict[str, int]:
    """Proof that what belongs together is in one split.

    Counted over the user's groups and the pairs of near-duplicates, not over what the plan made of
    them.
    """
    count = catalogue.count
    splits = planned.splits.split[planned.pairs]
    leaking_pairs = (splits >= 0).all(axis=1) & (splits[:, 0] != splits[:, 1])
    return {
        "num_set_aside_for_splits": len(planned.splits.set_aside),
        "num_groups": count("SELECT COUNT(DISTINCT component) FROM planned WHERE is_live"),
        "groups_in_several_splits": int(leaking_pairs.sum())
        + count(
            "SELECT COUNT(*) FROM (SELECT 1 FROM memberships JOIN planned USING (number) "
            "GROUP BY memberships.user_group HAVING COUNT(DISTINCT split) > 1)"
        ),
    }


def _outlier_rows(catalogue: Catalogue, columns: Columns) -> Iterator[Row]:
    for outlier in find_outliers(columns.brightness, columns.sharpness):
        image_id, name = catalogue.connection.execute(
            "SELECT image_id, name FROM planned WHERE number = ?",
            (int(columns.number[outlier.index]),),
        ).fetchone()
        yield {"file": shown(name), "image_id": image_id} | {
            key: getattr(outlier, key) for key in ("kind", "value", "typical")
        }


class _Shown:
    """Passes rows through and counts them; remembers the images to show."""

    def __init__(self) -> None:
        self.image_ids: dict[str, None] = {}
        self.counts: Counter[str] = Counter()
        self.num_conflicts: Counter[str] = Counter()
        self.num_images: Counter[str] = Counter()
        self._num_shown: Counter[str] = Counter()

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            kind, is_conflict = row["kind"], bool(row.get("conflict"))
            ids = row.get("image_ids", [row["image_id"]])
            self.counts[kind] += 1
            self.num_conflicts[kind] += is_conflict
            self.num_images[kind] += len(ids)
            shelf = "conflict" if is_conflict else kind
            self._num_shown[shelf] += 1
            if self._num_shown[shelf] <= _DUPLICATES_SHOWN:
                self.image_ids.update(dict.fromkeys(ids[:_IMAGES_SHOWN]))
            yield row


def write_details(
    folder: Path, catalogue: Catalogue, columns: Columns, planned: Planned, config: DataConfig
) -> dict[str, int]:
    """Writes rejects.jsonl, duplicates.jsonl, outliers.jsonl and thumbnails; returns counts."""
    shown_images = _Shown()
    files.write_jsonl(folder / contracts.REJECTS_FILE, _reject_rows(catalogue))
    near = shown_images.watch(near_rows(catalogue, planned))
    identical = shown_images.watch(identical_rows(catalogue))
    files.write_jsonl(
        folder / contracts.DUPLICATES_FILE, (row for rows in (identical, near) for row in rows)
    )
    num_outliers = files.write_jsonl(
        folder / contracts.OUTLIERS_FILE, shown_images.watch(_outlier_rows(catalogue, columns))
    )
    thumbnails = folder / contracts.THUMBNAILS_FOLDER
    kept = catalogue.folder / "thumbnails"
    missing = reuse_thumbnails(list(shown_images.image_ids), kept, thumbnails)
    write_thumbnails(_files_of(catalogue, missing, config), thumbnails)
    keep_thumbnails(thumbnails, kept)
    return {
        "num_outliers": num_outliers,
        "num_near_duplicates": shown_images.num_images["near"],
        "num_near_duplicate_groups": shown_images.counts["near"],
        "num_near_duplicate_conflicts": shown_images.num_conflicts["near"],
        "num_duplicates": _num_duplicates(catalogue),
        "num_conflicts": shown_images.num_conflicts["identical"],
    }


def _num_duplicates(catalogue: Catalogue) -> int:
    return catalogue.count(
        "SELECT (SELECT COUNT(*) FROM accepted a JOIN usable u USING (image_id)) "
        "- (SELECT COUNT(*) FROM usable)"
    )


def _files_of(
    catalogue: Catalogue, image_ids: Sequence[str], config: DataConfig
) -> Iterator[tuple[str, bytes]]:
    """Files of images, from the shards or, of those in none, from the source."""
    for image_id in image_ids:
        stored = spans.stored_file(catalogue, image_id)
        if stored is not None:
            yield image_id, stored
            continue
        row = catalogue.connection.execute(
            "SELECT l.* FROM accepted a JOIN listed l USING (name) WHERE a.image_id = ? LIMIT 1",
            (image_id,),
        ).fetchone()
        try:
            data = access.read_item(item_of(row), config.max_file_bytes)
        except DataError as error:  # the splits are committed: no picture is worth failing now
            _LOGGER.warning("ingest: no thumbnail of %s: %s", shown(row[0]), error.cause)
            continue
        if not isinstance(data, Rejection):
            yield image_id, data
