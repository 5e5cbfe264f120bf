"""Which images are taken for copies of one another, and at what cost."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from near_copies import COPIES, scene
from PIL import Image
from scipy import sparse
from scipy.sparse import csgraph

from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.near_duplicates import near_duplicate_pairs
from slimworks.components.ingest.perceptual import Appearance, describe

DISTANCE = DataConfig().near_duplicate_distance or 0


def pairs_of(images: Sequence[Appearance], distance: int = DISTANCE) -> list[tuple[int, int]]:
    joined = b"".join(image.fingerprint for image in images)
    fingerprints = np.frombuffer(joined, np.uint8).reshape(-1, 32)
    pairs = near_duplicate_pairs(
        fingerprints, lambda numbers: [images[n].signature for n in numbers], distance
    )
    assert pairs.dtype == np.int32
    return [(int(i), int(j)) for i, j in pairs]


def components(pairs: Sequence[tuple[int, int]], num_images: int) -> np.ndarray:
    ends = np.array(pairs, int).reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(len(pairs)), (ends[0], ends[1])), (num_images, num_images))
    return csgraph.connected_components(graph, directed=False)[1]


def described(*images: Image.Image) -> list[Appearance]:
    return [describe(image, 1) for image in images]


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_nothing_else(name: str) -> None:
    scenes = [scene(seed) for seed in range(20)]
    images = described(*scenes, *(COPIES[name](image) for image in scenes))
    assert pairs_of(images) == [(number, number + 20) for number in range(20)]


def test_distance_zero_finds_equal_fingerprints() -> None:
    image = scene(0)
    images = described(image, image, scene(1))
    assert pairs_of(images, distance=0) == [(0, 1)]


def test_alike_but_different_pictures_are_told_apart_by_their_thumbnails() -> None:
    """Equal fingerprints, as of parts that are photographed in one place."""
    first, second = described(scene(1), scene(2))
    alike = Appearance(0.5, 1.0, first.fingerprint, second.signature)
    assert pairs_of([first, alike]) == []


def test_a_negative_is_no_copy() -> None:
    image = describe(scene(1), 1)
    thumbnail = bytes(255 - value for value in image.signature)
    negative = Appearance(0.5, 1.0, image.fingerprint, thumbnail)
    assert pairs_of([image, negative]) == []


def test_small_pictures_match_by_equal_pixels() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    nearly = noise.copy()
    nearly[0, 0] ^= 1
    images = described(*(Image.fromarray(pixels) for pixels in (noise, nearly, noise)))
    assert pairs_of(images) == [(0, 2)]


@pytest.mark.parametrize("num_images", [0, 1])
def test_nothing_to_compare(num_images: int) -> None:
    assert pairs_of(described(scene(0))[:num_images]) == []


def test_two_thousand_copies_with_noise_stay_connected_at_the_cost_of_a_few_each() -> None:
    generator = np.random.default_rng(0)
    original = describe(scene(5), 1)
    thumbnail = np.frombuffer(original.signature, np.uint8).astype(int)
    bits = np.unpackbits(np.frombuffer(original.fingerprint, np.uint8))
    images = []
    for _ in range(2000):
        noisy = (thumbnail + generator.integers(-1, 2, 1024)).clip(0, 255).astype(np.uint8)
        flipped = np.packbits(bits ^ (generator.random(256) < 0.02))
        images.append(Appearance(0.5, 1.0, flipped.tobytes(), noisy.tobytes()))
    pairs = pairs_of(images)
    assert components(pairs, 2000).max() == 0
    assert len(pairs) < 20 * 2000


def test_memory_is_bounded_where_all_fingerprints_are_equal() -> None:
    """All pairs of 5,000 would be 12.5 million: 200 MB as numbers alone."""
    size = 5000
    fingerprints = np.zeros((size, 32), np.uint8)
    tracemalloc.start()
    pairs = near_duplicate_pairs(fingerprints, lambda numbers: [b"\0" * 32] * len(numbers), 32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert components([tuple(pair) for pair in pairs.tolist()], size).max() == 0
    assert peak < 60 * 2**20


def test_copies_are_found_among_many() -> None:
    """20,000 others, 24 of 256 bits changed; signatures are equal, so only finding is tested."""
    generator = np.random.default_rng(1)
    others = generator.integers(0, 256, (20_000, 32), np.uint8)
    bits = np.unpackbits(others[:200], axis=1)
    for row in bits:
        row[generator.choice(256, 24, replace=False)] ^= 1
    fingerprints = np.concatenate([others, np.packbits(bits, axis=1)])
    pairs = near_duplicate_pairs(fingerprints, lambda ids: [b"\0" * 32] * len(ids), 32)
    found = {tuple(pair) for pair in pairs.tolist()}
    assert sum((number, 20_000 + number) in found for number in range(200)) >= 198


def test_wrong_shape_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="fingerprints are uint8"):
        near_duplicate_pairs(np.zeros((2, 8), np.uint8), lambda ids: [], 1)


@pytest.mark.shared
def test_only_one_pair_of_flowers_is_photographed_twice(shared: Path) -> None:
    paths = sorted((shared / "data" / "datasets" / "flowers_800").glob("*/*"))
    pairs = pairs_of(described(*(Image.open(path) for path in paths)))
    assert pairs == [(534, 535)]


@pytest.mark.shared
@pytest.mark.parametrize("name", COPIES)
def test_copies_of_flowers_are_found(shared: Path, name: str) -> None:
    paths = sorted((shared / "data" / "datasets" / "flowers_800").glob("*/*"))[::16]
    photos = [Image.open(path).convert("RGB") for path in paths]
    images = described(*photos, *(COPIES[name](photo) for photo in photos))
    found = {(i, j) for i, j in pairs_of(images)}
    assert found <= {(number, number + 50) for number in range(50)}
    assert len(found) >= 49


@pytest.mark.shared
def test_alike_cells_stay_apart(shared: Path) -> None:
    paths = sorted((shared / "data" / "datasets" / "bccd_cells").glob("*/*"))
    images = described(*(Image.open(path) for path in paths))
    assert pairs_of(images) == [(1016, 1043)]  # one cell, photographed twice


def test_scans_of_digits_stay_apart() -> None:
    """8 x 8: small pictures of one digit look alike, and are no copies."""
    datasets = pytest.importorskip("sklearn.datasets")
    scans = (datasets.load_digits().images * 15.9).astype(np.uint8)
    assert pairs_of(described(*map(Image.fromarray, scans))) == []
