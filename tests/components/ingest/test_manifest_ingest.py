"""Manifests through the whole ingest: what several rows of one file come to."""

from __future__ import annotations

from pathlib import Path

import pytest
from photo_folders import MakePhotos, run_ingest

from slimworks.components import contracts
from slimworks.components.examples.reading import iterate_examples

PAIRS = 20


def splits_by_name(output: Path) -> dict[str, str]:
    return {
        example[contracts.IMAGE_FILENAME].decode(): split
        for split in contracts.SPLITS
        for example in iterate_examples(output / "examples", split)
    }


@pytest.fixture
def source(make_photos: MakePhotos) -> Path:
    return make_photos("cats", "dogs", count=2 * PAIRS)


def manifest(source: Path, header: str, *rows: str) -> Path:
    """A manifest with these rows, and every other file once."""
    named = {row.partition(",")[0] for row in rows}
    paths = [str(path.relative_to(source)) for path in sorted(source.rglob("*.png"))]
    rest = [f"{path},{path.partition('/')[0]}," for path in paths if path not in named]
    path = source / "photos.csv"
    path.write_text("\n".join([header, *rows, *rest]) + "\n")
    return path


def test_every_group_of_a_file_counts(source: Path, tmp_path: Path) -> None:
    rows = []
    for number in range(PAIRS):
        one, other = f"cats/{number:03d}.png", f"cats/{PAIRS + number:03d}.png"
        rows += [f"{one},cats,a{number}", f"{one},cats,b{number}", f"{other},cats,b{number}"]
    summary = run_ingest(manifest(source, "path,class,group", *rows), tmp_path)
    splits = splits_by_name(tmp_path)
    assert summary.num_images == 4 * PAIRS
    assert summary.groups_in_several_splits == 0
    assert set(splits.values()) == set(contracts.SPLITS)
    for number in range(PAIRS):
        assert splits[f"cats/{number:03d}.png"] == splits[f"cats/{PAIRS + number:03d}.png"]


@pytest.mark.parametrize("words", [("train", "test"), ("test", "train")])
def test_most_precious_of_several_splits_wins(
    source: Path, tmp_path: Path, words: tuple[str, str]
) -> None:
    rows = [f"cats/000.png,cats,{word}" for word in words]
    summary = run_ingest(manifest(source, "path,class,split", *rows), tmp_path)
    found = [split for name, split in splits_by_name(tmp_path).items() if "cats/000.png" in name]
    assert found == ["test"]
    assert any("Your splits leak: 1 image" in warning for warning in summary.warnings)


def test_file_under_two_classes_is_a_conflict_whatever_its_groups(
    source: Path, tmp_path: Path
) -> None:
    rows = ["cats/000.png,cats,a", "cats/000.png,dogs,b"]
    summary = run_ingest(manifest(source, "path,class,group", *rows), tmp_path)
    assert summary.rejected_by_reason == {"label_conflict": 2}
