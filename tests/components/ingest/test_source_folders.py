"""Class folders and split folders: which files belong to which class, and what is left out."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from source_samples import listed, refused, write_files

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.detect import open_source
from slimworks.components.ingest.sources.items import WHOLE_FILE, display_name, units_of


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_files(tmp_path / "pets", "cats/0.png", "dogs/0.png")


def arrange(source: Path) -> str:
    return f"Put the images of each class into a folder of their own, such as {source}/cats/1.jpg."


def test_class_is_the_first_folder_and_nested_folders_belong_to_it(tmp_path: Path) -> None:
    found = listed(write_files(tmp_path, "cats/0.png", "dogs/small/puppies/1.png"))
    assert [(item.name, item.class_name) for item in found.items] == [
        ("cats/0.png", "cats"),
        ("dogs/small/puppies/1.png", "dogs"),
    ]
    assert found.source.format == "folders"


def test_item_tells_path_size_and_time_of_change(pets: Path) -> None:
    os.utime(pets / "cats" / "0.png", ns=(5, 7))
    item = listed(pets).by_name("cats/0.png")
    assert (item.path, item.kind, item.key) == (str(pets / "cats" / "0.png"), WHOLE_FILE, "")
    assert (item.size, item.version, item.is_regular) == (10, "7", True)


def test_units_are_the_images(pets: Path) -> None:
    source = open_source(str(pets), DataConfig())
    units = {(unit.name, unit.size, unit.version) for unit in units_of(source)}
    assert units == {(item.name, item.size, item.version) for item in source.items()}


@pytest.mark.parametrize(
    "name", ["Thumbs.db", ".DS_Store", "desktop.ini", ".hidden.png", "__MACOSX/a.png", ".git/a.png"]
)
def test_what_systems_leave_behind_is_left_out(pets: Path, name: str) -> None:
    assert listed(write_files(pets, f"cats/{name}")).names == ["cats/0.png", "dogs/0.png"]


def test_sidecars_are_left_out_and_other_text_files_are_not(pets: Path) -> None:
    sidecars = ("0.json", "0.png.xmp", "0.TXT")
    write_files(pets / "cats", *sidecars, "notes.txt", "labels.csv", "0.xml/1.png")
    assert listed(pets).names == [
        "cats/0.png", "cats/0.xml/1.png", "cats/labels.csv", "cats/notes.txt", "dogs/0.png",
    ]  # fmt: skip


def test_sidecars_are_told_by_images_that_come_in_another_block(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slimworks.components.ingest.sources.names._MAX_WAITING", 2)
    photos = [f"{number}.jpg" for number in range(9)]
    write_files(pets / "cats", *photos, *(f"{name}.json" for name in photos), "a.json", "b.json")
    expected = {f"cats/{name}" for name in (*photos, "a.json", "b.json")}
    assert set(listed(pets).names) == expected | {"cats/0.png", "dogs/0.png"}


@pytest.mark.parametrize("suffix", [".svg", ".jxl", ".eps", ".pdf", ".jfif", ".SVG"])
def test_images_that_cannot_be_read_are_listed_and_own_their_sidecars(
    pets: Path, suffix: str
) -> None:
    write_files(pets / "cats", f"logo{suffix}", "logo.json", f"logo{suffix}.xmp")
    assert listed(pets).names == ["cats/0.png", f"cats/logo{suffix}", "dogs/0.png"]


def test_files_in_the_root_are_ignored_with_a_warning(pets: Path) -> None:
    found = listed(write_files(pets, "README.md"))
    assert found.source.notes.ignored == ["README.md"]
    assert found.warnings == ["1 file outside of class folders is ignored."]


def test_a_second_listing_notes_nothing_twice(pets: Path) -> None:
    source = open_source(str(write_files(pets, "README.md")), DataConfig())
    for _ in range(2):
        list(units_of(source))
    assert (source.notes.num_ignored, len(source.notes.warnings)) == (1, 1)


def test_empty_class_folder_is_no_class(pets: Path) -> None:
    found = listed(write_files(pets, "birds/nested/"))
    assert found.classes == ["cats", "dogs"]
    assert found.warnings == ["The folder 'birds' is empty: it is not taken for a class."]


def test_links_are_followed_and_loops_end(pets: Path) -> None:
    (pets / "cats" / "again").symlink_to(pets / "cats")
    (pets / "cats" / "up").symlink_to(pets)
    (pets / "cats" / "root").symlink_to(pets.parent)
    (pets / "cats" / "itself").symlink_to(pets / "cats" / "itself")
    (pets / "cats" / "link.png").symlink_to(pets / "dogs" / "0.png")
    (pets / "cats" / "more").symlink_to(write_files(pets.parent / "elsewhere", "1.png"))
    assert listed(pets).names == [
        "cats/0.png", "cats/itself", "cats/link.png", "cats/more/1.png", "dogs/0.png",
    ]  # fmt: skip


def test_folders_that_link_to_each_other_end(pets: Path) -> None:
    (pets / "cats" / "to").symlink_to(pets / "dogs")
    (pets / "dogs" / "fro").symlink_to(pets / "cats")
    assert listed(pets).names == [
        "cats/0.png", "cats/to/0.png", "dogs/0.png", "dogs/fro/0.png",
    ]  # fmt: skip


def test_class_folder_that_links_above_the_source_is_empty(pets: Path) -> None:
    (pets / "root").symlink_to("/")
    assert listed(pets).warnings == ["The folder 'root' is empty: it is not taken for a class."]


def test_broken_link_and_pipe_are_listed_as_irregular(pets: Path) -> None:
    (pets / "cats" / "gone.png").symlink_to(pets / "nowhere.png")
    os.mkfifo(pets / "cats" / "pipe.png")
    irregular = sorted(item.name for item in listed(pets).items if not item.is_regular)
    assert irregular == ["cats/gone.png", "cats/pipe.png"]


def test_names_in_any_script_and_undecodable_bytes_survive(tmp_path: Path) -> None:
    write_files(tmp_path, "Müller & Söhne/0.png", "猫 猫/caf\udce9.png")
    found = listed(tmp_path)
    assert found.classes == ["Müller & Söhne", "猫 猫"]
    assert [display_name(name) for name in found.names] == [
        "Müller & Söhne/0.png", "猫 猫/caf\\xe9.png",
    ]  # fmt: skip


def test_class_folder_with_undecodable_bytes_gets_a_printable_name(tmp_path: Path) -> None:
    found = listed(write_files(tmp_path, "caf\udce9/0.png", "tea/0.png"))
    assert found.classes == ["caf\\xe9", "tea"]


def test_decomposed_and_composed_names_are_one_class(tmp_path: Path) -> None:
    spellings = [unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")]
    found = listed(write_files(tmp_path, "dogs/0.png", *(f"{name}/0.png" for name in spellings)))
    assert found.classes == [spellings[0], "dogs"]
    assert len(found.items) == 3


def test_run_root_inside_the_source_is_no_class(pets: Path) -> None:
    write_files(pets, "slimworks-runs/state/0.png")
    found = listed(pets, own_folders=(str(pets / "slimworks-runs" / "state" / "label_map"),))
    assert found.classes == ["cats", "dogs"]
    assert "'slimworks-runs' holds SlimWorks' own files" in found.warnings[0]


def test_empty_source(tmp_path: Path) -> None:
    assert refused(tmp_path, DataError) == (
        f"The data source {tmp_path} is empty.",
        arrange(tmp_path),
    )


def test_images_without_class_folders(tmp_path: Path) -> None:
    assert refused(write_files(tmp_path, "a.jpg"), DataError) == (
        f"The data source {tmp_path} has 1 file but no class folder with files in it.",
        arrange(tmp_path),
    )


def test_one_class_only(tmp_path: Path) -> None:
    assert refused(write_files(tmp_path, "cats/0.png"), DataError) == (
        f"{tmp_path} holds one class only, 'cats': a classifier needs at least two.",
        "Add a folder with the images of another class beside 'cats'.",
    )


def test_one_folder_around_the_classes(tmp_path: Path) -> None:
    write_files(tmp_path, "flower_photos/roses/0.png", "flower_photos/tulips/0.png")
    assert refused(tmp_path, DataError) == (
        f"{tmp_path} holds one class only, 'flower_photos': a classifier needs at least two.",
        "If the classes are the folders inside it, give --data "
        f"'{tmp_path / 'flower_photos'}'",
    )  # fmt: skip


@pytest.mark.parametrize("letter", ["\t", "\n", "\u2028", "\x85"])
def test_class_name_that_would_break_the_labels_file(tmp_path: Path, letter: str) -> None:
    name = f"do{letter}gs"
    assert refused(write_files(tmp_path, "cats/0.png", f"{name}/0.png"), DataError) == (
        f"The class folder {name!r} has a control character in its name.",
        "Rename the folder: labels.txt holds one class name a line.",
    )


def test_folder_that_cannot_be_read(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refuse(folder: str) -> object:  # the permission bits do not stop root, who runs the tests
        if folder.endswith("dogs"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    dogs = pets / "dogs"
    assert refused(pets, DataError) == (
        f"{dogs} cannot be read: Permission denied.",
        f"Make it readable: chmod u+rx '{dogs}'",
    )


def test_a_hundred_folders_inside_each_other_are_walked(pets: Path) -> None:
    deep = "/".join(["d"] * 400)
    assert f"cats/{deep}/0.png" in listed(write_files(pets, f"cats/{deep}/0.png")).names


# --- Split folders ---------------------------------------------------------------------------


def test_split_folders_give_each_image_its_split(tmp_path: Path) -> None:
    for folder in ("Training", "validation", "TEST"):
        write_files(tmp_path, f"{folder}/cats/0.png", f"{folder}/dogs/0.png")
    found = listed(tmp_path)
    assert found.source.format == "split_folders"
    assert {(item.name.split("/")[0], item.split) for item in found.items} == {
        ("Training", "train"), ("validation", "eval"), ("TEST", "test"),
    }  # fmt: skip
    assert found.classes == ["cats", "dogs"]


def test_split_folders_may_lack_splits(tmp_path: Path) -> None:
    found = listed(write_files(tmp_path, "train/cats/0.png", "train/dogs/0.png"))
    assert {item.split for item in found.items} == {"train"}


def test_class_that_a_split_lacks_is_a_warning(tmp_path: Path) -> None:
    write_files(tmp_path, "train/cats/0.png", "train/dogs/0.png", "test/cats/0.png")
    assert listed(tmp_path).warnings == ["The test folder has no images of: dogs."]


def test_files_beside_the_class_folders_of_a_split_are_ignored(tmp_path: Path) -> None:
    write_files(tmp_path, "train/cats/0.png", "train/dogs/0.png", "train/list.txt", "a.txt")
    assert sorted(listed(tmp_path).source.notes.ignored) == ["a.txt", "train/list.txt"]


def test_split_folders_with_others_beside_them(tmp_path: Path) -> None:
    write_files(tmp_path, "train/cats/0.png", "test/cats/0.png", "extra/cats/0.png")
    assert refused(tmp_path, ConfigError) == (
        f"{tmp_path} holds test, train beside extra: they could be splits or classes.",
        "Take all for classes with --set data.format=folders, or move the others elsewhere and "
        "keep the splits.",
    )
    assert listed(tmp_path, format="folders").classes == ["extra", "test", "train"]


def test_split_folders_that_are_asked_for_have_no_others_beside_them(tmp_path: Path) -> None:
    write_files(tmp_path, "train/cats/0.png", "extra/cats/0.png")
    cause, fix = refused(tmp_path, ConfigError, format="split_folders")
    assert cause == (
        f"{tmp_path} holds the folder 'extra', which is no split (known: train, training, val, "
        "valid, validation, eval, test, testing)."
    )
    assert fix == "Move or rename it, or take every folder for a class: --set data.format=folders"


def test_split_folders_without_class_folders(tmp_path: Path) -> None:
    write_files(tmp_path, "train/0.png", "test/0.png")
    assert refused(tmp_path, ConfigError) == (
        f"{tmp_path} holds test, train, which hold no class folders: they could be splits or "
        "classes.",
        f"Put class folders into them, such as {tmp_path}/test/cats, or take them for classes: "
        "--set data.format=folders",
    )
    assert listed(tmp_path, format="folders").classes == ["test", "train"]


def test_run_root_inside_a_split_folder_is_no_class(tmp_path: Path) -> None:
    write_files(tmp_path, "train/cats/0.png", "train/dogs/0.png", "train/runs/0.png")
    assert listed(tmp_path, own_folders=(str(tmp_path / "train" / "runs"),)).classes == [
        "cats", "dogs",
    ]  # fmt: skip
