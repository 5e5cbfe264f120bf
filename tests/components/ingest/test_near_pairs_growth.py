"""Near-duplicates while a set grows and shrinks: the same as of a search through all of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from near_copies import COPIES, encoded
from photo_folders import MakePhotos, photo_bytes, run_ingest
from PIL import Image
from scipy import sparse
from scipy.sparse import csgraph

from slimworks.components.ingest import near_pairs
from slimworks.components.ingest.catalogue import Catalogue, open_catalogue
from slimworks.components.ingest.near_duplicates import near_duplicate_pairs
from slimworks.components.ingest.near_pairs import find_near_duplicates

DISTANCE = 32
# Fingerprint and signature by image id. Equal signatures are copies; these are no thumbnails, so
# that nothing else is.
Images = Mapping[str, tuple[bytes, bytes]]


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    with open_catalogue(tmp_path / "state") as opened:
        yield opened


def use(catalogue: Catalogue, images: Images, used: Iterable[str] | None = None) -> None:
    """Makes the images known, and usable, as `selection` does."""
    run = catalogue.connection.execute
    fact = "INSERT OR IGNORE INTO facts VALUES (?, '', '', 8, 8, 'rgb', 3, 0, 0, ?, ?, 9, 0)"
    ids = sorted(images if used is None else used)
    with catalogue.transaction():
        for image_id, (fingerprint, signature) in images.items():
            run(fact, (image_id, fingerprint, signature))
        run("DROP TABLE IF EXISTS usable")
        run("CREATE TEMP TABLE usable (number INTEGER PRIMARY KEY, image_id TEXT NOT NULL UNIQUE)")
        catalogue.connection.executemany("INSERT INTO usable VALUES (?, ?)", enumerate(ids))


def found(catalogue: Catalogue, distance: int | None = DISTANCE) -> set[tuple[str, str]]:
    ids = [row[0] for row in catalogue.connection.execute("SELECT image_id FROM usable")]
    return {(ids[i], ids[j]) for i, j in find_near_duplicates(catalogue, distance).tolist()}


def components(pairs: np.ndarray, size: int) -> np.ndarray:
    graph = sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (size, size))
    return csgraph.connected_components(graph, directed=False)[1]


def flipped(fingerprint: np.ndarray, bits: Iterable[int]) -> bytes:
    changed = np.unpackbits(fingerprint)
    changed[list(bits)] ^= 1
    return np.packbits(changed).tobytes()


@pytest.fixture
def chain() -> dict[str, tuple[bytes, bytes]]:
    """Three copies in a row."""
    zero = np.zeros(32, np.uint8)
    return {name: (flipped(zero, range(n)), b"copy") for n, name in enumerate(("a", "b", "c"))}


def clusters(seed: int, size: int, num_bits: int) -> tuple[np.ndarray, list[bytes]]:
    """Copies of a third as many pictures that differ by up to `num_bits` bits, in random order."""
    generator = np.random.default_rng(seed)
    originals = generator.integers(0, 256, (size // 3, 32), np.uint8)
    picture = generator.integers(0, len(originals), size)
    rows = [
        flipped(
            originals[number], generator.choice(256, generator.integers(0, num_bits + 1), False)
        )
        for number in picture
    ]
    fingerprints = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 32)
    return fingerprints, [int(number).to_bytes(4, "big") for number in picture]


@pytest.mark.parametrize("seed", range(10))
def test_growing_in_steps_connects_what_one_search_connects(
    catalogue: Catalogue, seed: int
) -> None:
    fingerprints, signatures = clusters(seed, 400, 12)
    order = np.random.default_rng(seed).permutation(400)
    images = {
        f"{number:03d}": (fingerprints[number].tobytes(), signatures[number]) for number in order
    }
    for size in (80, 160, 240, 320, 400):
        use(catalogue, dict(list(images.items())[:size]))
        pairs = find_near_duplicates(catalogue, DISTANCE)
    whole = near_duplicate_pairs(fingerprints, lambda ids: [signatures[n] for n in ids], DISTANCE)
    assert len(whole) > 100
    assert components(pairs, 400).tolist() == components(whole, 400).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_while_images_come_and_go(catalogue: Catalogue, seed: int) -> None:
    fingerprints, signatures = clusters(seed, 300, 12)
    images = {f"{n:03d}": (fingerprints[n].tobytes(), signatures[n]) for n in range(300)}
    generator = np.random.default_rng(seed)
    for _ in range(6):
        used = np.sort(generator.choice(300, 200, replace=False))
        use(catalogue, images, [f"{number:03d}" for number in used])
        pairs = find_near_duplicates(catalogue, DISTANCE)
        whole = near_duplicate_pairs(
            fingerprints[used], lambda ids, used=used: [signatures[used[n]] for n in ids], DISTANCE
        )
        assert components(pairs, 200).tolist() == components(whole, 200).tolist()


def test_what_one_image_connected_stays_connected_without_it(
    catalogue: Catalogue, chain: dict[str, tuple[bytes, bytes]]
) -> None:
    use(catalogue, chain)
    assert found(catalogue) == {("a", "b"), ("b", "c")}
    use(catalogue, chain, ["a", "c"])
    assert found(catalogue) == {("a", "c")}
    use(catalogue, chain)
    assert components(find_near_duplicates(catalogue, DISTANCE), 3).max() == 0


def test_only_new_images_are_compared(
    catalogue: Catalogue,
    chain: dict[str, tuple[bytes, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(catalogue, chain, ["a", "c"])
    found(catalogue)
    # Images that were compared keep what was found, whatever they look like now.
    catalogue.connection.execute("UPDATE facts SET signature = 'other' WHERE image_id = 'a'")
    use(catalogue, chain)
    assert found(catalogue) == {("a", "c"), ("b", "c")}

    def fail(*_: object) -> None:
        raise AssertionError("nothing is new")

    monkeypatch.setattr(near_pairs, "near_duplicate_pairs", fail)
    assert found(catalogue) == {("a", "c"), ("b", "c")}


@pytest.mark.parametrize("change", ["distance", "rules", "table"])
def test_everything_is_searched_anew(
    catalogue: Catalogue,
    chain: dict[str, tuple[bytes, bytes]],
    change: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(catalogue, chain)
    found(catalogue)
    catalogue.connection.execute("UPDATE facts SET signature = 'other' WHERE image_id = 'a'")
    assert found(catalogue) == {("a", "b"), ("b", "c")}
    if change == "rules":
        monkeypatch.setattr(near_pairs, "RULES_VERSION", 1_000)
    if change == "table":
        catalogue.connection.execute("DROP TABLE near_pairs")
    distance = DISTANCE - (change == "distance")
    assert found(catalogue, distance) == {("b", "c")}


def test_without_a_distance_nothing_is_searched_nor_forgotten(
    catalogue: Catalogue, chain: dict[str, tuple[bytes, bytes]]
) -> None:
    use(catalogue, chain, ["a", "b"])
    found(catalogue)
    use(catalogue, chain)
    assert found(catalogue, None) == set()
    assert found(catalogue) == {("a", "b"), ("b", "c")}


def test_an_ingest_searches_for_every_image_once(make_photos: MakePhotos, tmp_path: Path) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    (source / "cats" / "new.png").write_bytes(photo_bytes(9_000))
    (source / "cats" / "000.png").unlink()
    run_ingest(source, output)
    with open_catalogue(output / "state") as opened:
        searched = opened.connection.execute("SELECT image_id FROM near_pairs WHERE other = ''")
        facts = opened.connection.execute("SELECT image_id FROM facts")
        assert set(searched) == set(facts)


def near_groups(output: Path) -> set[frozenset[str]]:
    lines = (output / "report" / "duplicates.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return {frozenset(row["image_ids"]) for row in rows if row["kind"] == "near"}


@pytest.mark.shared
def test_flowers_that_arrive_in_five_steps_have_the_groups_of_one_ingest(
    shared: Path, tmp_path: Path
) -> None:
    """80 photos, and two copies of each third: quality, size and crop changed."""
    photos = sorted((shared / "data" / "datasets" / "flowers_800").glob("*/*"))[::10]
    everything = tmp_path / "everything"
    for number, path in enumerate(photos):
        folder = everything / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)
        for name in ("2 % each side", "half size") if number % 3 == 0 else ():
            copy = COPIES[name](Image.open(path).convert("RGB"))
            (folder / f"{name[0]}_{path.name}").write_bytes(encoded(copy, quality=90))
    run_ingest(everything, tmp_path / "one")
    files = sorted(everything.glob("*/*"))
    np.random.default_rng(0).shuffle(files)
    steps = np.array_split(np.arange(len(files)), 5)
    for step in steps:
        for number in step:
            target = tmp_path / "growing" / files[number].relative_to(everything)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(files[number], target)
        summary = run_ingest(tmp_path / "growing", tmp_path / "five", min_images_per_class=1)
        assert summary.groups_in_several_splits == 0
    assert len(near_groups(tmp_path / "one")) >= 27
    assert near_groups(tmp_path / "five") == near_groups(tmp_path / "one")
