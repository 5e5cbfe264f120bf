"""Classes that are left out, merged or alone, before an image is opened."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from photo_folders import MakePhotos, run_ingest

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.listing import check_source


@pytest.fixture
def source(make_photos: MakePhotos) -> Path:
    return make_photos("cats", "dogs", "kittens")


def check(source: Path, output: Path, **settings: Any) -> None:
    """What `slimworks run` looks at first."""
    check_source(str(source), DataConfig(**settings), (str(output / "state"),))


def refused(source: Path, output: Path, **settings: Any) -> str:
    """Cause that the early check and the ingest agree on."""
    with pytest.raises(DataError) as early:
        check(source, output, **settings)
    with pytest.raises(DataError) as late:
        run_ingest(source, output, **settings)
    assert early.value.cause == late.value.cause
    assert late.value.fix == "Add images of another class."
    return late.value.cause


def test_class_is_left_out_however_its_letters_are_written(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source = make_photos("cats", "dogs", unicodedata.normalize("NFC", "Méduse"))
    settings = {"exclude_classes": [unicodedata.normalize("NFD", "Méduse")]}
    check(source, tmp_path, **settings)
    assert run_ingest(source, tmp_path, **settings).class_names == ("cats", "dogs")


@pytest.mark.parametrize("excluded", ["kittens", "kitties"])
def test_renamed_class_is_left_out_by_either_name(
    source: Path, tmp_path: Path, excluded: str
) -> None:
    settings = {"rename_classes": {"kittens": "kitties"}, "exclude_classes": [excluded]}
    check(source, tmp_path, **settings)
    assert run_ingest(source, tmp_path, **settings).class_names == ("cats", "dogs")


@pytest.mark.parametrize("is_folder_renamed", [True, False])
@pytest.mark.parametrize("excluded", ["kittens", "kitties"])
def test_class_that_was_renamed_once_is_left_out_by_either_name(
    source: Path, tmp_path: Path, excluded: str, is_folder_renamed: bool
) -> None:
    run_ingest(source, tmp_path)
    run_ingest(source, tmp_path, rename_classes={"kittens": "kitties"})
    if is_folder_renamed:
        shutil.move(source / "kittens", source / "kitties")
    check(source, tmp_path, exclude_classes=[excluded])
    assert run_ingest(source, tmp_path, exclude_classes=[excluded]).num_images == 40


def test_merged_class_can_be_left_out_alone(source: Path, tmp_path: Path) -> None:
    run_ingest(source, tmp_path)
    run_ingest(source, tmp_path, merge_classes={"kittens": "cats"})
    summary = run_ingest(source, tmp_path, exclude_classes=["kittens"])
    assert summary.num_images == 40


def test_excluded_class_that_is_unknown(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check(source, tmp_path, exclude_classes=["kitens"])
    assert caught.value.cause == (
        "data.exclude_classes names 'kitens', which is no class. Did you mean 'kittens'?"
    )
    assert caught.value.fix == "Known classes: cats, dogs, kittens."


def test_one_class_that_is_left_by_renames_and_merges(source: Path, tmp_path: Path) -> None:
    cause = refused(
        source,
        tmp_path,
        rename_classes={"kittens": "kitty"},
        merge_classes={"dogs": "cats", "kitty": "cats"},
    )
    assert cause == (
        f"{source} holds one class only, 'cats', once 'cats', 'dogs', 'kittens' are one: a "
        "classifier needs at least two."
    )


def test_one_class_that_is_left_by_an_earlier_merge(source: Path, tmp_path: Path) -> None:
    run_ingest(source, tmp_path)
    run_ingest(source, tmp_path, merge_classes={"kittens": "cats"})
    shutil.rmtree(source / "dogs")
    assert refused(source, tmp_path).startswith(f"{source} holds one class only, 'cats', once ")


def test_one_class_that_is_left_by_an_exclusion(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    assert refused(source, tmp_path, exclude_classes=["cats"]) == (
        f"{source} holds one class only, 'dogs': a classifier needs at least two."
    )


def test_small_folder_counts_with_the_class_that_it_was_merged_into(
    source: Path, tmp_path: Path
) -> None:
    run_ingest(source, tmp_path)
    run_ingest(source, tmp_path, merge_classes={"kittens": "cats"})
    for path in sorted((source / "kittens").iterdir())[2:]:
        path.unlink()
    check(source, tmp_path)
    assert run_ingest(source, tmp_path).num_images == 42


def test_merge_is_remembered_where_only_the_label_map_was_kept(
    source: Path, tmp_path: Path
) -> None:
    run_ingest(source, tmp_path)
    run_ingest(source, tmp_path, merge_classes={"kittens": "cats"})
    (tmp_path / "state" / "catalogue.sqlite").unlink()
    shutil.rmtree(tmp_path / "state" / "shards")
    for path in sorted((source / "kittens").iterdir())[2:]:
        path.unlink()
    check(source, tmp_path)
    assert run_ingest(source, tmp_path).num_images == 42


def test_merge_that_is_declared_now_counts_too(source: Path, tmp_path: Path) -> None:
    for path in sorted((source / "kittens").iterdir())[2:]:
        path.unlink()
    with pytest.raises(DataError, match=r"The class 'kittens' has 2 usable images, fewer than"):
        check(source, tmp_path)
    check(source, tmp_path, merge_classes={"kittens": "cats"})
