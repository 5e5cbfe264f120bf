"""What went in: images by class and split, spans, what was set aside and what looks odd."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.report import wording
from slimworks.components.report.drift import DriftView, drift_view
from slimworks.components.report.duplicates import Kind, duplicate_kinds
from slimworks.components.report.outliers import OutlierKind, outlier_kinds
from slimworks.components.report.thumbnails import Thumbnails

# Names in the page; the artifact holds them all.
MAX_NAMES = 40
# From here on the rare classes decide little of the accuracy and learn little.
IMBALANCE_RATIO = 10.0
# More rows than this scroll inside the table.
TALL_TABLE_ROWS = 30


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """Images of one class by split; `shares` are relative to the largest class."""

    class_name: str
    counts: Sequence[int]
    total: int
    shares: Sequence[float]


@dataclasses.dataclass(frozen=True)
class RejectGroup:
    """Files set aside for one reason."""

    reason: str
    count: int
    files: Sequence[tuple[str, str]]  # name, detail

    @property
    def num_more(self) -> int:
        """Files that the page leaves out."""
        return self.count - len(self.files)


@dataclasses.dataclass(frozen=True)
class Fact:
    """One figure; `tone` colours what must be zero."""

    label: str
    value: str
    tone: str = ""


@dataclasses.dataclass(frozen=True)
class DataView:
    """The data section."""

    source: str
    facts: Sequence[Fact]
    span_facts: Sequence[Fact]
    splits: Sequence[str]
    classes: Sequence[ClassRow]
    totals: Sequence[int]
    imbalance: str
    ranges: Sequence[tuple[str, str, str, str]]  # name, smallest, median, largest
    rejects: Sequence[RejectGroup]
    duplicates: Sequence[Kind]
    outliers: Sequence[OutlierKind]
    drift: DriftView | None
    warnings: Sequence[str]

    @property
    def is_tall(self) -> bool:
        """The table of classes is longer than a screen."""
        return len(self.classes) > TALL_TABLE_ROWS


def data_view(report_dir: Path | None, drift: Mapping[str, Any] | None) -> DataView | None:
    """View of an ingest report; None without its summary. Older reports have fewer keys.

    Args:
        report_dir: Folder with summary.json and, where ingest wrote them, the other files.
        drift: Content of the validation's drift.json.
    """
    if report_dir is None or not (report_dir / contracts.SUMMARY_FILE).is_file():
        return None
    summary = files.read_json(report_dir / contracts.SUMMARY_FILE)
    by_split = summary["images_by_split"]
    splits = [split for split in contracts.SPLITS if split in by_split]
    thumbnails = Thumbnails(report_dir)
    return DataView(
        source=summary["source"],
        facts=_facts(summary),
        span_facts=_span_facts(summary),
        splits=splits,
        classes=_class_rows(summary["class_names"], [by_split[split] for split in splits]),
        totals=[sum(by_split[split].values()) for split in splits],
        imbalance=_imbalance(summary.get("imbalance")),
        ranges=_ranges(summary),
        rejects=_reject_groups(_rows(report_dir / contracts.REJECTS_FILE)),
        duplicates=duplicate_kinds(_rows(report_dir / contracts.DUPLICATES_FILE), thumbnails),
        outliers=outlier_kinds(_rows(report_dir / contracts.OUTLIERS_FILE), thumbnails),
        drift=drift_view(drift),
        warnings=list(summary.get("warnings", ())),
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        yield from files.read_jsonl(path)


def _counts(summary: Mapping[str, Any], labels: Mapping[str, str]) -> list[Fact]:
    """Facts of the keys that the summary has."""
    return [
        Fact(label, wording.count(summary[key]))
        for key, label in labels.items()
        if summary.get(key) is not None
    ]


def _facts(summary: Mapping[str, Any]) -> list[Fact]:
    labels = {
        "num_images": "Images used",
        "num_files": "Files looked at",
        "num_rejected": "Set aside",
        "num_duplicates": "Identical copies left out",
        "num_corrected": "Classes corrected by data.corrections",
        "num_near_duplicates": "Near-duplicates",
        "num_near_duplicate_conflicts": "Near-duplicates under several classes",
        "num_outliers": "Outliers",
        "label_map_version": "Label map version",
    }
    formats = [
        Fact(f"{name.upper()} files", wording.count(number))
        for name, number in summary["images_by_format"].items()
    ]
    return _counts(summary, labels) + formats


def _span_facts(summary: Mapping[str, Any]) -> list[Fact]:
    """What this ingest changed, and the proofs; empty in older reports."""
    if summary.get("span") is None:
        return []
    first = Fact("Span", str(summary["span"]))
    labels = {
        "num_new_images": "New images",
        "num_new_files": "New files",
        "num_changed_files": "Changed files",
        "num_unchanged_files": "Unchanged files",
        "num_removed_images": "Removed images",
        "num_set_aside_for_splits": "Set aside to keep splits apart",
    }
    window = [Fact("Window", f"{summary['window']} spans")] if summary.get("window") else []
    return [first, *window, *_counts(summary, labels), *_proofs(summary)]


def _proofs(summary: Mapping[str, Any]) -> list[Fact]:
    proofs = {
        "num_changed_split": "Images that changed split",
        "groups_in_several_splits": "Groups across splits",
    }
    return [
        dataclasses.replace(fact, tone="good" if fact.value == "0" else "bad")
        for fact in _counts(summary, proofs)
    ]


def _class_rows(
    class_names: Iterable[str], by_split: Sequence[Mapping[str, int]]
) -> list[ClassRow]:
    table = {name: [counts.get(name, 0) for counts in by_split] for name in class_names}
    largest = max((sum(row) for row in table.values()), default=0) or 1
    return [
        ClassRow(name, row, sum(row), [count / largest for count in row])
        for name, row in table.items()
    ]


def _imbalance(imbalance: Mapping[str, Any] | None) -> str:
    if not imbalance or not imbalance.get("ratio") or imbalance["ratio"] < IMBALANCE_RATIO:
        return ""
    (most, num_most), (least, num_least) = imbalance["largest"], imbalance["smallest"]
    return (
        f"{most} has {wording.count(num_most)} images, {least} {wording.count(num_least)}: "
        f"{imbalance['ratio']:.0f} times as many. Overall accuracy hides the rare class: set "
        "gate.min_class_recall, or add images of it."
    )


def _ranges(summary: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Smallest, median and largest value of what was measured."""
    sizes = summary.get("sizes") or {}
    measured = [
        ("Width, pixels", sizes.get("width"), wording.count),
        ("Height, pixels", sizes.get("height"), wording.count),
        ("File size", sizes.get("bytes"), wording.size),
        ("Brightness, 0 to 1", summary.get("brightness"), wording.figure),
        ("Sharpness", summary.get("sharpness"), wording.figure),
    ]
    return [
        (name, show(found.get("min")), show(found.get("median")), show(found.get("max")))
        for name, found, show in measured
        if found
    ]


def _reject_groups(rejects: Iterable[Mapping[str, Any]]) -> list[RejectGroup]:
    counts: Counter[str] = Counter()
    shown: dict[str, list[tuple[str, str]]] = {}
    for reject in rejects:
        counts[reject["reason"]] += 1
        found = shown.setdefault(reject["reason"], [])
        if len(found) < MAX_NAMES:
            found.append((reject["file"], reject.get("detail") or ""))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [RejectGroup(reason, count, shown[reason]) for reason, count in ordered]
