"""Renamed and merged classes through the whole ingest: what the examples say of them."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from photo_folders import MakePhotos, photo_bytes, run_ingest

from slimworks.components import contracts
from slimworks.components.contracts import LabelMap
from slimworks.components.examples.reading import iterate_examples


def classes_in(output: Path) -> Counter[tuple[int, str]]:
    return Counter(
        (example[contracts.CLASS_INDEX], example[contracts.CLASS_NAME].decode())
        for split in contracts.SPLITS
        for example in iterate_examples(output / "examples", split)
    )


def label_map_in(output: Path) -> LabelMap:
    return LabelMap.read(output / "label_map")


@pytest.fixture
def source(make_photos: MakePhotos) -> Path:
    return make_photos("cats", "dogs", "kittens")


@pytest.mark.parametrize("is_folder_renamed", [True, False])
def test_renamed_class_keeps_index_images_and_splits(
    source: Path, tmp_path: Path, is_folder_renamed: bool
) -> None:
    run_ingest(source, tmp_path)
    if is_folder_renamed:
        shutil.move(source / "cats", source / "toms")
    summary = run_ingest(source, tmp_path, rename_classes={"cats": "toms"})
    assert classes_in(tmp_path) == {(0, "toms"): 20, (1, "dogs"): 20, (2, "kittens"): 20}
    assert summary.num_changed_split == 0
    assert label_map_in(tmp_path).version == 2


def test_applied_rename_may_stay_while_data_grows(source: Path, tmp_path: Path) -> None:
    run_ingest(source, tmp_path)
    lines = {"rename_classes": {"cats": "toms"}}
    run_ingest(source, tmp_path, **lines)
    shutil.move(source / "cats", source / "toms")
    (source / "toms" / "new.png").write_bytes(photo_bytes(9_000))
    run_ingest(source, tmp_path, **lines)
    assert classes_in(tmp_path) == {(0, "toms"): 21, (1, "dogs"): 20, (2, "kittens"): 20}
    assert label_map_in(tmp_path).version == 2


def test_merged_class_gives_its_images_away_and_keeps_its_index(
    source: Path, tmp_path: Path
) -> None:
    run_ingest(source, tmp_path)
    summary = run_ingest(source, tmp_path, merge_classes={"kittens": "cats"})
    assert classes_in(tmp_path) == {(0, "cats"): 40, (1, "dogs"): 20}
    assert summary.num_changed_split == 0
    label_map = label_map_in(tmp_path)
    assert (label_map.version, label_map.class_names) == (2, ("cats", "dogs", "kittens"))


def test_merged_class_is_no_weak_point(source: Path, tmp_path: Path) -> None:
    summary = run_ingest(source, tmp_path)
    summary = run_ingest(source, tmp_path, merge_classes={"kittens": "cats"})
    assert not [warning for warning in summary.warnings if "kittens" in warning]


def test_identical_images_are_no_conflict_once_their_classes_are_merged(
    source: Path, tmp_path: Path
) -> None:
    shutil.copy(source / "kittens" / "003.png", source / "cats" / "copy.png")
    apart = run_ingest(source, tmp_path, max_rejected_fraction=0.1)
    merged = run_ingest(source, tmp_path, merge_classes={"kittens": "cats"})
    assert (apart.num_rejected, apart.num_images) == (2, 59)
    assert (merged.num_rejected, merged.num_images) == (0, 60)
