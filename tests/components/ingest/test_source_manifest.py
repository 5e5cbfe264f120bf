"""Manifests: CSV, TSV, JSONL and Parquet tables of images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_samples import listed, refused, write_files

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.detect import open_source
from slimworks.components.ingest.sources.items import units_of
from slimworks.components.ingest.sources.manifest_rows import UnusableRowError, locate


def manifest(folder: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_files(tmp_path, "images/1.jpg", "images/2.jpg", "images/3.jpg")


def labels(found: Any) -> dict[str, str]:
    return {item.name: item.class_name for item in found.items}


EXPECTED = {"images/1.jpg": "cats", "images/2.jpg": "dogs"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "path,class\nimages/1.jpg,cats\nimages/2.jpg,dogs\n"),
        ("a.csv", "\ufeffFile Name;Label\r\nimages/1.jpg;cats\r\n\r\nimages/2.jpg;dogs"),
        ("a.csv", '"label","note","file"\n"cats","a, ""b""\nc","images/1.jpg"\ndogs,,images/2.jpg'),
        ("a.tsv", "image_path\tcategory\n images/1.jpg \tcats\nimages/2.jpg\tdogs\n"),
        ("a.CSV", "path,class\n./images/1.jpg,cats\nimages//2.jpg,dogs\n".encode("utf-16")),
        ("a.jsonl", '{"image": "images/1.jpg", "label": "cats", "n": 1}\n\n'
                    '{"label": "dogs", "image": "images/2.jpg", "boxes": [1]}'),
    ],
    ids=["csv", "excel", "quotes", "tsv", "utf-16", "jsonl"],
)  # fmt: skip
def test_each_kind_of_table_is_read(photos: Path, name: str, text: str | bytes) -> None:
    found = listed(manifest(photos, text, name))
    assert labels(found) == EXPECTED
    assert found.source.format == "manifest"
    assert found.warnings == []


def test_parquet_is_read_with_only_the_columns_that_count(photos: Path) -> None:
    table = {
        "path": pa.array(["images/1.jpg", "images/2.jpg"]).dictionary_encode(),
        "label": ["cats", "dogs"],
        "pixels": [b"x" * 100, None],
    }
    pq.write_table(pa.table(table), photos / "a.parquet", row_group_size=1)
    assert labels(listed(photos / "a.parquet")) == EXPECTED


def test_item_is_the_file_with_its_size_and_time(photos: Path) -> None:
    path = photos / "images" / "1.jpg"
    os.utime(path, ns=(0, 9))
    item = listed(manifest(photos, "path,class\nimages/1.jpg,a\nimages/2.jpg,b\n")).items[0]
    assert (item.path, item.size, item.version) == (str(path), path.stat().st_size, "9")


def test_units_are_the_manifest_the_labels_and_the_images(photos: Path) -> None:
    write_files(photos, "labels.txt")
    path = manifest(photos, "path,class\nimages/1.jpg,0\nimages/2.jpg,1\n")
    (photos / "labels.txt").write_text("0:cats\n1:dogs\n")
    source = open_source(str(path), DataConfig(labels_file=str(photos / "labels.txt")))
    assert [unit.name for unit in units_of(source)] == [
        str(path), str(photos / "labels.txt"), "images/1.jpg", "images/2.jpg",
    ]  # fmt: skip


def test_split_group_and_slices_come_along(photos: Path) -> None:
    text = (
        "path,class,split,patient,camera,light\n"
        "images/1.jpg,a,Train,p1,C,day\nimages/2.jpg,b,valid,,D,\nimages/3.jpg,b,,p2,D,dusk\n"
    )
    found = listed(manifest(photos, text), slice_columns=("camera", "light"))
    assert [(item.split, item.group, item.slices) for item in found.items] == [
        ("train", "p1", {"camera": "C", "light": "day"}),
        ("eval", None, {"camera": "D"}),
        (None, "p2", {"camera": "D", "light": "dusk"}),
    ]


def test_configured_columns_win_and_empty_ones_switch_off(photos: Path) -> None:
    text = (
        "file,path,label,species,split,group\n"
        "-,images/1.jpg,0,cats,A,g\n-,images/2.jpg,1,dogs,B,g\n"
    )
    found = listed(
        manifest(photos, text), path_column="path", class_column="species", split_column="",
        group_column="",
    )  # fmt: skip
    assert labels(found) == EXPECTED
    assert {(item.split, item.group) for item in found.items} == {(None, None)}


def test_paths_start_at_image_root(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = manifest(tmp_path_factory.mktemp("elsewhere"), "path,class\n1.jpg,cats\n2.jpg,dogs\n")
    found = listed(path, image_root=str(photos / "images"))
    assert labels(found) == {"1.jpg": "cats", "2.jpg": "dogs"}
    assert all(item.size > 0 for item in found.items)


def test_absolute_paths_below_the_root_have_the_relative_name(photos: Path) -> None:
    text = f"path,class\n{photos}/images/1.jpg,cats\nfile://{photos}/images/2.jpg,dogs\n"
    assert labels(listed(manifest(photos, text))) == EXPECTED


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("a/1.jpg", "/r", ("a/1.jpg", "/r/a/1.jpg")),
        ("../1.jpg", "/r/s", ("/r/1.jpg", "/r/1.jpg")),
        ("/x/1.jpg", "/r", ("/x/1.jpg", "/x/1.jpg")),
        ("1.jpg", "s3://b/r", ("1.jpg", "s3://b/r/1.jpg")),
        ("./a/../1.jpg", "s3://b/r", ("1.jpg", "s3://b/r/1.jpg")),
        ("s3://b/a//1.jpg", "/r", ("s3://b/a//1.jpg", "s3://b/a//1.jpg")),
        ("gs://b/r/1.jpg", "gs://b/r", ("1.jpg", "gs://b/r/1.jpg")),
    ],
)
def test_where_a_path_leads(path: str, root: str, expected: tuple[str, str]) -> None:
    assert locate(path, root) == expected


@pytest.mark.parametrize("path", ["a\0b.jpg", "a\ud800.jpg", "https://x/1.jpg"])
def test_paths_that_no_file_can_have(path: str) -> None:
    with pytest.raises(UnusableRowError):
        locate(path, "/r")


def test_paths_written_on_windows_are_found(photos: Path) -> None:
    found = listed(manifest(photos, "path,class\nimages\\1.jpg,cats\nimages/2.jpg,dogs\n"))
    assert found.items[0].path == str(photos / "images" / "1.jpg")


def test_missing_file_is_an_item_of_unknown_size(photos: Path) -> None:
    item = listed(manifest(photos, "path,class\ngone.jpg,cats\nimages/2.jpg,dogs\n")).items[0]
    assert (item.size, item.version) == (-1, "")


def test_folder_in_the_place_of_a_file_is_irregular(photos: Path) -> None:
    found = listed(manifest(photos, "path,class\nimages,cats\nimages/2.jpg,dogs\n"))
    assert not found.by_name("images").is_regular


def test_same_file_again_counts_once(photos: Path) -> None:
    text = "path,class\nimages/1.jpg,cats\n./images/1.jpg,cats\nimages/2.jpg,dogs\n"
    found = listed(manifest(photos, text))
    assert labels(found) == EXPECTED
    assert found.warnings == [
        "1 row says of a file what an earlier row says (class, group and split): it counts once, "
        "as the earlier row has it."
    ]


def test_same_file_with_other_groups_and_splits_is_an_item_for_each(photos: Path) -> None:
    text = (
        "path,class,group,split\nimages/1.jpg,cats,g1,\nimages/1.jpg,cats,g2,\n"
        "images/1.jpg,cats,g2,test\nimages/2.jpg,dogs,,\nimages/1.jpg,cats,g2,\n"
    )
    found = listed(manifest(photos, text))
    assert [(item.name, item.group, item.split) for item in found.items] == [
        ("images/1.jpg", "g1", None),
        ("images/1.jpg#3", "g2", None),
        ("images/1.jpg#4", "g2", "test"),
        ("images/2.jpg", None, None),
    ]
    assert [warning[:5] for warning in found.warnings] == ["1 row"]


def test_same_file_under_two_classes_is_two_items(photos: Path) -> None:
    text = "path,class\nimages/1.jpg,cats\nimages/2.jpg,dogs\nimages/1.jpg,dogs\n"
    assert labels(listed(manifest(photos, text))) == EXPECTED | {"images/1.jpg#4": "dogs"}


def test_names_stay_unique_when_a_file_is_called_like_a_line(photos: Path) -> None:
    text = "path,class\nimages/1.jpg,a\nimages/1.jpg,b\nimages/1.jpg#3,b\nimages/1.jpg#3,a\n"
    names = listed(manifest(photos, text)).names
    assert len(set(names)) == len(names) == 4


def test_numbers_as_classes_keep_their_order(photos: Path) -> None:
    text = "path,class\nimages/1.jpg,10\nimages/2.jpg,9\nimages/3.jpg,1\n"
    assert listed(manifest(photos, text)).source.declared_classes == ("1", "9", "10")


def test_labels_file_turns_numbers_into_names(photos: Path) -> None:
    (photos / "names.txt").write_text("cats\ndogs\nbirds\n")
    path = manifest(photos, '{"path": "images/1.jpg", "label": 0}\n'
                    '{"path": "images/2.jpg", "label": 1.0}\n', "a.jsonl")  # fmt: skip
    found = listed(path, labels_file=str(photos / "names.txt"))
    assert labels(found) == EXPECTED
    assert found.source.declared_classes == ("cats", "dogs", "birds")


def test_rows_that_cannot_be_used_are_named(photos: Path) -> None:
    text = "path,class,split\nimages/1.jpg,cats,\nimages/2.jpg,dogs,\n,cats,\n1.jpg,,\n"
    text += '1.jpg,a,hold\n1.jpg,a,b,c\n1.jpg,"a\tb",\n'
    found = listed(manifest(photos, text), max_rejected_fraction=0.8)
    assert labels(found) == EXPECTED
    assert found.source.notes.ignored == [f"labels.csv:{line}" for line in (4, 5, 6, 7, 8)]
    assert found.warnings == [
        f"5 of 7 rows of {photos}/labels.csv cannot be used: line 4 has no path; line 5 has no "
        "class; line 6 has the split 'hold' (known: train, training, val, valid, validation, eval, "
        "test, testing)."
    ]


def test_too_many_rows_that_cannot_be_used(photos: Path) -> None:
    text = "path,class\nimages/1.jpg,cats\nimages/2.jpg,\nimages/3.jpg,dogs\n"
    assert refused(manifest(photos, text), DataError) == (
        f"1 of 3 rows of {photos}/labels.csv cannot be used: line 3 has no class. "
        "data.max_rejected_fraction is 0.2.",
        "Correct them, or leave them out: --set data.max_rejected_fraction=0.34",
    )


def test_broken_json_line_is_named(photos: Path) -> None:
    text = '{"path": "images/1.jpg", "label": "a"}\n{"path": "images/2.jpg", "label": "b"}\n{"pa'
    found = listed(manifest(photos, text, "a.jsonl"), max_rejected_fraction=0.5)
    assert "line 3 has no JSON (Unterminated string" in found.warnings[0]


def test_class_that_the_labels_file_lacks_is_named(photos: Path) -> None:
    (photos / "names.txt").write_text("0:a\n1:b\n")
    text = "path,class\nimages/1.jpg,0\nimages/2.jpg,1\nimages/3.jpg,2\n"
    path = manifest(photos, text)
    found = listed(path, labels_file=str(photos / "names.txt"), max_rejected_fraction=0.5)
    assert "line 4 has the class '2', which data.labels_file does not have" in found.warnings[0]


@pytest.mark.parametrize(
    ("name", "text", "cause", "fix"),
    [
        ("a.csv", "", "The manifest {path} is empty.", "Its first line names the columns"),
        ("a.jsonl", "\n", "The manifest {path} is empty.", "Its first line names the columns"),
        ("a.csv", b"path,class\n1.jpg,a\ncaf\xe9.jpg,b\n", "{path} is not UTF-8 in line 3.",
         "Convert it: iconv -f latin1 -t utf-8 '{path}' > new.csv"),
        ("a.csv", 'path,class\n1.jpg,"a\n2.jpg,b\n',
         "{path} cannot be read from line 2 on: unexpected end of data.",
         'Correct the line: a cell with a quote or a comma is quoted, and " inside is "".'),
        ("a.jsonl", '[{"path": "1.jpg"}]\n',
         "{path} has no JSON object in line 1: no JSON object.",
         'Write one object a line, such as {{"path": "1.jpg", "class": "cats"}}.'),
        ("a.jsonl", '{"path": "' + "x" * 2**20,
         "Line 1 of {path} is longer than a million characters.",
         "Write one object a line: jq -c '.[]' makes that of a JSON array."),
        ("a.parquet", b"PAR1 and no more", "{path} cannot be read as Parquet: ",
         "Write or copy the file again: it is damaged, cut short, or something else."),
        ("a.csv", "path,class\n", "The data source {path} is empty.",
         "Name at least two classes in the column 'class', one image a row."),
        ("a.csv", "path,class\n1.jpg,a\n",
         "{path} holds one class only, 'a': a classifier needs at least two.",
         "Name at least two classes in the column 'class', one image a row."),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_read(
    tmp_path: Path, name: str, text: str | bytes, cause: str, fix: str
) -> None:
    path = manifest(tmp_path, text, name)
    found_cause, found_fix = refused(path, DataError)
    assert found_cause.startswith(cause.format(path=path))
    assert found_fix.startswith(fix.format(path=path))


@pytest.mark.parametrize(
    ("header", "settings", "cause", "fix"),
    [
        ("images/1.jpg,cats", {},
         "{path} has no column for the path: its first line names images/1.jpg, cats.",
         "Say which: --set data.path_column=NAME, or name the columns in the first line, such as "
         "path,class."),
        ("file,image_url,class", {},
         "{path} has 2 columns that could hold the path: file, image_url.",
         "Say which: --set data.path_column=file"),
        ("path,class,class", {}, "{path} has 2 columns named 'class'.",
         "Give each column a name of its own in the first line."),
        ("path,species", {"class_column": "specie"},
         "data.class_column names 'specie', which is no column of {path}. Did you mean 'species'?",
         "Its columns: path, species."),
        ("path,class", {"slice_columns": ("camera",)},
         "data.slice_columns names 'camera', which is no column of {path}.",
         "Its columns: path, class."),
    ],
)  # fmt: skip
def test_columns_that_are_not_clear(
    tmp_path: Path, header: str, settings: dict[str, Any], cause: str, fix: str
) -> None:
    path = manifest(tmp_path, f"{header}\n1,2,3\n")
    assert refused(path, ConfigError, **settings) == (cause.format(path=path), fix)


def test_parquet_with_the_pictures_inside(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": b"x", "path": "1.jpg"}], "label": [0]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert refused(tmp_path / "a.parquet", ConfigError) == (
        f"The column 'image' of {tmp_path}/a.parquet holds bytes or structures, no paths.",
        "Write the pictures to files and name these, or say which column has paths: "
        "--set data.path_column=NAME",
    )


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "The labels file {path} names no class."),
        ("0:a\n0:b\n", "The labels file {path} has the index 0 twice."),
        ("a\nb\na\n", "The labels file {path} has the name 'a' twice."),
        ("0:a\n1:\n", "The labels file {path} has an index without a name."),
        (b"caf\xe9\n", "The labels file {path} is not UTF-8."),
    ],
)
def test_labels_files_that_cannot_be_used(photos: Path, text: str | bytes, cause: str) -> None:
    path = manifest(photos, "path,class\nimages/1.jpg,0\n")
    names = manifest(photos, text, "names.txt")
    found, fix = refused(path, DataError, labels_file=str(names))
    assert found == cause.format(path=names)
    assert fix.startswith(("Write one class a line, such as 0:cats", "Convert it: iconv"))


def test_labels_file_that_is_not_there(photos: Path) -> None:
    path = manifest(photos, "path,class\nimages/1.jpg,0\n")
    assert refused(path, ConfigError, labels_file="/nowhere.txt") == (
        "The labels file /nowhere.txt does not exist.",
        "Correct it: --set data.labels_file=FILE",
    )
