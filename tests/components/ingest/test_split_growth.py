"""Growth: whatever arrives in whatever order, no image changes its split and nothing leaks."""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from photo_folders import run_ingest
from PIL import Image
from split_tables import counts_of, plan, random_pairs, random_table, require_leak_free, subset

from slimworks.components import contracts
from slimworks.components.examples.reading import iterate_examples


def _grown(seed: int, num_images: int, num_pairs: int) -> tuple[list[np.ndarray], list[int]]:
    """Plans a random set in five steps.

    Returns the splits after each step, -2 where an image is not there yet, and how many images are
    set aside.
    """
    rng = np.random.default_rng(seed)
    table = random_table(rng, num_images, grouped=0.2)
    pairs = random_pairs(rng, num_images, num_pairs)
    order = rng.permutation(num_images)
    steps, num_set_aside = [], []
    frozen = np.full(num_images, -1, np.int8)
    for end in np.linspace(0, num_images, 6).astype(int)[1:]:
        rows = order[:end]
        place = np.full(num_images, -1, np.int32)
        place[rows] = np.arange(end)
        known = place[pairs[(place[pairs] >= 0).all(axis=1)]]
        part = dataclasses.replace(subset(table, rows), frozen_split=frozen[rows])
        result = plan(part, known)
        require_leak_free(result, part, known)
        assert result.num_changed_split == 0
        frozen[rows] = np.where(result.split >= 0, result.split, frozen[rows])
        step = np.full(num_images, -2)
        step[rows] = result.split
        steps.append(step)
        num_set_aside.append(len(result.set_aside))
    return steps, num_set_aside


@pytest.mark.parametrize("seed", range(40))
def test_no_image_changes_its_split_in_five_steps_of_growth(seed: int) -> None:
    rng = np.random.default_rng(1_000 + seed)
    num_images = int(rng.integers(5, 80))
    steps, _ = _grown(seed, num_images, int(rng.integers(0, 2 * num_images)))
    for before, after in itertools.pairwise(steps):
        decided = before >= 0
        assert (after[decided] == before[decided]).all()


def test_an_image_once_set_aside_stays_out_while_the_set_grows() -> None:
    steps, _ = _grown(3, 400, 100)
    for before, after in itertools.pairwise(steps):
        assert (after[before == -1] == -1).all()


def test_sparse_near_duplicates_cost_few_images() -> None:
    """One image in ten resembles another one that came in another step or the same."""
    shares = [_grown(seed, 1_000, 100)[1][-1] / 1_000 for seed in range(5)]
    assert max(shares) < 0.05


def test_the_fractions_hold_after_growth_in_many_small_steps() -> None:
    rng = np.random.default_rng(0)
    table = random_table(rng, 600)
    frozen = np.full(600, -1, np.int8)
    for end in range(10, 601, 10):
        part = dataclasses.replace(subset(table, np.arange(end)), frozen_split=frozen[:end])
        frozen[:end] = plan(part).split
    result = plan(dataclasses.replace(table, frozen_split=frozen))
    for index in range(3):
        counts = np.array(counts_of(result, table, index))
        assert counts == pytest.approx(counts.sum() * np.array([0.7, 0.15, 0.15]), abs=2)


# --- The real ingest --------------------------------------------------------------------------

CLASSES = ("daisy", "rose", "tulip")


def _picture(seed: int) -> Image.Image:
    """A soft pattern of colours of its own: [96, 128, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((128, 96), Image.Resampling.BICUBIC)


def _encoded(picture: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _files() -> dict[str, bytes]:
    """180 pictures, 40 of them in ten groups, and 45 more that resemble one of them."""
    files = {}
    for number in range(180):
        name = f"{CLASSES[number % 3]}/{number:03d}"
        group = f"_patient{number // 4}" if number < 40 else ""
        picture = _picture(number)
        files[f"{name}{group}.jpg"] = _encoded(picture, 95)
        if number % 4 == 0:  # re-encoded and made smaller, sometimes in another class
            copy = f"{CLASSES[number // 4 % 3]}/{number:03d}_copy.jpg"
            files[copy] = _encoded(picture.resize((112, 84)), 80)
    return files


def _ties(names: Iterable[str]) -> list[list[str]]:
    """Those of the names that must share a split: of one patient, or a picture with its copy."""
    together = defaultdict(list)
    for name in names:
        picture, _, mark = Path(name).stem.partition("_")
        together[picture].append(name)
        if mark.startswith("patient"):
            together[mark].append(name)
    return list(together.values())


def _splits_in(examples: Path) -> dict[str, str]:
    """Split of each image by file name, as the Examples hold it."""
    splits = {}
    for split in contracts.SPLITS:
        for example in iterate_examples(examples, split):
            name = os.fsdecode(cast(bytes, example[contracts.IMAGE_FILENAME]))
            assert name not in splits
            splits[name] = split
    return splits


def _write(source: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    return source


@pytest.mark.parametrize("seed", range(3))
def test_a_folder_grown_in_five_steps_in_random_order_keeps_every_split(
    tmp_path: Path, seed: int
) -> None:
    files = _files()
    names = np.random.default_rng(seed).permutation(list(files)).tolist()
    known: dict[str, str] = {}
    for arrived in np.array_split(names, 5):
        source = _write(tmp_path / "photos", {name: files[name] for name in arrived})
        summary = run_ingest(source, tmp_path / "out", group_regex=r"patient\d+")
        assert summary.num_changed_split == 0
        assert summary.groups_in_several_splits == 0
        splits = _splits_in(tmp_path / "out" / "examples")
        assert {name: splits[name] for name in known} == known
        assert all(len({splits[name] for name in tied}) == 1 for tied in _ties(splits))
        known = splits
    assert len(known) + summary.num_set_aside_for_splits == len(files)
    assert summary.num_set_aside_for_splits <= 0.05 * len(files)


def _singles(folders: Mapping[str, int]) -> dict[str, bytes]:
    """So many unlike pictures for each class, below each folder."""
    names = [
        f"{folder}{CLASSES[number % 3]}/{number}.jpg"
        for folder, size in folders.items()
        for number in range(3 * size)
    ]
    return {name: _encoded(_picture(seed), 95) for seed, name in enumerate(names)}


def test_renamed_and_returning_images_keep_their_split(tmp_path: Path) -> None:
    source = _write(tmp_path / "photos", _singles({"": 20}))
    run_ingest(source, tmp_path / "out")
    before = _splits_in(tmp_path / "out" / "examples")
    moved = [name for name in before if before[name] != "train"]
    for name in moved[::2]:
        (source / name).rename(source / name.replace(".jpg", "_renamed.jpg"))
    for name in moved[1::2]:
        (source / name).rename(tmp_path / Path(name).name)
    # Others take the place of those that are gone for now.
    _write(
        source, {f"rose/new{seed}.jpg": _encoded(_picture(seed), 95) for seed in range(900, 920)}
    )
    run_ingest(source, tmp_path / "out")
    for name in moved[1::2]:
        (tmp_path / Path(name).name).rename(source / name)
    summary = run_ingest(source, tmp_path / "out")
    after = _splits_in(tmp_path / "out" / "examples")
    assert summary.num_changed_split == 0
    for name, split in before.items():
        renamed = name.replace(".jpg", "_renamed.jpg")
        assert after[renamed if renamed in after else name] == split


def test_eval_taken_out_of_the_users_train_folder_stays_taken(tmp_path: Path) -> None:
    files = _singles({"train/": 30, "test/": 8})
    source = _write(tmp_path / "photos", dict(list(files.items())[::2]))
    first = run_ingest(source, tmp_path / "out")
    before = _splits_in(tmp_path / "out" / "examples")
    assert all(first.images_by_split["eval"].values())
    assert {split for name, split in before.items() if name.startswith("test/")} == {"test"}
    assert {split for name, split in before.items() if name.startswith("train/")} == {
        "train", "eval",
    }  # fmt: skip
    second = run_ingest(_write(source, files), tmp_path / "out")
    after = _splits_in(tmp_path / "out" / "examples")
    assert second.num_changed_split == 0
    assert {name: after[name] for name in before} == before


def test_an_image_that_the_user_moves_is_counted(tmp_path: Path) -> None:
    source = _write(tmp_path / "photos", _singles({"train/": 12, "val/": 6, "test/": 6}))
    run_ingest(source, tmp_path / "out")
    (source / "train/rose/1.jpg").rename(source / "test/rose/moved.jpg")
    summary = run_ingest(source, tmp_path / "out")
    assert summary.num_changed_split == 1
    assert _splits_in(tmp_path / "out" / "examples")["test/rose/moved.jpg"] == "test"
