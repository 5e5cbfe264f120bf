"""What was lost or damaged between two ingests, and that no false result comes of it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photo_folders import MakePhotos, photo_bytes, run_ingest

from slimworks.components import contracts, files
from slimworks.components.contracts import LabelMap
from slimworks.components.errors import DataError
from slimworks.components.examples.reading import iterate_examples
from slimworks.components.ingest import changes, checking, ingest, planning, spans
from slimworks.components.ingest.engine import passes
from slimworks.components.ingest.sources.items import SourceItem
from slimworks.components.ingest.storage import access


def images(output: Path) -> dict[str, bytes]:
    """Encoded images by file name, of all splits."""
    return {
        example[contracts.IMAGE_FILENAME].decode(): example[contracts.IMAGE_ENCODED]
        for split in contracts.SPLITS
        for example in iterate_examples(output / "examples", split)
    }


def raise_interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def ingest_killed_at(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *arguments: Any, **settings: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, name, raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_ingest(*arguments, **settings)


def test_files_of_another_place_are_read_although_they_are_called_and_dated_alike(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    first = make_photos("cats", "dogs")
    second = make_photos("cats", "dogs", folder="second")
    for number, path in enumerate(sorted(second.glob("*/*.png"))):
        twin = first / path.relative_to(second)
        path.write_bytes(photo_bytes(50_000 + number))
        size = max(path.stat().st_size, twin.stat().st_size)
        for file in (path, twin):  # bytes behind the last chunk are no fault of a PNG
            file.write_bytes(file.read_bytes().ljust(size, b"\0"))
            os.utime(file, ns=(10**18, 10**18))
    run_ingest(first, tmp_path / "out")
    summary = run_ingest(second, tmp_path / "out")
    expected = {f"{p.parent.name}/{p.name}": p.read_bytes() for p in second.glob("*/*.png")}
    assert images(tmp_path / "out") == expected
    assert summary.num_unchanged_files == 0


def test_kept_bytes_that_a_power_cut_emptied_are_made_again(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    for number in range(5):
        path = source / "cats" / f"w{number}.ppm"
        path.write_bytes(photo_bytes(700 + number, image_format="PPM"))
    ingest_killed_at(monkeypatch, ingest, "select_images", source, output)
    kept = [path for path in (output / "state" / "work" / "kept").rglob("*") if path.is_file()]
    assert len(kept) == 5
    for path in kept:
        path.write_bytes(b"")
    assert run_ingest(source, output).num_images == 45
    assert all(data.startswith(b"\x89PNG") for data in images(output).values())


def test_result_of_a_task_that_a_power_cut_tore_is_made_again(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = make_photos("cats", "dogs", count=100), tmp_path / "out"
    ingest_killed_at(monkeypatch, checking, "absorb_outcomes", source, output)
    # Its own absorption of leftovers came first: nothing was there yet.
    done = sorted((output / "state" / "work" / checking.CHECK_FOLDER).glob("*.done"))
    assert not done
    run_tasks = passes.run_tasks

    def run_then_die(*arguments: Any) -> None:
        run_tasks(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(passes, "run_tasks", run_then_die)
        with pytest.raises(KeyboardInterrupt):
            run_ingest(source, output)
    done = sorted((output / "state" / "work" / checking.CHECK_FOLDER).glob("*.done"))
    os.truncate(done[0], done[0].stat().st_size - 10)
    os.truncate(done[1], 0)
    assert run_ingest(source, output).num_images == 200


@pytest.mark.parametrize("change", ["new seed", "one image left"])
def test_old_shard_that_is_damaged_is_written_again_from_the_source(
    make_photos: MakePhotos, tmp_path: Path, change: str
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    for shard in (output / "state" / "shards").iterdir():
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 0xFF
        shard.write_bytes(content)
    if change == "one image left":
        (source / "cats" / "000.png").unlink()
    # A given number of shards makes ingest copy all images from the old ones.
    run_ingest(source, output, num_shards=2)
    expected = {f"{p.parent.name}/{p.name}": p.read_bytes() for p in source.glob("*/*.png")}
    assert images(output) == expected


def test_facts_that_changed_reach_the_examples(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    check_image = checking.check_image

    def darker(*arguments: Any) -> Any:
        return dataclasses.replace(check_image(*arguments), brightness=0.125)

    monkeypatch.setattr(checking, "check_image", darker)
    monkeypatch.setattr(checking, "RULES_VERSION", checking.RULES_VERSION + 1)
    run_ingest(source, output)
    values = {
        example[contracts.IMAGE_BRIGHTNESS]
        for split in contracts.SPLITS
        for example in iterate_examples(output / "examples", split)
    }
    assert values == {0.125}


def test_new_format_of_examples_writes_all_shards_anew(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    assert run_ingest(source, output).num_shards_written == 3
    assert run_ingest(source, output).num_shards_written == 0
    monkeypatch.setattr(planning, "EXAMPLE_VERSION", planning.EXAMPLE_VERSION + 1)
    assert run_ingest(source, output).num_shards_written == 3


def test_moves_of_an_ingest_killed_before_its_summary_are_told_by_the_next(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = make_photos("cats", "dogs", count=40), tmp_path / "out"
    run_ingest(source, output)
    ingest_killed_at(monkeypatch, spans, "publish", source, output, split_seed=7)
    summary = run_ingest(source, output, split_seed=7)
    assert summary.num_changed_split > 0
    assert summary.num_moved_to_test > 0
    told = [text for text in summary.warnings if "changed split: the settings" in text]
    assert f"{summary.num_moved_to_test} of them are in the test split now" in told[0]
    assert run_ingest(source, output, split_seed=7).num_changed_split == 0


def test_merge_of_an_ingest_that_did_not_finish_is_not_remembered(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = make_photos("ants", "bees", "cats"), tmp_path / "out"
    run_ingest(source, output)
    ingest_killed_at(monkeypatch, spans, "commit", source, output, merge_classes={"cats": "ants"})
    assert run_ingest(source, output).class_names == ("ants", "bees", "cats")
    assert LabelMap.read(output / "state").version == LabelMap.read(output / "label_map").version


def test_lost_state_is_another_one(make_photos: MakePhotos, tmp_path: Path) -> None:
    """Otherwise a pipeline's cache would answer with the first run of the lost one."""
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    config = ingest.DataConfig()
    first = changes.describe_source(str(source), config, str(output / "state"))
    run_ingest(source, output)
    before = files.read_json(output / "report" / "summary.json")["state_id"]
    shutil.rmtree(output / "state")
    assert changes.describe_source(str(source), config, str(output / "state")) != first
    assert run_ingest(source, output).state_id != before


def test_image_in_several_groups_ties_them_together(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    """Identical files in two patients' folders: both patients are one group then."""
    folders = [f"{name}/p{number:02d}" for name in ("cats", "dogs") for number in range(20)]
    source = make_photos(*folders, count=3)
    for number, name in enumerate(folders):
        for index in range(3):
            path = source / name / f"{index:03d}.png"
            path.write_bytes(photo_bytes(10_000 + 10 * number + index))
    for number in range(10):
        one, other = (source / "cats" / f"p{2 * number + side:02d}" for side in (0, 1))
        shutil.copy(one / "001.png", other / "same.png")
    summary = run_ingest(source, tmp_path / "out", group_regex=r"(\w+/p\d+)")
    assert summary.groups_in_several_splits == 0
    split_of = {
        example[contracts.IMAGE_FILENAME].decode().rsplit("/", 1)[0]: split
        for split in contracts.SPLITS
        for example in iterate_examples(tmp_path / "out" / "examples", split)
    }
    pairs = [(f"cats/p{n:02d}", f"cats/p{n + 1:02d}") for n in range(0, 20, 2)]
    assert all(split_of[one] == split_of[other] for one, other in pairs)


def test_plan_that_leaks_is_never_committed(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    plan_splits = planning.plan_splits

    def leak(*arguments: Any) -> Any:
        plan = plan_splits(*arguments)
        return dataclasses.replace(plan, split=(np.arange(len(plan.split)) % 3).astype(np.int8))

    with monkeypatch.context() as patch:
        patch.setattr(planning, "plan_splits", leak)
        with pytest.raises(RuntimeError, match="groups are in several splits"):
            run_ingest(source, output, group_regex=r"0(\d)\d")
    assert not (output / "report" / "summary.json").exists()
    assert run_ingest(source, output).span == 1


def test_conflict_of_many_files_names_three(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    for number in range(10):
        shutil.copy(source / "cats" / "000.png", source / "cats" / f"s{number}.png")
        shutil.copy(source / "cats" / "000.png", source / "dogs" / f"s{number}.png")
    run_ingest(source, tmp_path / "out")
    rows = files.read_jsonl(tmp_path / "out" / "report" / contracts.REJECTS_FILE)
    details = {row["file"]: row["detail"] for row in rows}
    expected = "the same image is also dogs/s0.png, dogs/s1.png, dogs/s2.png and 7 more"
    assert details["cats/000.png"] == expected


def test_server_that_dies_at_the_end_costs_thumbnails_only(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    shutil.copy(source / "cats" / "000.png", source / "cats" / "same.png")
    shutil.copy(source / "cats" / "001.png", source / "dogs" / "conflict.png")
    publish, read_item = spans.publish, access.read_item

    def dead(item: SourceItem, max_bytes: int) -> Any:
        raise DataError(f"No answer for {item.path}.", "Start the server.")

    def publish_then_die(*arguments: Any) -> int:
        monkeypatch.setattr(access, "read_item", dead)
        return publish(*arguments)

    monkeypatch.setattr(spans, "publish", publish_then_die)
    summary = run_ingest(source, output)
    monkeypatch.setattr(access, "read_item", read_item)
    assert (summary.num_images, summary.num_duplicates, summary.num_conflicts) == (39, 1, 1)
    pictures = list((output / "report" / contracts.THUMBNAILS_FOLDER).iterdir())
    assert len(pictures) == 1, "that of the duplicate, from its shard"


def test_work_files_name_nothing_of_a_finished_ingest(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    assert sorted(path.name for path in (output / "state").iterdir()) == [
        "catalogue.sqlite", "label_map.json", "labels.txt", "shards", "thumbnails",
    ]  # fmt: skip
    assert json.loads((output / "report" / "summary.json").read_text())["state_id"]
