"""The second ingest and those after it: what is read, what is written, what never changes."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from photo_folders import MakePhotos, photo_bytes, run_ingest

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.examples.reading import iterate_examples
from slimworks.components.ingest import checking, spans
from slimworks.components.ingest.engine import passes


def splits_by_name(output: Path) -> dict[str, str]:
    return {
        example[contracts.IMAGE_FILENAME].decode(): split
        for split in contracts.SPLITS
        for example in iterate_examples(output / "examples", split)
    }


def spans_by_name(output: Path) -> dict[str, int]:
    return {
        example[contracts.IMAGE_FILENAME].decode(): example[contracts.IMAGE_SPAN]
        for split in contracts.SPLITS
        for example in iterate_examples(output / "examples", split)
    }


def inodes(output: Path) -> set[int]:
    return {path.stat().st_ino for path in (output / "examples").rglob("data_tfrecord*")}


def overwrite_secretly(path: Path) -> None:
    """Destroys a file without a trace in its size and time: who reads it will notice."""
    status = path.stat()
    path.write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_unchanged_files_are_neither_read_nor_written_again(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    before = inodes(output)
    for path in source.rglob("*.png"):
        overwrite_secretly(path)
    for number in range(4):
        (source / "cats" / f"new{number}.png").write_bytes(photo_bytes(9_000 + number))
    summary = run_ingest(source, output)
    assert (summary.num_new_files, summary.num_unchanged_files, summary.num_images) == (4, 40, 44)
    assert before < inodes(output)
    assert summary.num_changed_split == 0


def test_new_images_make_a_span_and_keep_it(make_photos: MakePhotos, tmp_path: Path) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    assert run_ingest(source, output).span == 1
    (source / "cats" / "new.png").write_bytes(photo_bytes(9_000))
    second = run_ingest(source, output)
    third = run_ingest(source, output)
    assert (second.span, second.num_new_images, third.span, third.num_new_images) == (2, 1, 2, 0)
    found = spans_by_name(output)
    assert found.pop("cats/new.png") == 2
    assert set(found.values()) == {1}


def test_removed_files_leave_and_the_others_stay_where_they_were(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    before = splits_by_name(output)
    gone = sorted(name for name, split in before.items() if split == "train")[:3]
    for name in gone:
        (source / name).unlink()
    for path in source.rglob("*.png"):
        overwrite_secretly(path)  # what stays is copied from the shards
    summary = run_ingest(source, output)
    assert (summary.num_removed_images, summary.num_images) == (3, 37)
    assert splits_by_name(output) == {n: s for n, s in before.items() if n not in gone}


def test_image_that_returns_has_its_old_split(make_photos: MakePhotos, tmp_path: Path) -> None:
    source, output = make_photos("cats", "dogs", count=30), tmp_path / "out"
    run_ingest(source, output)
    before = splits_by_name(output)
    kept = tmp_path / "kept"
    kept.mkdir()
    away = [name for name, split in before.items() if split == "test"][:4]
    for number, name in enumerate(away):
        shutil.move(source / name, kept / str(number))
    run_ingest(source, output)
    for number, name in enumerate(away):
        shutil.move(kept / str(number), source / name)
    summary = run_ingest(source, output)
    assert splits_by_name(output) == before
    assert (summary.num_changed_split, summary.num_new_images) == (0, 4)


def test_touched_file_is_read_but_is_no_change(make_photos: MakePhotos, tmp_path: Path) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    before = inodes(output)
    os.utime(source / "cats" / "003.png", ns=(1, 1))
    summary = run_ingest(source, output)
    assert (summary.num_changed_files, summary.span, inodes(output)) == (0, 1, before)


def test_file_with_another_content_is_another_image(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    (source / "cats" / "003.png").write_bytes(photo_bytes(9_000))
    summary = run_ingest(source, output)
    assert (summary.num_changed_files, summary.num_new_images, summary.num_removed_images) == (
        1, 1, 1,
    )  # fmt: skip
    assert spans_by_name(output)["cats/003.png"] == 2


def test_image_moved_to_another_class_keeps_its_split(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    split = splits_by_name(output)["cats/003.png"]
    (source / "cats" / "003.png").rename(source / "dogs" / "really.png")
    summary = run_ingest(source, output)
    assert splits_by_name(output)["dogs/really.png"] == split
    found = [e for e in iterate_examples(output / "examples", split)
             if e[contracts.IMAGE_FILENAME] == b"dogs/really.png"]  # fmt: skip
    assert [(e[contracts.CLASS_NAME], e[contracts.CLASS_INDEX]) for e in found] == [(b"dogs", 1)]
    assert summary.num_changed_split == 0


def test_window_uses_the_newest_spans_and_a_wider_one_brings_the_others_back(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = tmp_path / "photos", tmp_path / "out"
    for span in (1, 2, 3):
        make_photos(*(f"{name}/{span}" for name in ("cats", "dogs")), count=10)
        for number, path in enumerate(sorted(source.rglob(f"{span}/*.png"))):
            path.write_bytes(photo_bytes(100 * span + number))
        run_ingest(source, output, window=2)
    assert set(spans_by_name(output).values()) == {2, 3}
    before = splits_by_name(output)
    run_ingest(source, output, window=1)
    assert set(spans_by_name(output).values()) == {3}
    run_ingest(source, output)
    after = splits_by_name(output)
    assert set(spans_by_name(output).values()) == {1, 2, 3}
    assert before.items() <= after.items()


def test_window_counts_a_span_whose_images_are_gone(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    for span in (2, 3):
        for name in ("cats", "dogs"):
            for number in range(10):
                path = source / name / f"{span}-{number}.png"
                path.write_bytes(photo_bytes(10_000 * span + 100 * ord(name[0]) + number))
        run_ingest(source, output)
    for path in source.glob("*/3-*.png"):
        path.unlink()
    run_ingest(source, output, window=2)
    assert set(spans_by_name(output).values()) == {2}


def test_number_of_shards_is_kept_when_it_is_given(make_photos: MakePhotos, tmp_path: Path) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output, num_shards=2)
    (source / "cats" / "new.png").write_bytes(photo_bytes(9_000))
    assert run_ingest(source, output, num_shards=2).num_shards == 6
    assert run_ingest(source, output, num_shards=3).num_shards == 9
    assert len(splits_by_name(output)) == 41


def test_many_small_spans_are_dealt_out_anew(make_photos: MakePhotos, tmp_path: Path) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    most = 0
    for number in range(30):
        (source / "cats" / f"new{number}.png").write_bytes(photo_bytes(9_000 + number))
        summary = run_ingest(source, output)
        shards = list((output / "examples" / "Split-train").iterdir())
        most = max(most, len(shards))
        assert summary.num_images == 41 + number == len(splits_by_name(output))
    assert 5 < most <= 11


def test_lost_shard_is_written_again_from_the_source(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    before = splits_by_name(output)
    for path in (output / "state" / "shards").glob("train-*"):
        path.unlink()
    run_ingest(source, output)
    assert splits_by_name(output) == before


def test_what_was_checked_before_a_kill_is_not_checked_again(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = make_photos("cats", "dogs", count=100), tmp_path / "out"
    run_tasks = passes.run_tasks

    def die_half_way(label: str, function: Any, items: Any, *arguments: Any) -> None:
        run_tasks(label, function, items[: len(items) // 2], *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(passes, "run_tasks", die_half_way)
        with pytest.raises(KeyboardInterrupt):
            run_ingest(source, output)
    tasks = list((output / "state" / "work" / checking.CHECK_FOLDER).glob("*.done"))
    assert tasks
    checked = [row["name"] for task in tasks for row in files.read_jsonl(task)]
    for name in checked:
        overwrite_secretly(source / name)
    # Those images cannot be read for their shards any more; but they were not decoded again.
    with pytest.raises(DataError, match=f"{len(checked)} changed"):
        run_ingest(source, output)


def test_changes_of_an_ingest_killed_before_its_summary_are_told_by_the_next(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_photos("cats", "dogs")
    run_ingest(source, tmp_path / "out")
    for number in range(3):
        (source / "cats" / f"new{number}.png").write_bytes(photo_bytes(9_000 + number))
    (source / "dogs" / "000.png").unlink()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(spans, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            run_ingest(source, tmp_path / "out")
    told = run_ingest(source, tmp_path / "out")
    assert (told.num_new_images, told.num_new_files, told.num_removed_images) == (3, 3, 1)
    assert (told.span, told.previous_span) == (2, 1)
    assert run_ingest(source, tmp_path / "out").num_new_images == 0


def test_other_limits_check_every_file_again(make_photos: MakePhotos, tmp_path: Path) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    (source / "cats" / "large.png").write_bytes(photo_bytes(1, (100, 100)))
    assert run_ingest(source, output, max_pixels=9_999).rejected_by_reason == {"too_many_pixels": 1}
    assert run_ingest(source, output).num_images == 41


def test_renamed_class_keeps_its_index_and_its_images_their_split(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    before = {name.partition("/")[2] + name[:3]: s for name, s in splits_by_name(output).items()}
    (source / "cats").rename(source / "felines")
    summary = run_ingest(source, output, rename_classes={"cats": "felines"})
    assert summary.class_names == ("felines", "dogs")
    assert summary.label_map_version == 2
    after = {name.partition("/")[2] + {"fel": "cat"}.get(name[:3], name[:3]): s
             for name, s in splits_by_name(output).items()}  # fmt: skip
    assert after == before


def test_merged_class_gives_its_images_away_and_keeps_its_index(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = make_photos("cats", "dogs", "kittens"), tmp_path / "out"
    run_ingest(source, output)
    summary = run_ingest(source, output, merge_classes={"kittens": "cats"})
    assert summary.class_names == ("cats", "dogs", "kittens")
    assert {counts["kittens"] for counts in summary.images_by_split.values()} == {0}
    assert sum(counts["cats"] for counts in summary.images_by_split.values()) == 40


def test_new_split_settings_make_the_splits_anew_and_say_so(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    summary = run_ingest(source, output, split_seed=5)
    assert summary.num_changed_split > 0
    (warning,) = [text for text in summary.warnings if "changed split" in text]
    assert f"{summary.num_changed_split} images changed split: the settings" in warning


def test_earlier_outputs_survive_later_ingests(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    state = tmp_path / "out" / "state"
    run_ingest(source, tmp_path / "out")
    shutil.copytree(tmp_path / "out" / "examples", tmp_path / "old" / "examples",
                    copy_function=os.link)  # fmt: skip
    before = splits_by_name(tmp_path / "old")
    for path in sorted(source.rglob("*.png"))[:10]:
        path.unlink()
    run_ingest(source, tmp_path / "out")
    assert state.is_dir()
    assert splits_by_name(tmp_path / "old") == before


def test_summary_on_disk_is_the_one_returned(make_photos: MakePhotos, tmp_path: Path) -> None:
    summary = run_ingest(make_photos("cats", "dogs"), tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "report" / contracts.SUMMARY_FILE).read_text())
    assert (stored["span"], stored["num_images"]) == (summary.span, summary.num_images)
    assert stored["groups_in_several_splits"] == stored["num_changed_split"] == 0
