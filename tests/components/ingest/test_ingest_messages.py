"""What ingest tells a user, word for word: the cause and what to type."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from photo_folders import MakePhotos, outputs_in, photo_bytes, run_ingest

from slimworks.components.contracts import LabelMap
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest import ingest as ingest_module
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.ingest import IngestOutputs, ingest
from slimworks.components.ingest.source import list_source, require_class_sizes

GIVE_CLASS_FOLDERS = "Give the folder that holds one folder per class: --data DIR"


def arrange(source: Path) -> str:
    return f"Put the images of each class into a folder of their own, such as {source}/cats/1.jpg."


def refused(source: Path, **options: Any) -> tuple[str, str]:
    """Cause and fix of the DataError that listing the source raises."""
    with pytest.raises(DataError) as caught:
        list_source(str(source), **options)
    return caught.value.cause, caught.value.fix


def test_source_that_is_no_folder(tmp_path: Path) -> None:
    missing, file = tmp_path / "photo", tmp_path / "photos"
    file.write_bytes(b"x")
    for source, cause in (
        (missing, f"The data source {missing} does not exist. Did you mean 'photos'?"),
        (file, f"The data source {file} is a file, not a folder."),
    ):
        with pytest.raises(ConfigError) as caught:
            list_source(str(source))
        assert (caught.value.cause, caught.value.fix) == (cause, GIVE_CLASS_FOLDERS)


def test_source_without_class_folders(tmp_path: Path) -> None:
    assert refused(tmp_path) == (f"The data source {tmp_path} is empty.", arrange(tmp_path))
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert refused(tmp_path) == (
        f"The data source {tmp_path} has 1 files but no class folder with files in it.",
        arrange(tmp_path),
    )


def test_source_with_one_class(make_photos: MakePhotos) -> None:
    source = make_photos("cats", count=1)
    cause = f"{source} holds one class only, 'cats': a classifier needs at least two."
    assert refused(source) == (cause, arrange(source))


def test_source_around_the_class_folders(make_photos: MakePhotos) -> None:
    source = make_photos("cats/black", "cats/white", count=1)
    assert refused(source) == (
        f"{source} holds one class only, 'cats': a classifier needs at least two.",
        f"If the classes are the folders inside it, give --data '{source / 'cats'}'",
    )


def test_source_that_is_split_already(make_photos: MakePhotos) -> None:
    source = make_photos("train/cats", "train/dogs", "val/cats", "val/dogs", count=1)
    assert refused(source) == (
        f"{source} is split already (train, val): these would be taken for classes.",
        f"Give one of them, such as --data {source}/train; the split is made anew.",
    )


def test_class_name_with_a_control_character(make_photos: MakePhotos) -> None:
    assert refused(make_photos("cats", "do\tgs", count=1)) == (
        "The class folder 'do\\tgs' has a control character in its name.",
        "Rename the folder: labels.txt holds one class name a line.",
    )


def test_class_that_is_excluded_and_unknown(make_photos: MakePhotos) -> None:
    with pytest.raises(ConfigError) as caught:
        list_source(str(make_photos("cats", "dogs", count=1)), exclude_classes=("dog",))
    assert caught.value.cause == (
        "data.exclude_classes names 'dog', which is no class folder. Did you mean 'dogs'?"
    )
    assert caught.value.fix == "Known classes: cats, dogs."


def test_folder_that_cannot_be_read(
    make_photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_photos("cats", "dogs", count=1)
    scandir = os.scandir

    def refuse(folder: str) -> object:  # the permission bits do not stop root, who runs the tests
        if folder.endswith("dogs"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    dogs = source / "dogs"
    assert refused(source) == (
        f"{dogs} cannot be read: Permission denied.",
        f"Make it readable: chmod u+rx '{dogs}'",
    )


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
            "(2 more classes are too small).",
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
        "1 images stand under several classes: cats/003.png and dogs/same.png are identical.",
        "Delete the wrong ones, or let them be set aside: --set data.on_conflict=set_aside",
    )


def test_split_that_stays_empty(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs", count=5)
    cause, fix = ingest_refused(source, tmp_path / "a", split_seed=0)
    assert cause == "None of the 10 images falls into the test split."
    assert fix.startswith("Add about ")
    assert " more photos, or split differently: --set data.split_seed=" in fix
    cause, fix = ingest_refused(source, tmp_path / "b", group_regex="(png)")
    assert cause.startswith("None of the 10 images falls into the ")
    assert fix.endswith(" more photos, or use finer groups in data.group_regex")


def test_class_without_an_image_to_train_on(make_photos: MakePhotos, tmp_path: Path) -> None:
    cause, fix = ingest_refused(
        make_photos("cats", "dogs", count=5), tmp_path / "out",
        split_seed=14, eval_fraction=0.3, test_fraction=0.3,
    )  # fmt: skip
    assert cause == "None of the 5 images of the class 'dogs' falls into the train split."
    assert fix.startswith("Add about 5 more photos, or split differently: --set data.split_seed=")


def test_group_regex_that_matches_nothing(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs", count=5)
    assert ingest_refused(source, tmp_path / "out", group_regex="patient") == (
        "data.group_regex 'patient' matches no path, such as 'cats/000.png'.",
        "Correct it: it is searched in the path below the data folder.",
    )


def test_output_folder_that_is_the_source(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "dogs", count=1)
    outputs = IngestOutputs(str(source), str(source / "a"), str(source / "b"))
    with pytest.raises(ConfigError) as caught:
        ingest(str(source), outputs, DataConfig(), LabelMap())
    assert caught.value.cause == f"The output folder {source} is the data source."
    assert caught.value.fix == "Give another one: nothing is ever written beside your photos."


def test_source_that_changed_since_the_run_began(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs", count=5)
    digest = list_source(str(source)).digest
    (source / "cats" / "new.png").write_bytes(photo_bytes(99))
    with pytest.raises(DataError) as caught:
        ingest(
            str(source), outputs_in(tmp_path), DataConfig(), LabelMap(), expected_digest=digest
        )  # fmt: skip
    assert caught.value.cause == (
        f"Files below {source} changed between the start of the run and their ingestion."
    )
    assert caught.value.fix == ("Wait until nothing writes to the data any more, then run again.")


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
    cause, fix = ingest_refused(source, tmp_path / "out")
    assert cause.startswith("cats/")
    assert " more files changed or vanished while it was being ingested." in cause
    assert fix == "Wait until nothing writes to the data any more, then run again."
