"""What duplicates.jsonl says: identical files, and pictures that look alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from slimworks.components.ingest.catalogue import Catalogue
from slimworks.components.ingest.connectivity import component_of
from slimworks.components.ingest.planning import Planned
from slimworks.components.ingest.selection import CONFLICTS, files_of, shown

Row = dict[str, Any]


def identical_rows(catalogue: Catalogue) -> Iterator[Row]:
    """Yields a row for each image that was found in several files, by the first of their names."""
    conflicts = {image_id for (image_id,) in catalogue.connection.execute(CONFLICTS)}
    several = catalogue.connection.execute(
        "SELECT image_id FROM accepted GROUP BY image_id HAVING COUNT(*) > 1 ORDER BY MIN(name)"
    )
    for (image_id,) in several:
        same = files_of(catalogue, image_id)
        row = catalogue.connection.execute(
            "SELECT name FROM usable WHERE image_id = ?", (image_id,)
        ).fetchone()
        kept = None if row is None else shown(row[0])
        yield {
            "kind": "identical",
            "image_id": image_id,
            "kept": kept,
            "duplicates": [name for name, _, _ in same if name != kept],
            "image_ids": [image_id],
            "classes": sorted({class_name for _, class_name, _ in same}),
            "conflict": image_id in conflicts,
        }


def near_groups(planned: Planned) -> list[np.ndarray]:
    """Numbers of the images of each group of near-duplicates, [n] int; two or more each."""
    members = np.unique(planned.pairs)
    if not len(members):
        return []
    labels = component_of(np.searchsorted(members, planned.pairs), len(members))
    order = np.argsort(labels, kind="stable")
    return np.split(members[order], np.flatnonzero(np.diff(labels[order])) + 1)


def near_rows(catalogue: Catalogue, planned: Planned) -> Iterator[Row]:
    """Yields a row for each group of pictures that look alike; all of them are used."""
    for group in near_groups(planned):
        found = catalogue.connection.execute(
            "SELECT image_id, name, class_name FROM usable "
            "WHERE number IN (SELECT value FROM json_each(?)) ORDER BY name",
            (json.dumps(group.tolist()),),
        ).fetchall()
        classes = sorted({class_name for _, _, class_name in found})
        yield {
            "kind": "near",
            "image_id": found[0][0],
            "kept": shown(found[0][1]),
            "duplicates": [shown(name) for _, name, _ in found[1:]],
            "image_ids": [image_id for image_id, _, _ in found],
            "classes": classes,
            "conflict": len(classes) > 1,
        }
