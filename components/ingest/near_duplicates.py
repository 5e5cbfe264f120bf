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

from slimworks.components.ingest.perceptual import THUMBNAIL_SIZE

# In each of the 32 orders. All of 500 copies that differ by 32 bits are found among 100,000 random
# fingerprints.
_NEIGHBOURS = 8
# Alike things (solar cells) have equal fingerprints in dozens; there a copy is not next to its
# original. A set in which everything is alike takes no more than this for each image.
_EQUAL_NEIGHBOURS = 64
_BLOCK_PAIRS = 1_024  # verified at once: 2 MB of thumbnails, 13 MB of their pixels
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
) -> np.ndarray:
    """Pairs that connect all near-duplicates.

    Not every pair of a set of copies is listed: enough to connect them. So a thousand copies of one
    picture cost a thousand comparisons.

    Args:
        fingerprints: [N, 32] uint8, of `perceptual.describe`.
        signatures_of: Gives the signatures of images by their numbers, which are sorted and few.
        max_distance: Bits by which fingerprints of near-duplicates may differ.

    Returns:
        [M, 2] int32, the smaller number first, in order, each pair once.
    """
    if fingerprints.ndim != 2 or fingerprints.shape[1] != 32 or fingerprints.dtype != np.uint8:
        raise ValueError(f"fingerprints are {fingerprints.dtype} {fingerprints.shape}")
    search = _Search(len(fingerprints), signatures_of, max_distance)
    for first_byte in range(fingerprints.shape[1]):
        search.compare_neighbours(np.roll(fingerprints, -first_byte, axis=1))
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
        num_images: int,
        signatures_of: Callable[[Sequence[int]], list[bytes]],
        max_distance: int,
    ) -> None:
        self._num_images = num_images
        self._signatures_of = signatures_of
        self._max_distance = max_distance
        self._component = np.arange(num_images)
        self._accepted: list[np.ndarray] = []
        self._refused = np.empty(0, np.int64)

    def compare_neighbours(self, rotated: np.ndarray) -> None:
        """Compares each image with the next ones in the order of the fingerprints [N, 32]."""
        words = np.ascontiguousarray(rotated).view(">u8").astype(np.uint64)  # [N, 4], in byte order
        order = np.lexsort((words[:, 1], words[:, 0]))
        words = words[order]
        for step in range(1, min(_EQUAL_NEIGHBOURS, len(order) - 1) + 1):
            component = self._component[order]
            is_asked = component[:-step] != component[step:]
            if step > _NEIGHBOURS:
                begins_equal = words[:-step, 0] == words[step:, 0]
                if not begins_equal.any():
                    break
                is_asked &= begins_equal
            first = np.flatnonzero(is_asked)
            distance = _num_bits(words[first] ^ words[first + step])
            first = first[distance <= self._max_distance]
            self._verify(np.stack([order[first], order[first + step]], axis=1))

    def _verify(self, candidates: np.ndarray) -> None:
        """Compares what is not connected yet and was not compared before."""
        candidates.sort(axis=1)
        codes = np.unique(candidates[:, 0] * self._num_images + candidates[:, 1])
        codes = codes[~np.isin(codes, self._refused)]
        refused = [self._refused]
        for start in range(0, len(codes), _BLOCK_PAIRS):
            block = codes[start : start + _BLOCK_PAIRS]
            pairs = np.stack(np.divmod(block, self._num_images), axis=1)
            is_copy = _are_copies(pairs, self._signatures_of)
            refused.append(block[~is_copy])
            self._connect(pairs[is_copy])
        self._refused = np.concatenate(refused)

    def _connect(self, pairs: np.ndarray) -> None:
        if not len(pairs):
            return
        from scipy import sparse
        from scipy.sparse import csgraph

        self._accepted.append(pairs)
        ends = self._component[pairs]
        size = self._num_images
        edges = sparse.coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (size, size))
        _, label = csgraph.connected_components(edges, directed=False)
        self._component = label[self._component]

    def pairs(self) -> np.ndarray:
        if not self._accepted:
            return np.empty((0, 2), np.int32)
        return np.unique(np.concatenate(self._accepted), axis=0).astype(np.int32)


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
    smooth = _smoothed(_smoothed(thumbnails.astype(np.float32)))
    slope_y, slope_x = np.gradient(smooth, axis=(1, 2))
    pixels, slope_y, slope_x = (part[:, _SAMPLED, _SAMPLED] for part in (smooth, slope_y, slope_x))
    first, second = pairs.T
    slope_x = (slope_x[first] + slope_x[second]) / 2
    slope_y = (slope_y[first] + slope_y[second]) / 2
    across, down = _PLACE[None, None, :], _PLACE[None, :, None]
    terms = (
        pixels[first], np.ones_like(slope_x), slope_x, slope_x * across, slope_y, slope_y * down,
    )  # fmt: skip
    factors, remainder = _least_squares(terms, pixels[second])
    gain, shifts = factors[:, 0], np.abs(factors[:, 2:])
    spread = pixels.std(axis=(1, 2))
    return np.logical_and.reduce(
        [
            remainder <= _MAX_REMAINDER * np.minimum(spread[first], spread[second]),
            (gain >= _MIN_GAIN) & (gain <= _MAX_GAIN),
            shifts[:, 0] + shifts[:, 1] <= _MAX_SHIFT,
            shifts[:, 2] + shifts[:, 3] <= _MAX_SHIFT,
        ]
    )


def _smoothed(pictures: np.ndarray) -> np.ndarray:
    """Binomial filter of three by three pixels. pictures: [N, H, W] float32."""
    for axis in (1, 2):
        before = np.take(pictures, _neighbours(pictures.shape[axis], -1), axis)
        after = np.take(pictures, _neighbours(pictures.shape[axis], 1), axis)
        pictures = (before + 2 * pictures + after) / 4
    return pictures


def _neighbours(size: int, step: int) -> np.ndarray:
    return np.clip(np.arange(size) + step, 0, size - 1)


def _least_squares(
    terms: Sequence[np.ndarray], target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Best sum of terms for each picture.

    Args:
        terms: K arrays [M, H, W] float32.
        target: [M, H, W] float32.

    Returns:
        The factors [M, K], and the standard deviation of what remains [M].
    """
    terms_flat = np.stack(terms, axis=1).reshape(len(target), len(terms), -1)
    target_flat = target.reshape(len(target), -1, 1)
    # The small diagonal keeps a picture solvable that has no slope in one direction.
    num_pixels = terms_flat.shape[2]
    products = terms_flat @ terms_flat.transpose(0, 2, 1)
    products += np.eye(len(terms), dtype=np.float32) * (1e-3 * num_pixels)
    sums = terms_flat @ target_flat
    factors = np.linalg.solve(products.astype(np.float64), sums.astype(np.float64))
    remainder = target_flat[..., 0] - (factors.transpose(0, 2, 1) @ terms_flat)[:, 0]
    return factors[..., 0], remainder.std(axis=1)
