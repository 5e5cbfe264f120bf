"""What the driver takes for a change, and what not."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from photo_folders import MakePhotos, outputs_in, photo_bytes

from slimworks.components import files
from slimworks.components.errors import DataError
from slimworks.components.ingest import changes
from slimworks.components.ingest.changes import SourceState, describe_source
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.ingest import IngestSummary, ingest
from slimworks.components.ingest.storage import access


def described(source: Path, output: Path, **settings: Any) -> SourceState:
    return describe_source(str(source), DataConfig(**settings), str(output / "state"))


def ingested(source: Path, output: Path, **settings: Any) -> tuple[SourceState, IngestSummary]:
    """Asks and ingests, as the pipeline does."""
    found = described(source, output, **settings)
    config, state = DataConfig(**settings), str(output / "state")
    return found, ingest(str(source), outputs_in(output), config, state, source_state=found.text)


def is_the_same(source: Path, output: Path, before: SourceState, **settings: Any) -> bool:
    return described(source, output, **settings) == before


def touch_all(source: Path) -> None:
    for path in source.rglob("*.png"):
        os.utime(path, ns=(1, 1))


@pytest.fixture
def source(make_photos: MakePhotos) -> Path:
    return make_photos("cats", "dogs")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the items that are read."""
    names: list[str] = []
    read_item = access.read_item

    def noted(item: Any, max_bytes: int) -> Any:
        names.append(item.name)
        return read_item(item, max_bytes)

    monkeypatch.setattr(access, "read_item", noted)
    return names


def test_few_touched_files_are_read_and_found_to_be_what_they_were(
    source: Path, tmp_path: Path, reads: list[str]
) -> None:
    before, _ = ingested(source, tmp_path)
    os.utime(source / "cats" / "000.png", ns=(1, 1))
    reads.clear()
    assert is_the_same(source, tmp_path, before)
    assert reads == ["cats/000.png"]
    assert is_the_same(source, tmp_path, before)
    assert reads == ["cats/000.png"], "its new time is known"


def test_touched_file_that_was_set_aside_is_no_change_while_the_reason_stands(
    source: Path, tmp_path: Path
) -> None:
    path = source / "cats" / "000.png"
    path.write_bytes(photo_bytes(9_000)[:-20])
    before, summary = ingested(source, tmp_path)
    assert summary.num_rejected == 1
    os.utime(path, ns=(1, 1))
    assert is_the_same(source, tmp_path, before)
    path.write_bytes(b"x" * path.stat().st_size)
    assert not is_the_same(source, tmp_path, before), "it is set aside for another reason"


def test_many_touched_files_are_left_to_ingest(
    source: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = ingested(source, tmp_path)
    touch_all(source)
    reads.clear()
    monkeypatch.setattr(changes, "MOST_FILES_READ", 39)
    assert not is_the_same(source, tmp_path, before)
    assert not reads
    monkeypatch.setattr(changes, "MOST_FILES_READ", 40)
    assert is_the_same(source, tmp_path, before)


def test_touched_files_are_not_read_where_another_is_new(
    source: Path, tmp_path: Path, reads: list[str]
) -> None:
    before, _ = ingested(source, tmp_path)
    touch_all(source)
    (source / "dogs" / "new.png").write_bytes(photo_bytes(9_000))
    reads.clear()
    assert not is_the_same(source, tmp_path, before)
    assert not reads


@pytest.fixture
def out_of_reach(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Paths of files that the system does not let us read."""
    paths: set[str] = set()
    read_regular = files.read_regular

    def refuse(path: str, max_bytes: int) -> Any:
        if path in paths:
            raise PermissionError(13, "Permission denied", path)
        return read_regular(path, max_bytes)

    monkeypatch.setattr(files, "read_regular", refuse)
    return paths


def test_file_that_can_be_read_again_is_a_change(
    source: Path, tmp_path: Path, out_of_reach: set[str]
) -> None:
    out_of_reach.add(str(source / "cats" / "003.png"))
    before, summary = ingested(source, tmp_path)
    assert summary.rejected_by_reason == {"unreadable": 1}
    assert is_the_same(source, tmp_path, before), "what is never readable must not train every run"
    out_of_reach.clear()
    after, summary = ingested(source, tmp_path)
    assert after.text != before.text
    assert summary.num_images == 40
    assert is_the_same(source, tmp_path, after)


def zipped(source: Path) -> Path:
    path = source.parent / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for image in sorted(source.rglob("*.png")):
            archive.write(image, image.relative_to(source))
    return path


def tarred(source: Path) -> Path:
    return Path(shutil.make_archive(str(source.parent / "photos"), "tar", source))


def listed_in_a_manifest(source: Path) -> Path:
    path = source / "photos.csv"
    images = (image.relative_to(source) for image in sorted(source.rglob("*.png")))
    path.write_text("path,class\n" + "".join(f"{image},{image.parent}\n" for image in images))
    return path


@pytest.mark.parametrize("pack", [zipped, tarred, listed_in_a_manifest])
def test_touched_container_is_no_change(source: Path, tmp_path: Path, pack: Any) -> None:
    container = pack(source)
    before, _ = ingested(container, tmp_path)
    assert is_the_same(container, tmp_path, before)
    os.utime(container, ns=(1, 1))
    assert is_the_same(container, tmp_path, before)


def test_container_with_other_bytes_of_the_same_size_is_a_change(
    source: Path, tmp_path: Path
) -> None:
    manifest = listed_in_a_manifest(source)
    before, _ = ingested(manifest, tmp_path)
    text = manifest.read_text()
    manifest.write_text(text.replace("cats/000.png,cats", "cats/000.png,dogs"))
    os.utime(manifest, ns=(1, 1))
    after, summary = ingested(manifest, tmp_path)
    assert after.text != before.text
    assert summary.span == 1
    os.utime(manifest, ns=(2, 2))
    assert is_the_same(manifest, tmp_path, after), "the newer content is known"


@pytest.mark.parametrize("name", ["emus", "big birds"])
def test_files_of_an_excluded_class_are_no_change(
    make_photos: MakePhotos, tmp_path: Path, name: str
) -> None:
    source = make_photos("cats", "dogs", "emus")
    settings: dict[str, Any] = {"exclude_classes": [name], "rename_classes": {"emus": "big birds"}}
    before, summary = ingested(source, tmp_path, **settings)
    assert summary.class_names == ("cats", "dogs")
    (source / "emus" / "new.png").write_bytes(photo_bytes(9_000))
    assert is_the_same(source, tmp_path, before, **settings)
    (source / "cats" / "new.png").write_bytes(photo_bytes(9_001))
    assert not is_the_same(source, tmp_path, before, **settings)


@pytest.mark.parametrize(
    "bounds",
    [
        {"max_rejected_fraction": 0.5},
        {"max_rejected_fraction": 0.05},
        {"min_images_per_class": 2},
        {"min_images_per_class": 19},
        {"on_conflict": "error"},
    ],
    ids=str,
)
def test_bound_that_the_last_ingest_kept_to_is_no_change(
    source: Path, tmp_path: Path, bounds: dict[str, Any]
) -> None:
    (source / "cats" / "000.png").write_bytes(b"")
    before, _ = ingested(source, tmp_path)
    assert is_the_same(source, tmp_path, before, **bounds)


@pytest.mark.parametrize(
    "bounds",
    [{"max_rejected_fraction": 0.01}, {"min_images_per_class": 20}, {"on_conflict": "error"}],
    ids=str,
)
def test_bound_that_the_last_ingest_broke_stops_the_next(
    source: Path, tmp_path: Path, bounds: dict[str, Any]
) -> None:
    (source / "cats" / "000.png").write_bytes(b"")
    shutil.copy(source / "dogs" / "001.png", source / "cats" / "copy.png")
    before, _ = ingested(source, tmp_path)
    found = described(source, tmp_path, **bounds)
    assert found.text != before.text
    assert found.bounds == before.bounds | bounds
    with pytest.raises(DataError):
        ingested(source, tmp_path, **bounds)


def test_setting_that_says_what_is_ingested_is_a_change(source: Path, tmp_path: Path) -> None:
    before, _ = ingested(source, tmp_path)
    assert not is_the_same(source, tmp_path, before, split_seed=1)


def test_lost_state_gives_another_key_for_the_same_files(source: Path, tmp_path: Path) -> None:
    before, _ = ingested(source, tmp_path)
    shutil.rmtree(tmp_path / "state")
    assert not is_the_same(source, tmp_path, before)
