"""Which split each free connected component goes to: close to the fractions, class by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Where a class has too few components for all splits: train first, then test, then eval.
_COVER_ORDER = (0, 2, 1)
_COVER_WORTH = (4, 1, 2)  # by split: what a class without a train image loses weighs most
# A run with an empty split fails, whatever the classes; one without a class in train too.
_EMPTY_SPLIT_WORTH = 3


def class_targets(
    fixed_counts: np.ndarray, class_sizes: np.ndarray, fractions: Sequence[float]
) -> np.ndarray:
    """How many images of each class belong into each split.

    Args:
        fixed_counts: [K, 3] images whose split is decided.
        class_sizes: [K] images in all.
        fractions: Wanted share of each split; 0 where free images may not go, because the user's
            split is complete. What it holds counts as wanted, the others share the rest.

    Returns:
        [K, 3] float64.
    """
    share = np.asarray(fractions, np.float64)
    is_open = share > 0
    rest = class_sizes - fixed_counts[:, ~is_open].sum(axis=1)
    return np.where(is_open, rest[:, None] * (share / share.sum()), fixed_counts)


def assign(
    members: np.ndarray, order: np.ndarray, fixed_counts: np.ndarray, fractions: Sequence[float]
) -> np.ndarray:
    """Returns the split of each free component, [C] int8.

    One after another, a component goes where the sum of (count - target)^2 / target over its
    classes, and over all images, grows least. A class (or a split as a whole) that has no more
    components left than splits without it goes first where it is missing.

    Args:
        members: [rows, 3] int64: component from 0, class index, images; sorted by component.
        order: [C] components in the order of assignment.
        fixed_counts: [K, 3] images whose split is decided, by class.
        fractions: As in `class_targets`.
    """
    num_classes, num_components = len(fixed_counts), len(order)
    sizes = np.bincount(members[:, 1], members[:, 2], num_classes).astype(np.int64)
    sizes += fixed_counts.sum(axis=1)
    fixed_counts = np.vstack([fixed_counts, fixed_counts.sum(axis=0)])  # the last row: all images
    targets = class_targets(fixed_counts, np.append(sizes, sizes.sum()), fractions).tolist()
    counts = fixed_counts.tolist()
    num_left = [*np.bincount(members[:, 1], minlength=num_classes).tolist(), num_components]
    open_splits = [split for split in _COVER_ORDER if fractions[split] > 0]
    bounds = np.searchsorted(members[:, 0], np.arange(num_components + 1)).tolist()
    classes, images = members[:, 1].tolist(), members[:, 2].tolist()
    chosen = np.empty(num_components, np.int8)
    for component in order.tolist():
        first, last = bounds[component], bounds[component + 1]
        parts = list(zip(classes[first:last], images[first:last], strict=True))
        parts.append((num_classes, sum(images[first:last])))
        split = _best_split(parts, counts, targets, num_left, open_splits)
        for index, num_images in parts:
            counts[index][split] += num_images
            num_left[index] -= 1
        chosen[component] = split
    return chosen


def _best_split(
    parts: Sequence[tuple[int, int]],
    counts: Sequence[Sequence[int]],
    targets: Sequence[Sequence[float]],
    num_left: Sequence[int],
    open_splits: Sequence[int],
) -> int:
    costs = [0.0, 0.0, 0.0]
    worths = [0, 0, 0]
    for index, num_images in parts:
        have, want = counts[index], targets[index]
        for split in open_splits:
            excess = have[split] - want[split]
            costs[split] += num_images * (2 * excess + num_images) / want[split]
        if num_left[index] <= len(open_splits):
            missing = [split for split in open_splits if not have[split]]
            if missing and num_left[index] <= len(missing):
                is_all = index == len(counts) - 1
                worths[missing[0]] += _EMPTY_SPLIT_WORTH if is_all else _COVER_WORTH[missing[0]]
    return min(open_splits, key=lambda split: (-worths[split], costs[split]))
