"""What a finished ingest tells besides its numbers, and what is worth stopping for."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from near_copies import scene
from photo_folders import MakePhotos, photo_bytes, run_ingest

from slimworks.components.errors import DataError


def leaks(warnings: tuple[str, ...]) -> list[str]:
    return [warning for warning in warnings if warning.startswith("Your splits leak")]


def write_scene(path: Path, seed: int, quality: int = 95) -> None:
    stream = io.BytesIO()
    scene(seed).save(stream, "JPEG", quality=quality)
    path.write_bytes(stream.getvalue())


def test_window_that_leaves_a_class_nothing(make_photos: MakePhotos, tmp_path: Path) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    for number in range(20):
        (source / "cats" / f"new{number}.png").write_bytes(photo_bytes(9_000 + number))
    with pytest.raises(DataError) as caught:
        run_ingest(source, output, window=1)
    assert caught.value.cause == (
        "data.window = 1 leaves no image of the class 'dogs': its newest is of span 1."
    )
    assert caught.value.fix == (
        "Widen it (--set data.window=2), or leave the class out: "
        "--set 'data.exclude_classes=[\"dogs\"]'"
    )
    assert run_ingest(source, output, window=2).num_images == 60


def test_another_source_than_before(make_photos: MakePhotos, tmp_path: Path) -> None:
    first = make_photos("cats", "dogs", count=10)
    other = make_photos("cats", "dogs", folder="other")
    for path in other.glob("*/*"):
        path.rename(path.with_stem(f"other-{path.stem}"))
    run_ingest(first, tmp_path / "out")
    warning = (
        f"{other} has none of the 20 files that were ingested here before, from {first}: they all "
        "leave. Was another output meant?"
    )
    assert warning in run_ingest(other, tmp_path / "out").warnings
    assert warning not in run_ingest(other, tmp_path / "out").warnings


def test_source_that_was_moved(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    run_ingest(source, tmp_path / "out")
    source.rename(tmp_path / "moved")
    summary = run_ingest(tmp_path / "moved", tmp_path / "out")
    assert not [warning for warning in summary.warnings if "another output" in warning]
    assert summary.num_unchanged_files == summary.num_files


def test_users_splits_that_share_an_image(make_photos: MakePhotos, tmp_path: Path) -> None:
    folders = [f"{split}/{name}" for split in ("train", "test") for name in ("cats", "dogs")]
    source = make_photos(*folders)
    assert leaks(run_ingest(source, tmp_path / "out").warnings) == []
    shutil.copy(source / "test" / "cats" / "001.png", source / "train" / "cats" / "same.png")
    assert leaks(run_ingest(source, tmp_path / "out").warnings) == [
        "Your splits leak: 1 image is in several of them; each is used in one only (test before "
        "eval before train)."
    ]


def test_users_splits_that_share_a_picture(make_photos: MakePhotos, tmp_path: Path) -> None:
    folders = [f"{split}/{name}" for split in ("train", "val", "test") for name in ("cats", "dogs")]
    source = make_photos(*folders)
    write_scene(source / "test" / "cats" / "a.jpg", 1)
    write_scene(source / "train" / "cats" / "b.jpg", 1, quality=60)
    summary = run_ingest(source, tmp_path / "out")
    assert summary.rejected_by_reason == {"split_leak": 1}
    assert summary.groups_in_several_splits == 0
    assert leaks(summary.warnings) == [
        "Your splits leak: 1 image is left out, belonging together with images of another split "
        "(split_leak in rejects.jsonl)."
    ]


def test_copies_under_several_classes_are_counted(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    write_scene(source / "cats" / "a.jpg", 1)
    write_scene(source / "dogs" / "b.jpg", 1, quality=60)
    write_scene(source / "dogs" / "c.jpg", 2)
    write_scene(source / "dogs" / "d.jpg", 2, quality=60)
    summary = run_ingest(source, tmp_path / "out")
    assert summary.num_near_duplicate_groups == 2
    assert summary.num_near_duplicate_conflicts == 1


@pytest.mark.parametrize(
    ("folders", "advice"),
    [
        (("cats", "dogs"), "Add photos, or raise data.test_fraction."),
        (("train/cats", "train/dogs", "test/cats", "test/dogs"), "Add photos to it."),
    ],
    ids=["dealt out", "of the user"],
)
def test_few_test_images(
    make_photos: MakePhotos, tmp_path: Path, folders: tuple[str, ...], advice: str
) -> None:
    summary = run_ingest(make_photos(*folders, count=14), tmp_path / "out")
    number = sum(summary.images_by_split["test"].values())
    assert (
        f"The test split has {number} images only: the gate will hardly be able to decide. {advice}"
    ) in summary.warnings


def test_index_of_a_class_survives_the_loss_of_the_catalogue(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    make_photos("cats", "dogs", "bees")
    names = run_ingest(source, output).class_names
    (output / "state" / "catalogue.sqlite").unlink()
    shutil.rmtree(output / "state" / "shards")
    assert run_ingest(source, output).class_names == names == ("cats", "dogs", "bees")
