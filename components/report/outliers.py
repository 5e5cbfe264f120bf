"""Images that are far darker, brighter or more blurred than the others."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slimworks.components.report.thumbnails import Thumbnails

KINDS = ("dark", "bright", "blurred")
MAX_OUTLIERS = 18  # of each kind in the page


@dataclasses.dataclass(frozen=True)
class Outlier:
    """One image; `thumbnail` is a data URI or None."""

    file: str
    thumbnail: str | None
    value: float
    typical: float


@dataclasses.dataclass(frozen=True)
class OutlierKind:
    """All outliers of one kind, in the order of outliers.jsonl."""

    title: str
    count: int
    outliers: Sequence[Outlier]

    @property
    def num_more(self) -> int:
        """Images that the page leaves out."""
        return self.count - len(self.outliers)


def outlier_kinds(rows: Iterable[Mapping[str, Any]], thumbnails: Thumbnails) -> list[OutlierKind]:
    """Views of outliers.jsonl."""
    counts: Counter[str] = Counter()
    shown: dict[str, list[Outlier]] = {kind: [] for kind in KINDS}
    for row in rows:
        kind = str(row["kind"])
        counts[kind] += 1
        found = shown.setdefault(kind, [])
        if len(found) < MAX_OUTLIERS:
            thumbnail = thumbnails.uri(row.get("image_id"))
            found.append(Outlier(str(row["file"]), thumbnail, row["value"], row["typical"]))
    return [
        OutlierKind(kind.capitalize(), counts[kind], found)
        for kind, found in shown.items()
        if found
    ]
