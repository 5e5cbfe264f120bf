"""Which split every image belongs to: leak-free, stratified by class, and the same for ever.

`plan_splits` looks at image ids, never at the order of rows: the same set has the same plan.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence

import numpy as np

from slimworks.components import contracts
from slimworks.components.ingest.leak_graph import LeakGraph, SetAside, break_leaks, separate
from slimworks.components.ingest.stratification import assign

_TRAIN = contracts.SPLITS.index("train")
_NUM_SPLITS = len(contracts.SPLITS)
_SEEDS_TO_TRY = 16


@dataclasses.dataclass(frozen=True, eq=False)
class ImageTable:
    """Usable images, one a row, in any order.

    Attributes:
        image_ids: sha256 in hex, all different; or an [N] array of type S64.
        class_index: [N] int32.
        group: [N] int32, images of one number share a split; -1 where the user gave none.
        frozen_split: [N] int8 index in contracts.SPLITS, decided by an earlier ingest; -1 new.
        user_split: [N] int8 index in contracts.SPLITS, decided by the user; -1 undecided.
    """

    image_ids: Sequence[str] | np.ndarray
    class_index: np.ndarray
    group: np.ndarray
    frozen_split: np.ndarray
    user_split: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class SplitPlan:
    """What becomes of each image, in the rows of its ImageTable.

    Attributes:
        split: [N] int8 index in contracts.SPLITS; -1 set aside.
        component: [N] int32 number of the connected component among the images in use; -1 set
            aside. No component is in two splits.
        set_aside: The images that would leak, by image id.
        num_changed_split: Images that were in another split before: the user moved them.
    """

    split: np.ndarray
    component: np.ndarray
    set_aside: list[SetAside]
    num_changed_split: int


def plan_splits(
    table: ImageTable, pairs: np.ndarray, eval_fraction: float, test_fraction: float, seed: int
) -> SplitPlan:
    """Decides the split of every image; docs/splits.md states the rules.

    Args:
        table: The images.
        pairs: [M, 2] int32 rows of near-duplicates.
        eval_fraction: Wanted share of each class.
        test_fraction: Wanted share of each class.
        seed: Decides which of equal components goes where.

    Raises:
        ValueError: The arrays do not fit each other, or the fractions leave nothing to train.
    """
    fractions = (1 - eval_fraction - test_fraction, eval_fraction, test_fraction)
    _check(table, pairs, fractions)
    image_ids = np.asarray(table.image_ids, dtype="S64")
    order = np.argsort(image_ids, kind="stable")
    if np.any(image_ids[order[1:]] == image_ids[order[:-1]]):
        raise ValueError("image_ids: two rows have the same id")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    plan = _plan_ordered(_rows(table, order), place[pairs], fractions, seed)
    set_aside = [
        dataclasses.replace(image, index=int(order[image.index]), other=int(order[image.other]))
        for image in plan.set_aside
    ]
    return dataclasses.replace(
        plan, split=plan.split[place], component=plan.component[place], set_aside=set_aside
    )


def other_seed(
    table: ImageTable,
    pairs: np.ndarray,
    eval_fraction: float,
    test_fraction: float,
    besides: int | None = None,
) -> int | None:
    """Returns a seed under which no split is empty and each class has train images, or None.

    `besides` is not tried. Frozen splits count for nothing: another seed makes all splits anew.
    Only the first few seeds are tried: where they fail, the groups are too coarse for any.
    """
    table = dataclasses.replace(table, frozen_split=np.full_like(table.frozen_split, -1))
    for seed in (seed for seed in range(_SEEDS_TO_TRY) if seed != besides):
        split = plan_splits(table, pairs, eval_fraction, test_fraction, seed).split
        classes = np.unique(table.class_index[split >= 0])
        trained = np.unique(table.class_index[split == _TRAIN])
        if len(trained) == len(classes) and len(np.unique(split[split >= 0])) == _NUM_SPLITS:
            return seed
    return None


def _check(table: ImageTable, pairs: np.ndarray, fractions: Sequence[float]) -> None:
    num_images = len(table.image_ids)
    for name in ("class_index", "group", "frozen_split", "user_split"):
        if getattr(table, name).shape != (num_images,):
            raise ValueError(f"{name} has shape {getattr(table, name).shape}, not {(num_images,)}")
    for splits in (table.frozen_split, table.user_split):
        if num_images and not (splits.min() >= -1 and splits.max() < _NUM_SPLITS):
            raise ValueError(f"a split is outside -1..{_NUM_SPLITS - 1}")
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs has shape {pairs.shape}, not [M, 2]")
    if len(pairs) and not (pairs.min() >= 0 and pairs.max() < num_images):
        raise ValueError(f"pairs names rows outside 0..{num_images - 1}")
    if min(fractions) < 0 or fractions[_TRAIN] <= 0:
        raise ValueError(f"fractions of {contracts.SPLITS} are {fractions}")


def _rows(table: ImageTable, order: np.ndarray) -> ImageTable:
    return ImageTable(
        np.asarray(table.image_ids, dtype="S64")[order],
        table.class_index[order],
        table.group[order],
        table.frozen_split[order],
        table.user_split[order],
    )


def _plan_ordered(
    table: ImageTable, pairs: np.ndarray, fractions: Sequence[float], seed: int
) -> SplitPlan:
    """As `plan_splits`, for rows in the order of image ids."""
    graph = LeakGraph(pairs, table.group)
    fixed, open_splits = _fixed_splits(table)
    # Images that may be taken out of the user's train split are no longer told from new ones
    # below, and would follow their neighbours into the user's test split.
    leaks = break_leaks(graph, table.user_split) if (table.user_split >= 0).all() else []
    leaks += separate(graph, fixed)
    is_used = graph.is_used[: graph.num_images]
    component = _numbered(graph.components()[: graph.num_images], is_used)
    split = _joined(component, fixed, is_used)
    shares = [share if index in open_splits else 0.0 for index, share in enumerate(fractions)]
    split = _assign_free(table, component, split, shares, seed)
    is_changed = (table.frozen_split >= 0) & is_used & (table.frozen_split != split)
    return SplitPlan(
        split, component, sorted(leaks, key=lambda image: image.index), int(is_changed.sum())
    )


def _fixed_splits(table: ImageTable) -> tuple[np.ndarray, set[int]]:
    """Returns the split of each image that has one, else -1, and the splits open to the others.

    Eval or test, once the user names it, holds what the user says and nothing else. One that the
    user lacks is taken from the images without a split, or, where there are none, out of the
    user's train split; what was taken once stays there.
    """
    user, frozen = table.user_split, table.frozen_split
    open_splits = set(range(_NUM_SPLITS)) - (set(np.unique(user).tolist()) - {_TRAIN})
    fixed = np.where(user >= 0, user, frozen)
    if len(open_splits) == 1:
        return fixed, open_splits
    is_train = user == _TRAIN
    was_taken = is_train & (frozen != _TRAIN) & np.isin(frozen, sorted(open_splits))
    fixed[was_taken] = frozen[was_taken]
    if (user >= 0).all():
        fixed[is_train & (frozen < 0)] = -1
    return fixed, open_splits


def _numbered(component: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    """Numbers the components of the used images from 0, in the order of their first image."""
    numbers = np.full(len(component), -1, np.int32)
    _, first, inverse = np.unique(component[is_used], return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    numbers[is_used] = rank[inverse.reshape(-1)]
    return numbers


def _joined(component: np.ndarray, fixed: np.ndarray, is_used: np.ndarray) -> np.ndarray:
    """Gives every used image the fixed split of its component, -1 where it has none."""
    splits = np.full(component.max(initial=-1) + 1, -1, np.int8)
    np.maximum.at(splits, component[is_used], fixed[is_used].astype(np.int8))
    joined = np.full(len(component), -1, np.int8)
    joined[is_used] = splits[component[is_used]]
    return joined


def _assign_free(
    table: ImageTable, component: np.ndarray, split: np.ndarray, shares: Sequence[float], seed: int
) -> np.ndarray:
    """Returns `split` with the components that have none assigned, large ones first."""
    is_free = (component >= 0) & (split < 0)
    if not is_free.any():
        return split
    num_classes = int(table.class_index.max()) + 1
    decided = table.class_index[split >= 0].astype(np.int64) * _NUM_SPLITS + split[split >= 0]
    fixed_counts = np.bincount(decided, minlength=num_classes * _NUM_SPLITS)
    _, first, free = np.unique(component[is_free], return_index=True, return_inverse=True)
    free = free.reshape(-1)
    cells, images = np.unique(free * num_classes + table.class_index[is_free], return_counts=True)
    members = np.stack([cells // num_classes, cells % num_classes, images], axis=1)
    names = np.asarray(table.image_ids)[is_free][first]
    keys = np.fromiter((_position(name, seed) for name in names), np.uint64, len(names))
    order = np.lexsort((keys, -np.bincount(free)))
    chosen = assign(members, order, fixed_counts.reshape(num_classes, _NUM_SPLITS), shares)
    split = split.copy()
    split[is_free] = chosen[free]
    return split


def _position(image_id: bytes, seed: int) -> int:
    """Place of a component, known by its first image, among those of its size."""
    digest = hashlib.sha256(b"split:%d:%b" % (seed, image_id)).digest()
    return int.from_bytes(digest[:8], "big")


def group_of(relative_path: str, pattern: re.Pattern[str] | None) -> str | None:
    """Returns the group that `pattern` finds in the path, or None where it finds none."""
    match = pattern.search(relative_path) if pattern else None
    if match is None:
        return None
    return match.group(1) if match.re.groups else match.group(0)


def shuffle_key(image_id: str, seed: int) -> bytes:
    """Sort key that puts images into a seeded random order, independent of names and classes."""
    return hashlib.sha256(f"shuffle:{seed}:{image_id}".encode()).digest()
