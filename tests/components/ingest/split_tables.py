"""Tables of images for the tests of splits, and what holds for every plan."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from slimworks.components.contracts import SPLITS
from slimworks.components.ingest.splits import ImageTable, SplitPlan, plan_splits

NO_PAIRS = np.empty((0, 2), np.int32)
COLUMNS = ("class_index", "group", "frozen_split", "user_split")


def image_table(
    classes: Sequence[int],
    *,
    group: Mapping[int, int] | None = None,
    frozen: Mapping[int, str] | None = None,
    user: Mapping[int, str] | None = None,
) -> ImageTable:
    """Images 0, 1, ... of the given classes; the mappings go by image number."""
    return ImageTable(
        [hashlib.sha256(b"%d" % number).hexdigest() for number in range(len(classes))],
        np.asarray(classes, np.int32),
        _column(len(classes), group or {}, np.int32),
        _column(len(classes), _indices(frozen), np.int8),
        _column(len(classes), _indices(user), np.int8),
    )


def _indices(splits: Mapping[int, str] | None) -> dict[int, int]:
    return {number: SPLITS.index(split) for number, split in (splits or {}).items()}


def _column(size: int, values: Mapping[int, int], dtype: type) -> np.ndarray:
    column = np.full(size, -1, dtype)
    column[list(values)] = list(values.values())
    return column


def random_table(
    rng: np.random.Generator, num_images: int, *, frozen: float = 0.0, grouped: float = 0.0
) -> ImageTable:
    """A share of the images has a random frozen split, another one of few groups."""

    def some(share: float, values: np.ndarray) -> np.ndarray:
        return np.where(rng.random(num_images) < share, values, -1)

    table = image_table(rng.integers(0, 3, num_images))
    groups = rng.integers(0, max(1, num_images // 4), num_images)
    return dataclasses.replace(
        table,
        image_ids=[f"{value:016x}" for value in rng.permutation(1 << 16)[:num_images]],
        group=some(grouped, groups).astype(np.int32),
        frozen_split=some(frozen, rng.integers(0, 3, num_images)).astype(np.int8),
    )


def random_pairs(rng: np.random.Generator, num_images: int, num_pairs: int) -> np.ndarray:
    return rng.integers(0, num_images, (num_pairs, 2)).astype(np.int32)


def subset(table: ImageTable, rows: np.ndarray) -> ImageTable:
    ids = np.asarray(table.image_ids)[rows].tolist()
    return ImageTable(ids, *(getattr(table, name)[rows] for name in COLUMNS))


def ties_of(table: ImageTable, pairs: np.ndarray) -> set[tuple[int, int]]:
    """Every two rows that must share a split, without transitivity, both ways round."""
    ties = {(int(a), int(b)) for a, b in pairs if a != b}
    for number in set(table.group.tolist()) - {-1}:
        rows = np.flatnonzero(table.group == number).tolist()
        ties |= set(itertools.combinations(rows, 2))
    return ties | {(b, a) for a, b in ties}


def names_of(plan: SplitPlan, rows: Iterable[int] | None = None) -> list[str]:
    """Splits by name, "-" where an image is set aside."""
    chosen = plan.split if rows is None else plan.split[list(rows)]
    return [(*SPLITS, "-")[index] for index in chosen]


def counts_of(plan: SplitPlan, table: ImageTable, class_index: int | None = None) -> list[int]:
    """Images in train, eval and test, of one class or all."""
    split = plan.split if class_index is None else plan.split[table.class_index == class_index]
    return [int((split == index).sum()) for index in range(len(SPLITS))]


def plan(table: ImageTable, pairs: object = NO_PAIRS, seed: int = 0) -> SplitPlan:
    return plan_splits(table, np.asarray(pairs, np.int32).reshape(-1, 2), 0.15, 0.15, seed)


def require_leak_free(plan: SplitPlan, table: ImageTable, pairs: np.ndarray) -> None:
    """Fails where a plan contradicts itself or has a component in two splits."""
    used = plan.split >= 0
    assert (used == (plan.component >= 0)).all()
    assert sorted(image.index for image in plan.set_aside) == np.flatnonzero(~used).tolist()
    ties = ties_of(table, pairs)
    for a, b in ties:
        if used[a] and used[b]:
            assert plan.component[a] == plan.component[b]
            assert plan.split[a] == plan.split[b]
    assert all((image.index, image.other) in ties for image in plan.set_aside)
