"""Walking class folders."""

import os
import unicodedata
from pathlib import Path

import pytest
from photo_folders import MakePhotos

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.source import display_name, list_source


def names(source: Path, **options: object) -> list[str]:
    return [file.path for file in list_source(str(source), **options).files]


def test_class_is_the_first_folder_and_nested_folders_belong_to_it(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "dogs/small/puppies", count=1)
    listing = list_source(str(source))
    assert listing.class_names == ("cats", "dogs")
    assert [file.path for file in listing.files] == ["cats/000.png", "dogs/small/puppies/000.png"]


@pytest.mark.parametrize(
    "name", ["Thumbs.db", ".DS_Store", "desktop.ini", ".hidden.png", "__MACOSX/a.png", ".git/a.png"]
)
def test_what_systems_leave_behind_is_left_out(make_photos: MakePhotos, name: str) -> None:
    source = make_photos("cats", "dogs", count=1)
    path = source / "cats" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    assert names(source) == ["cats/000.png", "dogs/000.png"]


def test_sidecars_are_left_out_and_other_text_files_are_not(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "dogs", count=1)
    for name in ("000.json", "000.png.xmp", "000.TXT", "notes.txt", "labels.csv"):
        (source / "cats" / name).write_text("x")
    assert names(source) == ["cats/000.png", "cats/labels.csv", "cats/notes.txt", "dogs/000.png"]


@pytest.mark.parametrize("suffix", [".svg", ".jxl", ".eps", ".pdf", ".jfif", ".SVG"])
def test_images_that_cannot_be_read_are_listed_and_own_their_sidecars(
    make_photos: MakePhotos, suffix: str
) -> None:
    source = make_photos("cats", "dogs", count=1)
    for name in (f"logo{suffix}", "logo.json", f"logo{suffix}.xmp"):
        (source / "cats" / name).write_text("x")
    assert names(source) == ["cats/000.png", f"cats/logo{suffix}", "dogs/000.png"]


def test_files_in_the_root_are_ignored_with_a_warning(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "dogs", count=1)
    (source / "README.md").write_text("x")
    listing = list_source(str(source))
    assert listing.ignored == ("README.md",)
    assert listing.warnings == ("1 files outside of class folders are ignored.",)


def test_empty_class_folder_is_no_class(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "dogs", count=1)
    (source / "birds" / "nested").mkdir(parents=True)
    listing = list_source(str(source))
    assert listing.class_names == ("cats", "dogs")
    assert listing.warnings == ("The folder 'birds' is empty: it is not taken for a class.",)


def test_links_are_followed_and_loops_end(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "dogs", count=1)
    (source / "cats" / "again").symlink_to(source / "cats")
    (source / "cats" / "up").symlink_to(source)
    (source / "cats" / "link.png").symlink_to(source / "dogs" / "000.png")
    assert names(source) == ["cats/000.png", "cats/link.png", "dogs/000.png"]


def test_broken_link_and_pipe_are_listed_as_irregular(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "dogs", count=1)
    (source / "cats" / "gone.png").symlink_to(source / "nowhere.png")
    os.mkfifo(source / "cats" / "pipe.png")
    irregular = [file.path for file in list_source(str(source)).files if not file.is_regular]
    assert irregular == ["cats/gone.png", "cats/pipe.png"]


def test_names_in_any_script_and_undecodable_bytes_survive(make_photos: MakePhotos) -> None:
    source = make_photos("Müller & Söhne", "猫 猫", count=1)
    raw = os.fsencode(source) + b"/\xe7\x8c\xab \xe7\x8c\xab/caf\xe9.png"
    with open(raw, "wb") as stream:
        stream.write(b"x")
    listing = list_source(str(source))
    assert listing.class_names == ("Müller & Söhne", "猫 猫")
    assert display_name(listing.files[-1].path) == "猫 猫/caf\\xe9.png"


def test_decomposed_and_composed_names_are_one_class(make_photos: MakePhotos) -> None:
    spellings = [unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")]
    source = make_photos("dogs", *spellings, count=1)
    listing = list_source(str(source))
    assert listing.class_names == (spellings[0], "dogs")
    assert listing.class_sizes[spellings[0]] == 2


def test_digest_depends_on_names_sizes_and_times_only(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "dogs", count=2)
    first = list_source(str(source)).digest
    assert list_source(str(source)).digest == first
    path = source / "cats" / "000.png"
    os.utime(path, ns=(0, 1))
    touched = list_source(str(source)).digest
    path.rename(source / "cats" / "002.png")
    assert len({first, touched, list_source(str(source)).digest}) == 3


def test_run_root_inside_the_source_is_no_class(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "dogs", "slimworks-runs/state", count=1)
    own = str(source / "slimworks-runs" / "state" / "label_map")
    listing = list_source(str(source), own_folders=(own,))
    assert listing.class_names == ("cats", "dogs")
    assert "'slimworks-runs' holds SlimWorks' own files" in listing.warnings[0]


def test_excluded_class_is_left_out(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "dogs", "other", count=1)
    assert names(source, exclude_classes=("other",)) == ["cats/000.png", "dogs/000.png"]


def test_unknown_excluded_class_names_the_nearest(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "dogs", count=1)
    with pytest.raises(ConfigError, match=r"'cat', which is no class folder. Did you mean 'cats'"):
        list_source(str(source), exclude_classes=("cat",))


def test_missing_source_names_the_nearest_and_exits_2(make_photos: MakePhotos) -> None:
    source = make_photos("cats")
    with pytest.raises(ConfigError, match=r"does not exist. Did you mean 'photos'\?") as caught:
        list_source(str(source.with_name("photo")))
    assert caught.value.exit_code == 2


def test_source_that_is_a_file_exits_2(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"x")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        list_source(str(path))


def test_empty_source_exits_3(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is empty. Put the images of each class") as caught:
        list_source(str(tmp_path))
    assert caught.value.exit_code == 3


def test_images_without_class_folders_say_how_to_arrange_them(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"has 1 files but no class folder.*such as .*/cats/1.jpg"):
        list_source(str(tmp_path))


def test_one_class_only_is_an_error(make_photos: MakePhotos) -> None:
    with pytest.raises(DataError, match="one class only, 'cats': a classifier needs at least two"):
        list_source(str(make_photos("cats")))


def test_one_folder_around_the_classes_is_named_as_the_source(make_photos: MakePhotos) -> None:
    source = make_photos("flower_photos/roses", "flower_photos/tulips")
    with pytest.raises(DataError, match=r"give --data '.*/flower_photos'"):
        list_source(str(source))


def test_folders_split_already_are_not_taken_for_classes(make_photos: MakePhotos) -> None:
    source = make_photos("train/cats", "train/dogs", "val/cats", "val/dogs", count=1)
    with pytest.raises(DataError, match=r"split already \(train, val\).*--data .*/train"):
        list_source(str(source))


def test_class_name_with_a_line_break_is_an_error(make_photos: MakePhotos) -> None:
    source = make_photos("cats", "do\ngs", count=1)
    with pytest.raises(DataError, match=r"'do\\ngs' has a control character.*Rename the folder"):
        list_source(str(source))


def test_unreadable_folder_is_named(
    make_photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_photos("cats", "dogs", count=1)
    scandir = os.scandir

    def refuse(folder: str) -> object:  # the permission bits do not stop root, who runs the tests
        if folder.endswith("dogs"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"dogs cannot be read: Permission denied.*chmod u\+rx"):
        list_source(str(source))
