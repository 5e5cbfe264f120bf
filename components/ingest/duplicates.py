"""Identical files: one example each, and none where the classes contradict each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from slimworks.components.ingest.checking import CheckedFile


@dataclasses.dataclass(frozen=True)
class Identical:
    """Files with the same bytes. `kept` is None where they stand under several classes."""

    kept: CheckedFile | None
    others: tuple[CheckedFile, ...]


def unique_images(
    files: Iterable[CheckedFile],
) -> tuple[list[CheckedFile], list[Identical]]:
    """Returns the images to use and, for each image found more than once, its files.

    Of identical files in one class the first by path is kept. Of identical files in several
    classes none is kept: nothing says which class is right.
    """
    by_id: dict[str, list[CheckedFile]] = {}
    for file in files:
        by_id.setdefault(file.image_id, []).append(file)
    unique, identical = [], []
    for same in by_id.values():
        if len({file.class_name for file in same}) > 1:
            identical.append(Identical(None, tuple(same)))
            continue
        unique.append(same[0])
        if len(same) > 1:
            identical.append(Identical(same[0], tuple(same[1:])))
    return unique, identical
