"""Groups of identical, near and contradictory images, as pictures side by side."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slimworks.components.report.thumbnails import Thumbnails

CONFLICT, NEAR_CONFLICT, NEAR, IDENTICAL = "conflict", "near_conflict", "near", "identical"
# What a reader must act on comes first.
TITLES = {
    CONFLICT: "Identical images under several classes",
    NEAR_CONFLICT: "Nearly identical images under several classes",
    NEAR: "Nearly identical images",
    IDENTICAL: "Identical files",
}
MEANINGS = {
    CONFLICT: "One of the classes is wrong: none of these files is used until that is mended.",
    NEAR_CONFLICT: "One of the classes may be wrong. They share a split, or are set aside.",
    NEAR: "They share a split, or are set aside.",
    IDENTICAL: "One of each is used.",
}
MAX_GROUPS = 24  # of each kind in the page; the artifact holds them all
MAX_PICTURES = 6  # of one group


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image of a group and the files that hold it; `thumbnail` is a data URI or None."""

    thumbnail: str | None
    names: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Group:
    """Images that belong together, and all the classes under which they were found."""

    class_names: Sequence[str]
    pictures: Sequence[Picture]
    num_more: int


@dataclasses.dataclass(frozen=True)
class Kind:
    """All groups of one kind."""

    title: str
    meaning: str
    count: int
    groups: Sequence[Group]

    @property
    def num_more(self) -> int:
        """Groups that the page leaves out."""
        return self.count - len(self.groups)


def duplicate_kinds(rows: Iterable[Mapping[str, Any]], thumbnails: Thumbnails) -> list[Kind]:
    """Views of duplicates.jsonl, which may be long: only the first groups of each kind stay."""
    counts: Counter[str] = Counter()
    first: dict[str, list[Mapping[str, Any]]] = {kind: [] for kind in TITLES}
    for row in rows:
        kind = _kind(row)
        counts[kind] += 1
        if len(first[kind]) < MAX_GROUPS:
            first[kind].append(row)
    return [
        Kind(TITLES[kind], MEANINGS[kind], counts[kind], [_group(r, thumbnails) for r in found])
        for kind, found in first.items()
        if found
    ]


def _kind(row: Mapping[str, Any]) -> str:
    if row.get("kind") == NEAR:
        return NEAR_CONFLICT if row.get("conflict") else NEAR
    return CONFLICT if row.get("conflict") else IDENTICAL


def _group(row: Mapping[str, Any], thumbnails: Thumbnails) -> Group:
    names = [str(name) for name in row.get("duplicates", ())]
    if row.get("kept") and row["kept"] not in names:
        names.insert(0, str(row["kept"]))
    class_names = sorted({str(name) for name in row.get("classes", ())})
    image_ids = list(row.get("image_ids") or [row.get("image_id")])
    if len(image_ids) > 1:
        pictures = [
            Picture(thumbnails.uri(image_id), names[number : number + 1])
            for number, image_id in enumerate(image_ids[:MAX_PICTURES])
        ]
        return Group(class_names, pictures, len(image_ids) - len(pictures))
    # Identical files look alike: one picture, all names.
    picture = Picture(thumbnails.uri(image_ids[0]), names[:MAX_PICTURES])
    return Group(class_names, [picture], len(names) - len(picture.names))
