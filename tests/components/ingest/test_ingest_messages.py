"""What ingest tells a user, word for word: the cause and what to type."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from photo_folders import MakePhotos, photo_bytes, run_ingest

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest import ingest as ingest_module
from slimworks.components.ingest.catalogue import open_catalogue
from slimworks.components.ingest.evidence import require_class_sizes
from slimworks.components.ingest.listing import require_outside


@pytest.mark.parametrize(
    ("sizes", "cause"),
    [
        (
            {"cats": 9, "dogs": 1},
            "The class 'dogs' has 1 usable image, fewer than data.min_images_per_class = 5.",
        ),
        (
            {"ants": 3, "bees": 4, "cats": 9, "dogs": 1},
            "The class 'dogs' has 1 usable image, fewer than data.min_images_per_class = 5 "
            "(so have 2 more).",
        ),
    ],
    ids=["one class", "three classes"],
)
def test_class_that_is_too_small(sizes: dict[str, int], cause: str) -> None:
    with pytest.raises(DataError) as caught:
        require_class_sizes(Counter(sizes), 5, "photos")
    assert caught.value.cause == cause
    assert caught.value.fix == (
        "Add 4 or more photos to 'photos/dogs', or leave the class out: "
        "--set 'data.exclude_classes=[\"dogs\"]'"
    )


def ingest_refused(source: Path, output: Path, **settings: Any) -> tuple[str, str]:
    """Cause and fix of the DataError that ingesting the source raises."""
    with pytest.raises(DataError) as caught:
        run_ingest(source, output, **settings)
    return caught.value.cause, caught.value.fix


def test_too_many_files_that_cannot_be_used(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs", count=5)
    (source / "cats" / "empty.jpg").write_bytes(b"")
    assert ingest_refused(source, tmp_path / "out", max_rejected_fraction=0.05) == (
        "1 of 11 files (9.1%) cannot be used: 1 empty. The first is cats/empty.jpg "
        "(the file has zero bytes); data.max_rejected_fraction is 0.05.",
        "Repair or delete them (listed above), or accept it: --set data.max_rejected_fraction=0.1",
    )


def test_class_without_a_usable_image(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs", count=5)
    for path in (source / "cats").iterdir():
        path.write_bytes(b"")
    assert ingest_refused(source, tmp_path / "out", max_rejected_fraction=0.5) == (
        "No image of the class 'cats' can be used: 5 empty.",
        f"Put readable images into '{source / 'cats'}', or leave the class out: "
        "--set 'data.exclude_classes=[\"cats\"]'",
    )


def test_image_under_two_classes(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    shutil.copy(source / "cats" / "003.png", source / "dogs" / "same.png")
    assert ingest_refused(source, tmp_path / "out", on_conflict="error") == (
        "1 image stands under several classes: cats/003.png, dogs/same.png are identical.",
        "Delete the wrong ones, or let them be set aside: --set data.on_conflict=set_aside",
    )


def test_split_that_stays_empty(make_photos: MakePhotos, tmp_path: Path) -> None:
    cause, fix = ingest_refused(
        make_photos("cats", "dogs", count=5), tmp_path / "out", group_regex="(png)"
    )
    assert cause.startswith("None of the 10 images falls into the ")
    assert fix == "Add about 4 more photos, or use finer groups in data.group_regex"


def test_class_without_an_image_to_train_on(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("train/cats", "train/dogs", "test/cats", "test/dogs", "test/emus", count=5)
    cause, fix = ingest_refused(source, tmp_path / "out")
    assert cause == "The class 'emus' has no image in the train split, of 5 images."
    assert fix == "Add about 5 more photos"


def test_group_regex_that_matches_nothing(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs", count=5)
    assert ingest_refused(source, tmp_path / "out", group_regex="patient") == (
        "data.group_regex 'patient' matches no path, such as 'cats/000.png'.",
        "Correct it: it is searched in the path below the data folder.",
    )


@pytest.mark.parametrize("inside", ["", "out", "cats/out"])
def test_output_folder_in_the_source(make_photos: MakePhotos, inside: str) -> None:
    source = make_photos("cats", "dogs", count=1)
    with pytest.raises(ConfigError) as caught:
        require_outside(f"{source}/{inside}", str(source))
    cause = f"The output folder {source}/{inside} lies in the data source {source}."
    assert caught.value.cause == cause
    assert caught.value.fix == "Give another one: nothing is ever written among your photos."


def test_files_that_change_while_they_are_ingested(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_photos("cats", "dogs")
    plan_images = ingest_module.plan_images

    def change_then_plan(*arguments: Any) -> Any:
        for path in (source / "cats").iterdir():
            path.write_bytes(photo_bytes(999))
        return plan_images(*arguments)

    monkeypatch.setattr(ingest_module, "plan_images", change_then_plan)
    cause, _ = ingest_refused(source, tmp_path / "out")
    assert cause == (
        "20 of 40 files (50.0%) cannot be used: 20 changed. The first is cats/000.png (it changed "
        "or vanished while it was being ingested; the next run takes it up); "
        "data.max_rejected_fraction is 0.2."
    )


def test_second_ingest_into_the_same_folder(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    with open_catalogue(tmp_path / "out" / "state"), pytest.raises(ConfigError) as caught:
        run_ingest(source, tmp_path / "out")
    assert caught.value.cause == f"Another ingest is using {tmp_path / 'out' / 'state'}."
    assert caught.value.fix == "Wait for it, or write to another folder."


def test_catalogue_that_is_damaged(make_photos: MakePhotos, tmp_path: Path) -> None:
    path = tmp_path / "out" / "state" / "catalogue.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database" * 1000)
    cause, fix = ingest_refused(make_photos("cats", "dogs"), tmp_path / "out")
    assert cause == f"{path} cannot be used: file is not a database."
    assert fix == (
        f"Restore it from a backup. Or delete it and {path.parent / 'shards'}: then all images are "
        "read again, and splits are made anew."
    )


def test_catalogue_that_is_damaged_further_in(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    run_ingest(source, tmp_path / "out")
    path = tmp_path / "out" / "state" / "catalogue.sqlite"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    cause, _ = ingest_refused(source, tmp_path / "out")
    assert cause == f"{path} cannot be used: database disk image is malformed."


@pytest.mark.parametrize("loss", ["emptied", "deleted"])
def test_catalogue_that_is_lost_makes_no_new_splits(
    make_photos: MakePhotos, tmp_path: Path, loss: str
) -> None:
    source = make_photos("cats", "dogs")
    run_ingest(source, tmp_path / "out")
    path = tmp_path / "out" / "state" / "catalogue.sqlite"
    path.write_bytes(b"")
    if loss == "deleted":
        path.unlink()
    cause, _ = ingest_refused(source, tmp_path / "out")
    assert cause == (f"{path} cannot be used: it is empty or gone, and there are shards beside it.")


def open_and_set(folder: Path, pragma: str) -> None:
    with open_catalogue(folder) as catalogue:
        catalogue.connection.execute(f"PRAGMA {pragma}")
        catalogue.set("key", "x" * 1_000_000)


def test_disk_that_is_full_is_named_with_the_catalogue(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        open_and_set(tmp_path, "max_page_count = 20")
    assert caught.value.filename == str(tmp_path / "catalogue.sqlite")


def test_catalogue_that_may_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(PermissionError) as caught:
        open_and_set(tmp_path, "query_only = ON")
    assert caught.value.filename == str(tmp_path / "catalogue.sqlite")


def test_catalogue_of_a_newer_slimworks(make_photos: MakePhotos, tmp_path: Path) -> None:
    with open_catalogue(tmp_path / "out" / "state") as catalogue:
        catalogue.set("format", 99)
    with pytest.raises(ConfigError) as caught:
        run_ingest(make_photos("cats", "dogs"), tmp_path / "out")
    path = tmp_path / "out" / "state" / "catalogue.sqlite"
    assert caught.value.cause == f"{path} has format 99, this SlimWorks reads 1."
    assert caught.value.fix == "Upgrade SlimWorks, or use another folder."
