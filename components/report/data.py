"""What went in: images by class and split, files set aside, duplicates."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from slimworks.components import contracts

# Names in the page; the artifact holds them all.
MAX_NAMES = 40


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """Images of one class by split; `share` is relative to the largest class."""

    class_name: str
    counts: Sequence[int]
    total: int
    share: float


@dataclasses.dataclass(frozen=True)
class RejectGroup:
    """Files set aside for one reason."""

    reason: str
    count: int
    files: Sequence[tuple[str, str]]  # name, detail
    num_more: int


@dataclasses.dataclass(frozen=True)
class DataView:
    """The data section."""

    summary: Mapping[str, Any]
    splits: Sequence[str]
    classes: Sequence[ClassRow]
    totals: Sequence[int]
    rejects: Sequence[RejectGroup]
    duplicates: Sequence[Mapping[str, Any]]
    num_more_duplicates: int
    warnings: Sequence[str]


def data_view(
    summary: Mapping[str, Any] | None,
    rejects: Sequence[Mapping[str, Any]],
    duplicates: Sequence[Mapping[str, Any]],
) -> DataView | None:
    """View of an ingest report; None without its summary."""
    if summary is None:
        return None
    by_split = summary["images_by_split"]
    splits = [split for split in contracts.SPLITS if split in by_split]
    class_names = list(summary["class_names"])
    table = [[by_split[split].get(name, 0) for split in splits] for name in class_names]
    largest = max((sum(row) for row in table), default=0) or 1
    return DataView(
        summary=summary,
        splits=splits,
        classes=[
            ClassRow(name, row, sum(row), sum(row) / largest)
            for name, row in zip(class_names, table, strict=True)
        ],
        totals=[sum(column) for column in zip(*table, strict=True)],
        rejects=_reject_groups(rejects),
        duplicates=duplicates[:MAX_NAMES],
        num_more_duplicates=max(0, len(duplicates) - MAX_NAMES),
        warnings=list(summary.get("warnings", ())),
    )


def _reject_groups(rejects: Sequence[Mapping[str, Any]]) -> list[RejectGroup]:
    by_reason = defaultdict(list)
    for reject in rejects:
        by_reason[reject["reason"]].append((reject["file"], reject.get("detail") or ""))
    groups = [
        RejectGroup(reason, len(found), found[:MAX_NAMES], max(0, len(found) - MAX_NAMES))
        for reason, found in by_reason.items()
    ]
    return sorted(groups, key=lambda group: (-group.count, group.reason))
