"""Which images are taken for copies of one another, and at what cost."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from near_copies import COPIES, scene
from PIL import Image
from scipy import sparse
from scipy.sparse import csgraph

from slimworks.components.ingest import near_duplicates
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.near_duplicates import near_duplicate_pairs
from slimworks.components.ingest.perceptual import Appearance, describe

DISTANCE = DataConfig().near_duplicate_distance or 0


def pairs_of(
    images: Sequence[Appearance], distance: int = DISTANCE, **known: np.ndarray
) -> list[tuple[int, int]]:
    joined = b"".join(image.fingerprint for image in images)
    fingerprints = np.frombuffer(joined, np.uint8).reshape(-1, 32)
    pairs = near_duplicate_pairs(
        fingerprints, lambda numbers: [images[n].signature for n in numbers], distance, **known
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


def alike(size: int, num_copies: int, noise: float) -> list[Appearance]:
    """Parts photographed in one place: a common ground, each with spots of its own; then copies.

    A copy's fingerprint differs by 2 to 17 bits, as after a crop.
    """
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    ground = 128 + 60 * np.sin(x / 5) * np.cos(y / 7)
    common = generator.integers(0, 2, 256)
    bits = common ^ (generator.random((size, 256)) < noise)
    pictures = []
    for _ in range(size):
        centre_x, centre_y, level = generator.uniform((3, 3, -50), (29, 29, 50), (8, 3)).T
        distance = (x[..., None] - centre_x) ** 2 + (y[..., None] - centre_y) ** 2
        pictures.append(ground + (level * np.exp(-distance / 9)).sum(axis=2))
    for number in range(num_copies):
        pictures.append(pictures[number] + generator.integers(-2, 3, (32, 32)))
        copy = bits[number].copy()
        copy[generator.choice(256, generator.integers(2, 18), replace=False)] ^= 1
        bits = np.concatenate([bits, copy[None]])
    thumbnails = np.clip(pictures, 0, 255).astype(np.uint8)
    return [
        Appearance(0.5, 1.0, np.packbits(row).tobytes(), thumbnail.tobytes())
        for row, thumbnail in zip(bits, thumbnails, strict=True)
    ]


@pytest.mark.parametrize("noise", [0.03, 0.06])
def test_copies_are_found_among_alike_images(noise: float) -> None:
    """Typical distances of different images are 15 and 29 bits: most of them are compared."""
    images = alike(600, 60, noise)
    component = components(pairs_of(images), len(images))
    assert sum(component[n] == component[600 + n] for n in range(60)) >= 59


def test_an_image_is_compared_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a bound these 2,000 are compared 174 times each."""
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2, 256) ^ (generator.random((2000, 256)) < 0.03)
    compared = 0
    are_copies = near_duplicates._are_copies

    def counted(pairs: np.ndarray, signatures_of: Callable[..., list[bytes]]) -> np.ndarray:
        nonlocal compared
        compared += len(pairs)
        return are_copies(pairs, signatures_of)

    monkeypatch.setattr(near_duplicates, "_are_copies", counted)
    fingerprints = np.packbits(bits, axis=1)
    different = [number.to_bytes(2, "big") for number in range(2000)]
    pairs = near_duplicate_pairs(fingerprints, lambda ids: [different[n] for n in ids], 32)
    assert not len(pairs)
    assert compared <= 70 * 2000


def test_old_images_are_not_compared_again() -> None:
    image = scene(3)
    images = described(image, image, COPIES["quality 50"](image), scene(4), scene(4))
    old = [True, True, False, True, True]
    found = pairs_of(images, is_new=~np.array(old), old_pairs=np.array([[0, 1]]))
    assert (0, 1) in found
    assert components(found, 5).tolist() == [0, 0, 0, 1, 2]


def test_every_old_copy_is_reached_from_a_new_one() -> None:
    """Old images may be in components of their own: a new one must not stop at the first."""
    images = described(scene(4), scene(4), scene(4))
    found = pairs_of(images, is_new=np.array([False, False, True]))
    assert found == [(0, 2), (1, 2)]


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
