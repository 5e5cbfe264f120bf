"""Classes of single images that people corrected."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from photo_folders import MakePhotos, run_ingest
from test_source_changes import described, ingested

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.examples import reading
from slimworks.components.labels.corrections import (
    Correction,
    as_cell,
    of_cell,
    read_accepted,
    read_corrections,
    write_corrections,
)


@pytest.fixture
def source(make_photos: MakePhotos) -> Path:
    return make_photos("cats", "dogs")


def image_id(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def correct(path: Path, corrections: Path, class_name: str) -> str:
    one = Correction(image_id(path), class_name, path.name, path.parent.name)
    known = read_corrections(corrections) if corrections.exists() else {}
    write_corrections(corrections, {**known, one.image_id: one})
    return str(corrections)


def classes_and_splits(output: Path) -> dict[str, tuple[bytes, str]]:
    return {
        bytes(example[contracts.IMAGE_ID]).decode(): (bytes(example[contracts.CLASS_NAME]), split)
        for split in contracts.SPLITS
        for example in reading.iterate_examples(output / "examples", split)
    }


def test_a_corrected_image_changes_its_class_and_keeps_its_split(
    source: Path, tmp_path: Path
) -> None:
    run_ingest(source, tmp_path / "out")
    before = classes_and_splits(tmp_path / "out")
    photo = source / "cats" / "003.png"
    content = photo.read_bytes()
    corrections = correct(photo, tmp_path / "corrections.csv", "dogs")
    summary = run_ingest(source, tmp_path / "out", corrections=corrections)
    after = classes_and_splits(tmp_path / "out")
    assert after.pop(image_id(photo)) == (b"dogs", before.pop(image_id(photo))[1])
    assert after == before
    assert (summary.num_corrected, summary.num_changed_split, summary.num_images) == (1, 0, 40)
    assert photo.read_bytes() == content, "the user's file is where and what it was"
    written = files.read_json(tmp_path / "out/report" / contracts.SUMMARY_FILE)
    assert written["num_corrected"] == 1


def test_without_the_corrections_the_class_is_what_the_folder_says(
    source: Path, tmp_path: Path
) -> None:
    photo = source / "cats" / "003.png"
    corrections = correct(photo, tmp_path / "corrections.csv", "dogs")
    run_ingest(source, tmp_path / "out", corrections=corrections)
    assert run_ingest(source, tmp_path / "out").num_corrected == 0
    assert classes_and_splits(tmp_path / "out")[image_id(photo)][0] == b"cats"


def test_a_correction_settles_identical_files_of_two_classes(source: Path, tmp_path: Path) -> None:
    photo = source / "cats" / "003.png"
    (source / "dogs" / "copy.png").write_bytes(photo.read_bytes())
    assert run_ingest(source, tmp_path / "out").num_conflicts == 1
    corrections = correct(photo, tmp_path / "corrections.csv", "dogs")
    summary = run_ingest(source, tmp_path / "out", corrections=corrections)
    assert (summary.num_conflicts, summary.num_images) == (0, 40)
    assert classes_and_splits(tmp_path / "out")[image_id(photo)][0] == b"dogs"


def test_another_content_of_the_corrections_file_is_a_change(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    corrections = correct(source / "cats" / "003.png", path, "dogs")
    found, _ = ingested(source, tmp_path / "out", corrections=corrections)
    assert described(source, tmp_path / "out", corrections=corrections) == found
    correct(source / "cats" / "004.png", path, "dogs")
    assert described(source, tmp_path / "out", corrections=corrections) != found


def test_renamed_classes_are_known_by_both_names(source: Path, tmp_path: Path) -> None:
    for name in ("dogs", "hounds"):
        corrections = correct(source / "cats" / "003.png", tmp_path / f"{name}.csv", name)
        summary = run_ingest(
            source, tmp_path / name, corrections=corrections, rename_classes={"dogs": "hounds"}
        )
        assert summary.num_corrected == 1
        assert sum(split["hounds"] for split in summary.images_by_split.values()) == 21


def test_corrections_of_images_that_are_gone_are_a_warning(source: Path, tmp_path: Path) -> None:
    gone = source / "cats" / "003.png"
    corrections = correct(gone, tmp_path / "corrections.csv", "dogs")
    gone.unlink()
    summary = run_ingest(source, tmp_path / "out", corrections=corrections)
    assert summary.num_corrected == 0
    assert "1 of the 1 images of data.corrections are not in the data." in summary.warnings


def test_unknown_class_is_named_with_the_nearest(source: Path, tmp_path: Path) -> None:
    corrections = correct(source / "cats" / "003.png", tmp_path / "corrections.csv", "dog")
    with pytest.raises(ConfigError, match=r"'dog', which the data does not have. Did you mean 'd"):
        run_ingest(source, tmp_path / "out", corrections=corrections)


def test_missing_file_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.csv cannot be read: No such file or directory"):
        run_ingest(source, tmp_path / "out", corrections=str(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,class\n", "has no column 'image_id'; its first line is 'id,class'"),
        ("image_id,class_name\nzz,cats\n", "line 2: 'zz' is no image id"),
        (f"image_id,class_name\n{'a' * 64},\n", "line 2: the class name '' is empty"),
        (
            f"image_id,class_name\n{'a' * 64},cats\n{'a' * 64},dogs\n",
            "line 3: image aaaaaaaaaaaa is 'cats' in an earlier line and 'dogs' here",
        ),
    ],
)
def test_lines_that_are_no_corrections_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.csv").write_text(text, "utf-8")
    with pytest.raises(DataError, match=message):
        read_corrections(tmp_path / "c.csv")


def test_accept_takes_yes_in_many_words_and_nothing_else(tmp_path: Path) -> None:
    header = "image_id,filename,given_class,suggested_class,confidence,accept\n"
    words = ["x", "X", " yes ", "1", "true", "", "no", "0"]
    lines = [f"{n:064x},f,a,b,0.9,{word}\n" for n, word in enumerate(words)]
    (tmp_path / "l.csv").write_text(header + "".join(lines), "utf-8")
    assert [int(one.image_id, 16) for one in read_accepted(tmp_path / "l.csv")] == [0, 1, 2, 3, 4]
    (tmp_path / "l.csv").write_text(header + f"{1:064x},f,a,b,0.9,roses\n", "utf-8")
    with pytest.raises(DataError, match="line 2: accept is 'roses', expected x"):
        read_accepted(tmp_path / "l.csv")


def test_a_spreadsheets_semicolons_and_byte_order_mark_are_read(tmp_path: Path) -> None:
    text = f"\ufeffimage_id;suggested_class;accept\r\n{'a' * 64};dogs;x\r\n"
    (tmp_path / "l.csv").write_bytes(text.encode("utf-8"))
    assert read_accepted(tmp_path / "l.csv") == [Correction("a" * 64, "dogs")]


@pytest.mark.parametrize("text", ["=1+1", "'quoted", "-a", "plain", "", "'=x", "@b", "+c"])
def test_cells_come_back_as_they_were(text: str) -> None:
    assert of_cell(as_cell(text)) == text
    assert not as_cell(text).startswith(("=", "+", "-", "@"))
