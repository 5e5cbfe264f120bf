"""The report of one ingest: what was used, what was not, and the proof that no group leaks."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.ingest.checking import LABEL_CONFLICT, RejectedFile
from slimworks.components.ingest.duplicates import Identical
from slimworks.components.ingest.sharding import PlannedImage
from slimworks.components.ingest.source import SourceListing, display_name

_MAX_NAMES = 20  # of ignored files: enough to recognise them, short enough to read


@dataclasses.dataclass(frozen=True)
class IngestSummary:
    """Content of summary.json.

    Attributes:
        source: Folder that was read.
        source_digest: Fingerprint of its file names, sizes and times.
        num_files: Files looked at: used, duplicates and rejected.
        num_images: Examples written.
        class_names: Label map, by class index.
        images_by_split: Examples by split, then by class name.
        images_by_format: Examples by format of the user's file.
        num_converted: Examples whose bytes were converted to PNG.
        sizes: Smallest, median and largest height, width and bytes.
        num_rejected: Files set aside; by reason in `rejected_by_reason`.
        rejected_fraction: Of `num_files`; label conflicts do not count, their files are sound.
        max_rejected_fraction: The bound that held.
        num_duplicates: Files left out because an identical one is kept.
        num_conflicts: Different images found under several classes.
        num_ignored: Files outside of class folders; the first names in `ignored`.
        num_groups: Groups, which are single images where no group is defined.
        groups_in_several_splits: Proof: 0.
        num_shards: TFRecord files written.
        warnings: Sentences for people.
        seconds: Wall time.
    """

    source: str
    source_digest: str
    num_files: int
    num_images: int
    class_names: tuple[str, ...]
    images_by_split: dict[str, dict[str, int]]
    images_by_format: dict[str, int]
    num_converted: int
    sizes: dict[str, dict[str, float]]
    num_rejected: int
    rejected_by_reason: dict[str, int]
    rejected_fraction: float
    max_rejected_fraction: float
    num_duplicates: int
    num_conflicts: int
    num_ignored: int
    ignored: tuple[str, ...]
    num_groups: int
    groups_in_several_splits: int
    num_shards: int
    warnings: tuple[str, ...]
    seconds: float


def _spread(values: Sequence[int]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _by_split(images: Iterable[PlannedImage], class_names: Sequence[str]) -> dict[str, Any]:
    counts = Counter((image.split, image.file.class_name) for image in images)
    return {
        split: {name: counts[split, name] for name in class_names} for split in contracts.SPLITS
    }


def count_leaking_groups(images: Iterable[PlannedImage]) -> int:
    """Number of groups with images in more than one split."""
    splits = defaultdict(set)
    for image in images:
        splits[image.group].add(image.split)
    return sum(len(found) > 1 for found in splits.values())


def summarize(
    source: str,
    listing: SourceListing,
    class_names: Sequence[str],
    images: Sequence[PlannedImage],
    rejected: Sequence[RejectedFile],
    identical: Sequence[Identical],
    *,
    max_rejected_fraction: float,
    num_shards: int,
    warnings: Sequence[str],
    seconds: float,
) -> IngestSummary:
    """Counts everything; `images` are those written, `rejected` includes the conflicts."""
    used = [image.file for image in images]
    num_unusable = sum(file.reason != LABEL_CONFLICT for file in rejected)
    return IngestSummary(
        source=source,
        source_digest=listing.digest,
        num_files=len(listing.files),
        num_images=len(used),
        class_names=tuple(class_names),
        images_by_split=_by_split(images, class_names),
        images_by_format=dict(sorted(Counter(file.original_format for file in used).items())),
        num_converted=sum(file.is_converted for file in used),
        sizes={
            "height": _spread([file.height for file in used]),
            "width": _spread([file.width for file in used]),
            "bytes": _spread([file.stored_bytes for file in used]),
        },
        num_rejected=len(rejected),
        rejected_by_reason=dict(sorted(Counter(file.reason for file in rejected).items())),
        rejected_fraction=round(num_unusable / len(listing.files), 6),
        max_rejected_fraction=max_rejected_fraction,
        num_duplicates=sum(len(same.others) for same in identical if same.kept),
        num_conflicts=sum(same.kept is None for same in identical),
        num_ignored=len(listing.ignored),
        ignored=listing.ignored[:_MAX_NAMES],
        num_groups=len({image.group for image in images}),
        groups_in_several_splits=count_leaking_groups(images),
        num_shards=num_shards,
        warnings=tuple(warnings),
        seconds=round(seconds, 3),
    )


def _reject_row(file: RejectedFile) -> dict[str, Any]:
    return {"file": display_name(file.path), "reason": file.reason, "detail": file.detail}


def _identical_row(same: Identical) -> dict[str, Any]:
    return {
        "image_id": same.others[0].image_id,
        "kept": display_name(same.kept.path) if same.kept else None,
        "duplicates": [display_name(file.path) for file in same.others],
        "conflict": same.kept is None,
    }


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    files.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_report(
    folder: Path,
    summary: IngestSummary,
    rejected: Iterable[RejectedFile],
    identical: Iterable[Identical],
) -> None:
    """Writes rejects.jsonl, duplicates.jsonl and, last, summary.json."""
    _write_jsonl(folder / contracts.REJECTS_FILE, map(_reject_row, rejected))
    _write_jsonl(folder / contracts.DUPLICATES_FILE, map(_identical_row, identical))
    files.write_json(folder / contracts.SUMMARY_FILE, dataclasses.asdict(summary))
