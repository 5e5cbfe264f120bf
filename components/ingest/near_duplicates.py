"""Pairs of images that show the same picture, in near-linear time.

Finding: the fingerprints are sorted 32 times, each time beginning with another of their bytes, and
each is compared with its next neighbours only: two that agree in a long enough band of bits stand
side by side. Time and memory are bounded by the number of images, however many of them look alike.

Verifying: the thumbnails of two candidates must become equal by a small shift and stretch of the
picture and a change of brightness and contrast, which least squares find (Lucas and Kanade, "An
Iterative Image Registration Technique", 1981). What remains tells copies from things that look
alike: standard deviation of the remainder over that of the picture, median / 98 %, for 2 % cropped
from each side 0.025 / 0.068 (flowers), 0.016 / 0.028 (blood cells), 0.055 / 0.14 (solar cells, of
which the crop cuts the dark edge), for JPEG quality 20 0.010 / 0.028. Of the pairs of different
flowers with close fingerprints the smallest is 0.38. Cells below 0.1 were looked at: photographed
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from slimworks.components.ingest.connectivity import component_of
from slimworks.components.ingest.perceptual import THUMBNAIL_SIZE

# Counts changes of what is found.
SEARCH_VERSION = 1

# In each of the 32 orders. All of 500 copies that differ by 32 bits are found among 100,000 random
# fingerprints.
_NEIGHBOURS = 8
# Alike things (solar cells) have equal fingerprints in dozens; there a copy is not next to its
# original. A set in which everything is alike takes no more than this for each image.
_EQUAL_NEIGHBOURS = 64
# Those next to each other come first: what they connect need not be compared further on.
_NEAR = (range(1, 2), range(2, _NEIGHBOURS + 1))
_FAR = (range(_NEIGHBOURS + 1, _EQUAL_NEIGHBOURS + 1),)
# Where everything is alike, most of what is near is no copy. The more often an image was refused,
# the closer must be what it is compared with, and after so many times nothing is close enough.
# Without a bound as many copies are found: 148 of 150 in 1,500 alike pictures, 553 or 555 of 600 in
# 6,000.
_MAX_REFUSED = 64
_LISTED_PAIRS = 65_536  # at once: 6 MB where all of them look alike
_BLOCK_PAIRS = 1_024  # verified at once: 12 MB of thumbnails and their slopes
_MAX_REMAINDER = 0.1
# Pixels of the thumbnail by which its border may move: 2 % cut from each side move it by 0.7, 4 %
# from one side by 1.6.
_MAX_SHIFT = 1.7
_MIN_GAIN, _MAX_GAIN = 0.7, 1.4

# Every other pixel; the border has no gradient, and its two outermost rows change with a crop.
_SAMPLED = slice(2, -2, 2)
_PLACE = np.linspace(-1.0, 1.0, THUMBNAIL_SIZE, dtype=np.float32)[_SAMPLED]


def near_duplicate_pairs(
    fingerprints: np.ndarray,
    signatures_of: Callable[[Sequence[int]], list[bytes]],
    max_distance: int,
    is_new: np.ndarray | None = None,
    old_pairs: np.ndarray | None = None,
) -> np.ndarray:
    """Pairs that connect all near-duplicates.

    Not every pair of a set of copies is listed: enough to connect them. So a thousand copies of one
    picture cost a thousand comparisons.

    Args:
        fingerprints: [N, 32] uint8, of `perceptual.describe`.
        signatures_of: Gives the signatures of images by their numbers, which are sorted and few.
        max_distance: Bits by which fingerprints of near-duplicates may differ.
        is_new: [N] bool. Two old images are not compared: `old_pairs` connects them.
        old_pairs: [K, 2] int, what earlier searches found among the old images.

    Returns:
        [M, 2] int32, the smaller number first, in order, each pair once; old pairs among them.
    """
    if fingerprints.ndim != 2 or fingerprints.shape[1] != 32 or fingerprints.dtype != np.uint8:
        raise ValueError(f"fingerprints are {fingerprints.dtype} {fingerprints.shape}")
    size = len(fingerprints)
    search = _Search(signatures_of, max_distance, np.ones(size, bool) if is_new is None else is_new)
    if old_pairs is not None:
        search.connect(old_pairs)
    if search.is_new.any():
        crowded = [
            first_byte
            for first_byte in range(fingerprints.shape[1])
            if search.compare_neighbours(np.roll(fingerprints, -first_byte, axis=1), _NEAR)
        ]
        for first_byte in crowded:
            search.compare_neighbours(np.roll(fingerprints, -first_byte, axis=1), _FAR)
    return search.pairs()


def _num_bits(words: np.ndarray) -> np.ndarray:
    """Bits that are set in each row. words: [M, 4] uint64 -> [M] int."""
    # Neighbouring bits, pairs and nibbles are added up inside the words; the product adds bytes.
    ones, twos, fours = (
        np.uint64(value) for value in (0x55 * _BYTES, 0x33 * _BYTES, 0x0F * _BYTES)
    )
    words = words - ((words >> np.uint64(1)) & ones)
    words = (words & twos) + ((words >> np.uint64(2)) & twos)
    words = (words + (words >> np.uint64(4))) & fours
    return ((words * np.uint64(_BYTES)) >> np.uint64(56)).sum(axis=1).astype(np.int64)


_BYTES = 0x0101_0101_0101_0101


class _Search:
    """Verified pairs, what they connect, and pairs that were refused."""

    def __init__(
        self,
        signatures_of: Callable[[Sequence[int]], list[bytes]],
        max_distance: int,
        is_new: np.ndarray,
    ) -> None:
        self.is_new = is_new
        self._signatures_of = signatures_of
        self._max_distance = max_distance
        self._component = np.arange(len(is_new), dtype=np.int32)
        self._accepted: list[np.ndarray] = []
        self._refused = np.empty(0, np.int64)  # sorted
        self._num_refused = np.zeros(len(is_new), np.int32)

    def compare_neighbours(self, rotated: np.ndarray, steps_in_turn: Sequence[range]) -> bool:
        """Compares each image with those some steps further in the order of `rotated` [N, 32].

        Returns:
            Whether there may be more to find: fingerprints begin alike that are further from each
            other than the last step, and not all that begin alike are connected.
        """
        words = np.ascontiguousarray(rotated).view(">u8").astype(np.uint64)  # [N, 4], in byte order
        order = np.lexsort((words[:, 1], words[:, 0]))
        words = words[order]
        refused = [self._refused]
        for steps in steps_in_turn:
            length = _LISTED_PAIRS // len(steps)
            for start in range(0, len(order), length):
                end = start + length + steps[-1]
                candidates = self._close(order[start:end], words[start:end], steps, length)
                for block in range(0, len(candidates[0]), _BLOCK_PAIRS):
                    part = slice(block, block + _BLOCK_PAIRS)
                    refused.append(self._verify(*(values[part] for values in candidates)))
        if len(refused) > 1:
            self._refused = np.concatenate(refused)
            self._refused.sort(kind="stable")
        begins, component, beyond = words[:, 0], self._component[order], steps_in_turn[-1].stop
        is_loose = (begins[:-1] == begins[1:]) & (component[:-1] != component[1:])
        return bool(is_loose.any() and (begins[:-beyond] == begins[beyond:]).any())

    def _close(
        self, order: np.ndarray, words: np.ndarray, steps: range, length: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pairs that may be copies and are not connected yet, as first, second, distance [M].

        The first of each pair is among the first `length` of `order`.
        """
        component, is_new = self._component[order], self.is_new[order]
        has_patience = self._num_refused[order] <= _MAX_REFUSED
        found = [np.empty((3, 0), np.int64)]
        for step in steps:
            num_first = min(length, len(order) - step)
            if num_first <= 0:
                break
            here, there = slice(num_first), slice(step, step + num_first)
            is_asked = (component[here] != component[there]) & (is_new[here] | is_new[there])
            is_asked &= has_patience[here] | has_patience[there]
            if step > _NEIGHBOURS:
                is_asked &= words[here, 0] == words[there, 0]
            first = np.flatnonzero(is_asked)
            distance = _num_bits(words[first] ^ words[first + step])
            is_close = distance <= self._max_distance
            first = first[is_close]
            found.append(np.stack([first, first + step, distance[is_close]]))
        first, second, distance = np.concatenate(found, axis=1)
        # Blocks of neighbours have few images, each of which is prepared for comparing once.
        along = np.argsort(first, kind="stable")
        return order[first[along]], order[second[along]], distance[along]

    def _verify(self, first: np.ndarray, second: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Compares what is not connected yet and was not compared before.

        Returns:
            Codes of the pairs that are no copies.
        """
        num_refused = np.minimum(self._num_refused[first], self._num_refused[second])
        is_open = self._component[first] != self._component[second]
        is_open &= distance * _MAX_REFUSED <= self._max_distance * (_MAX_REFUSED - num_refused)
        pairs = np.stack([first[is_open], second[is_open]], axis=1)
        pairs.sort(axis=1)
        codes = pairs[:, 0] * len(self.is_new) + pairs[:, 1]
        is_known = _is_in(codes, self._refused)
        pairs, codes = pairs[~is_known], codes[~is_known]
        is_copy = _are_copies(pairs, self._signatures_of)
        self.connect(pairs[is_copy])
        np.add.at(self._num_refused, pairs[~is_copy].ravel(), 1)
        return codes[~is_copy]

    def connect(self, pairs: np.ndarray) -> None:
        """Takes pairs [M, 2] for copies."""
        if not len(pairs):
            return
        self._accepted.append(pairs)
        met, ends = np.unique(self._component[pairs], return_inverse=True)
        label = component_of(ends.reshape(-1, 2), len(met))
        _, representative = np.unique(label, return_index=True)
        renamed = np.arange(len(self._component), dtype=np.int32)
        renamed[met] = met[representative[label]]
        self._component = renamed[self._component]

    def pairs(self) -> np.ndarray:
        """All that was found, as `near_duplicate_pairs` returns it."""
        if not self._accepted:
            return np.empty((0, 2), np.int32)
        pairs = np.sort(np.concatenate(self._accepted), axis=1)
        return np.unique(pairs, axis=0).astype(np.int32)


def _is_in(codes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which codes are among the known ones, which are sorted."""
    if not len(known):
        return np.zeros(len(codes), bool)
    return known[np.minimum(np.searchsorted(known, codes), len(known) - 1)] == codes


def _are_copies(
    pairs: np.ndarray, signatures_of: Callable[[Sequence[int]], list[bytes]]
) -> np.ndarray:
    """Whether each pair shows the same picture. pairs: [M, 2] -> [M] bool."""
    numbers, places = np.unique(pairs, return_inverse=True)
    signatures = signatures_of(numbers.tolist())
    places = places.reshape(pairs.shape)
    has_thumbnail = np.array([len(s) == THUMBNAIL_SIZE**2 for s in signatures], bool)
    is_copy = np.array([signatures[i] == signatures[j] for i, j in places], bool)
    to_compare = np.flatnonzero(~is_copy & has_thumbnail[places].all(axis=1))
    if len(to_compare):
        row = np.cumsum(has_thumbnail) - 1
        joined = b"".join(s for s in signatures if len(s) == THUMBNAIL_SIZE**2)
        thumbnails = np.frombuffer(joined, np.uint8).reshape(-1, THUMBNAIL_SIZE, THUMBNAIL_SIZE)
        is_copy[to_compare] = _match(thumbnails, row[places[to_compare]])
    return is_copy


def _match(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Registers the second of each pair on the first.

    Args:
        thumbnails: [N, 32, 32] uint8.
        pairs: [M, 2] indices into them.

    Returns:
        [M] bool: a plausible change of place and brightness explains the difference.
    """
    pixels, slopes = _pixels_and_slopes(thumbnails)
    first, second = pairs.T
    terms = np.empty((len(pairs), 7, pixels.shape[1]), np.float32)
    terms[:, 0], terms[:, 1] = pixels[first], 1
    terms[:, 2:6] = (slopes[first] + slopes[second]) / 2
    terms[:, 6] = pixels[second]
    factors, remainder = _least_squares(terms)
    gain, shifts = factors[:, 0], np.abs(factors[:, 2:])
    spread = pixels.std(axis=1)
    return np.logical_and.reduce(
        [
            remainder <= _MAX_REMAINDER * np.minimum(spread[first], spread[second]),
            (gain >= _MIN_GAIN) & (gain <= _MAX_GAIN),
            shifts[:, 0] + shifts[:, 1] <= _MAX_SHIFT,
            shifts[:, 2] + shifts[:, 3] <= _MAX_SHIFT,
        ]
    )


def _pixels_and_slopes(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What thumbnails [N, 32, 32] are compared by: [N, P] with mean 0, and [N, 4, P], float32.

    The slopes are what a pixel gains by a shift and by a stretch, across and down.
    """
    smooth, slope = _FILTERS
    along_x = thumbnails.astype(np.float32) @ np.concatenate([smooth, slope]).T
    pixels, slope_x = np.split(smooth @ along_x, 2, axis=2)
    slope_y = slope @ along_x[:, :, : len(smooth)]
    across, down = _PLACE[None, None, :], _PLACE[None, :, None]
    slopes = np.stack([slope_x, slope_x * across, slope_y, slope_y * down], axis=1)
    flat = pixels.reshape(len(pixels), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat, slopes.reshape(len(pixels), 4, flat.shape[1])


def _filters() -> tuple[np.ndarray, np.ndarray]:
    """Matrices [P, 32] that give the sampled pixels of a row, smoothed, and their slopes."""
    middle = np.eye(THUMBNAIL_SIZE, dtype=np.float32)
    padded = np.pad(middle, ((1, 1), (0, 0)), "edge")
    binomial = (padded[:-2] + 2 * middle + padded[2:]) / 4
    smooth = binomial @ binomial
    return smooth[_SAMPLED], np.gradient(smooth, axis=0)[_SAMPLED]


_FILTERS = _filters()


def _least_squares(terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best sum of terms for each picture.

    Args:
        terms: [M, K + 1, P] float32: the terms, the second of which is 1, and the picture.

    Returns:
        The factors [M, K], and the standard deviation of what remains [M].
    """
    num_pixels = terms.shape[2]
    products = (terms @ terms.transpose(0, 2, 1)).astype(np.float64)
    # The small diagonal keeps a picture solvable that has no slope in one direction.
    among_terms = products[:, :-1, :-1] + np.eye(terms.shape[1] - 1) * (1e-3 * num_pixels)
    factors = _solve(among_terms, products[:, :-1, -1:])
    rest = np.concatenate([-factors, np.ones_like(factors[:, :1])], axis=1)  # picture minus sum
    squares = (rest.transpose(0, 2, 1) @ products @ rest)[:, 0, 0] / num_pixels
    mean = (products[:, 1:2] @ rest)[:, 0, 0] / num_pixels
    return factors[..., 0], np.sqrt(np.maximum(squares - mean**2, 0.0))


def _solve(matrices: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Gauss-Jordan elimination of many small systems at once; positive definite: without pivoting.

    For numpy.linalg.solve, OpenBLAS wakes a thread on each core, which spins.

    Args:
        matrices: [M, K, K] float64, symmetric and positive definite.
        right: [M, K, 1] float64.

    Returns:
        [M, K, 1].
    """
    rows = np.concatenate([matrices, right], axis=2)
    for pivot in range(rows.shape[1]):
        rows[:, pivot] /= rows[:, pivot, pivot, None]
        factors = rows[:, :, pivot, None].copy()
        factors[:, pivot] = 0
        rows -= factors * rows[:, pivot, None]
    return rows[:, :, -1:]
