"""The whole ingest on real folders: what comes out, what stays the same, what stops it."""

import hashlib
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from photo_folders import MakePhotos, photo_bytes, run_ingest

from slimworks.components import contracts, files
from slimworks.components.contracts import LabelMap
from slimworks.components.errors import DataError
from slimworks.components.examples.reading import count_examples, iterate_examples
from slimworks.components.ingest import ingest as ingest_module
from slimworks.components.ingest import spans


def read_all(output: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: list(iterate_examples(output / "examples", split)) for split in contracts.SPLITS}


def splits_by_id(output: Path) -> dict[bytes, str]:
    return {
        example[contracts.IMAGE_ID]: split
        for split, examples in read_all(output).items()
        for example in examples
    }


def rejects(output: Path) -> dict[str, str]:
    rows = files.read_jsonl(output / "report" / contracts.REJECTS_FILE)
    return {row["file"]: row["reason"] for row in rows}


def fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (files.sha256_of_file(path), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_examples_hold_the_original_bytes_under_the_contracts_keys(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source = make_photos("cats", "dogs")
    summary = run_ingest(source, tmp_path / "out")
    examples = [example for found in read_all(tmp_path / "out").values() for example in found]
    assert summary.num_images == len(examples) == 40
    for example in examples:
        data = (source / example[contracts.IMAGE_FILENAME].decode()).read_bytes()
        class_name = example[contracts.CLASS_NAME].decode()
        assert example[contracts.IMAGE_ENCODED] == data
        assert example[contracts.IMAGE_ID].decode() == hashlib.sha256(data).hexdigest()
        assert example[contracts.IMAGE_GROUP] == example[contracts.IMAGE_ID]
        assert example[contracts.CLASS_INDEX] == ["cats", "dogs"].index(class_name)
        assert (example[contracts.IMAGE_HEIGHT], example[contracts.IMAGE_WIDTH]) == (16, 24)
        assert 0.4 < example[contracts.IMAGE_BRIGHTNESS] < 0.6
        assert example[contracts.IMAGE_FORMAT] == example[contracts.IMAGE_ORIGINAL_FORMAT] == b"png"


def test_label_map_and_counts_are_written(make_photos: MakePhotos, tmp_path: Path) -> None:
    run_ingest(make_photos("cats", "dogs"), tmp_path / "out")
    labels = (tmp_path / "out" / "label_map" / contracts.LABELS_FILE).read_text()
    summary = files.read_json(tmp_path / "out" / "report" / contracts.SUMMARY_FILE)
    assert labels == "0:cats\n1:dogs\n"
    assert {
        split: sum(counts.values()) for split, counts in summary["images_by_split"].items()
    } == {split: count_examples(tmp_path / "out" / "examples", split) for split in contracts.SPLITS}
    assert summary["groups_in_several_splits"] == 0


def test_two_runs_write_identical_bytes(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    run_ingest(source, tmp_path / "a", num_shards=3)
    run_ingest(source, tmp_path / "b", num_shards=3)
    shards = fingerprint(tmp_path / "a" / "examples")
    assert len(shards) == 9
    assert {name: digest for name, (digest, _) in shards.items()} == {
        name: digest for name, (digest, _) in fingerprint(tmp_path / "b" / "examples").items()
    }


def test_users_files_are_untouched(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    (source / "cats" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    before = fingerprint(source)
    run_ingest(source, tmp_path / "out")
    assert fingerprint(source) == before


def test_split_never_changes_while_data_grows(make_photos: MakePhotos, tmp_path: Path) -> None:
    full = make_photos("cats", "dogs", count=30)
    names = sorted(full.rglob("*.png"))
    random.Random(0).shuffle(names)
    seen: dict[bytes, str] = {}
    for size in (30, 45, 60):
        grown = tmp_path / "grown"
        for path in names[:size]:
            target = grown / path.relative_to(full)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        run_ingest(grown, tmp_path / "out")
        splits = splits_by_id(tmp_path / "out")
        assert seen.items() <= splits.items()
        seen = splits
    assert len(seen) == 60


def test_shards_are_balanced_samples_in_another_order_than_the_files(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    run_ingest(make_photos("cats", "dogs"), tmp_path / "out", num_shards=2)
    train = read_all(tmp_path / "out")["train"]
    first = [example[contracts.CLASS_NAME] for example in train[: len(train) // 2]]
    names = [example[contracts.IMAGE_FILENAME] for example in train]
    assert 0.2 < first.count(b"cats") / len(first) < 0.8
    assert names != sorted(names)


def test_bad_files_are_set_aside_by_name_and_reason(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source = make_photos("Müller & Söhne", "猫")
    whole = photo_bytes(7, (64, 64), "JPEG")
    planted = {
        "猫/empty.jpg": b"",
        "猫/ü text.jpg": b"<html>not found</html>",
        "猫/cut.jpg": whole[: len(whole) // 2],
        "猫/notes.txt": b"a file of another kind",
    }
    for name, data in planted.items():
        (source / name).write_bytes(data)
    (source / "猫" / "gone.jpg").symlink_to(source / "nowhere")
    os.mkfifo(source / "猫" / "pipe.jpg")
    summary = run_ingest(source, tmp_path / "out", max_rejected_fraction=0.5)
    assert rejects(tmp_path / "out") == {
        "猫/cut.jpg": "truncated",
        "猫/empty.jpg": "empty",
        "猫/gone.jpg": "not_a_file",
        "猫/notes.txt": "not_an_image",
        "猫/pipe.jpg": "not_a_file",
        "猫/ü text.jpg": "not_an_image",
    }
    assert (summary.num_rejected, summary.num_files, summary.num_images) == (6, 46, 40)


def test_undecodable_file_name_is_reported_readably(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source = make_photos("cats", "dogs")
    for name, data in ((b"caf\xe9.png", photo_bytes(777)), (b"b\xe9d.png", b"x")):
        with open(os.fsencode(source / "cats") + b"/" + name, "wb") as stream:
            stream.write(data)
    run_ingest(source, tmp_path / "out")
    stored = {e[contracts.IMAGE_FILENAME] for s in read_all(tmp_path / "out").values() for e in s}
    assert rejects(tmp_path / "out") == {"cats/b\\xe9d.png": "not_an_image"}
    assert b"cats/caf\\xe9.png" in stored


def test_webp_is_stored_as_png_with_its_original_format(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source = make_photos("cats", "dogs")
    data = photo_bytes(9, image_format="WEBP")
    (source / "cats" / "new.webp").write_bytes(data)
    summary = run_ingest(source, tmp_path / "out")
    stored = [e for split in read_all(tmp_path / "out").values() for e in split]
    (example,) = [e for e in stored if e[contracts.IMAGE_ORIGINAL_FORMAT] == b"webp"]
    assert example[contracts.IMAGE_FORMAT] == b"png"
    assert example[contracts.IMAGE_ENCODED].startswith(b"\x89PNG")
    assert example[contracts.IMAGE_ID].decode() == hashlib.sha256(data).hexdigest()
    assert summary.num_converted == 1


def test_duplicates_give_one_example(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    shutil.copy(source / "cats" / "003.png", source / "cats" / "z copy.png")
    summary = run_ingest(source, tmp_path / "out")
    (row,) = files.read_jsonl(tmp_path / "out" / "report" / contracts.DUPLICATES_FILE)
    assert (row["kept"], row["duplicates"]) == ("cats/003.png", ["cats/z copy.png"])
    assert row["conflict"] is False
    assert (summary.num_images, summary.num_duplicates) == (40, 1)


def test_same_image_under_two_classes_is_set_aside_everywhere(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source = make_photos("cats", "dogs")
    shutil.copy(source / "cats" / "003.png", source / "dogs" / "same.png")
    summary = run_ingest(source, tmp_path / "out", max_rejected_fraction=0)
    rows = list(files.read_jsonl(tmp_path / "out" / "report" / contracts.REJECTS_FILE))
    assert [(row["file"], row["reason"], row["detail"]) for row in rows] == [
        ("cats/003.png", "label_conflict", "the same image is also dogs/same.png"),
        ("dogs/same.png", "label_conflict", "the same image is also cats/003.png"),
    ]
    (row,) = files.read_jsonl(tmp_path / "out" / "report" / contracts.DUPLICATES_FILE)
    assert (row["kept"], row["conflict"]) == (None, True)
    assert (summary.num_images, summary.num_conflicts) == (39, 1)


def test_label_conflict_stops_the_run_where_asked(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    shutil.copy(source / "cats" / "003.png", source / "dogs" / "same.png")
    with pytest.raises(DataError, match=r"cats/003.png, dogs/same.png are identical"):
        run_ingest(source, tmp_path / "out", on_conflict="error")


def test_images_of_a_group_share_a_split(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    summary = run_ingest(source, tmp_path / "out", group_regex=r"/\d\d(\d)\.png", split_seed=2)
    stored = read_all(tmp_path / "out")
    places = {(e[contracts.IMAGE_GROUP], split) for split in stored for e in stored[split]}
    assert {group for group, _ in places} == {b"%d" % digit for digit in range(10)}
    assert (len(places), summary.num_groups, summary.groups_in_several_splits) == (10, 10, 0)


def test_group_regex_that_matches_nothing_is_an_error(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"'patient' matches no path, such as 'cats/000.png'"):
        run_ingest(make_photos("cats", "dogs"), tmp_path / "out", group_regex="patient")


def test_new_classes_are_appended_and_old_ones_keep_their_index(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    LabelMap(("dogs", "wolves")).write(tmp_path / "out" / "state")
    summary = run_ingest(make_photos("ants", "dogs"), tmp_path / "out")
    assert summary.class_names == ("dogs", "wolves", "ants")
    assert summary.images_by_split["train"]["wolves"] == 0
    assert LabelMap.read(tmp_path / "out" / "label_map").class_names == summary.class_names


def test_too_many_rejects_stop_with_counts_by_reason(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source = make_photos("cats", "dogs")
    for index in range(3):
        (source / "cats" / f"empty{index}.jpg").write_bytes(b"")
    (source / "cats" / "text.jpg").write_bytes(b"<html>")
    with pytest.raises(DataError) as caught:
        run_ingest(source, tmp_path / "out", max_rejected_fraction=0.05)
    assert caught.value.cause == (
        "4 of 44 files (9.1%) cannot be used: 3 empty, 1 not_an_image. The first is "
        "cats/empty0.jpg (the file has zero bytes); data.max_rejected_fraction is 0.05."
    )
    assert "--set data.max_rejected_fraction=0.1" in caught.value.fix
    assert caught.value.exit_code == 3


def test_class_with_two_photos_is_an_error(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    (source / "birds").mkdir()
    for index in range(2):
        (source / "birds" / f"{index}.png").write_bytes(photo_bytes(90 + index))
    with pytest.raises(
        DataError, match=r"'birds' has 2 usable images, fewer than .* = 5"
    ) as caught:
        run_ingest(source, tmp_path / "out")
    assert "Add 3 or more photos to" in caught.value.fix


def test_class_whose_images_are_all_rejected_is_an_error(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    source = make_photos("cats", "dogs")
    (source / "birds").mkdir()
    for index in range(6):
        (source / "birds" / f"{index}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"No image of the class 'birds' can be used: 6 empty"):
        run_ingest(source, tmp_path / "out", max_rejected_fraction=0.5)


def test_smallest_set_has_every_class_in_train_and_no_empty_split(
    make_photos: MakePhotos, tmp_path: Path
) -> None:
    summary = run_ingest(make_photos("cats", "dogs", count=5), tmp_path / "out")
    assert all(read_all(tmp_path / "out").values())
    assert all(summary.images_by_split["train"].values())


def test_file_over_the_limit_is_not_read(make_photos: MakePhotos, tmp_path: Path) -> None:
    source = make_photos("cats", "dogs")
    (source / "cats" / "huge.png").write_bytes(photo_bytes(0, (100, 100)))
    run_ingest(source, tmp_path / "out", max_file_bytes=10_000)
    assert rejects(tmp_path / "out") == {"cats/huge.png": "too_large"}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["multi_threading", "multi_processing"])
def test_two_workers_write_the_same_shards(
    make_photos: MakePhotos, tmp_path: Path, mode: str
) -> None:
    source = make_photos("cats", "dogs", count=80)
    run_ingest(source, tmp_path / "a")
    arguments = ("--direct_num_workers=2", f"--direct_running_mode={mode}")
    run_ingest(source, tmp_path / "b", arguments)
    one, two = (fingerprint(tmp_path / name / "examples") for name in "ab")
    assert {name: digest for name, (digest, _) in one.items()} == {
        name: digest for name, (digest, _) in two.items()
    }


def test_file_that_changes_between_the_passes_waits_for_the_next_ingest(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_photos("cats", "dogs")
    plan_images = ingest_module.plan_images

    def change_then_plan(*arguments: Any) -> Any:
        (source / "cats" / "007.png").write_bytes(photo_bytes(999))
        return plan_images(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "plan_images", change_then_plan)
        summary = run_ingest(source, tmp_path / "out")
    assert rejects(tmp_path / "out") == {"cats/007.png": "changed"}
    assert summary.num_images == 39
    summary = run_ingest(source, tmp_path / "out")
    assert (summary.num_images, rejects(tmp_path / "out")) == (40, {})


def test_interrupted_ingest_never_looks_complete_and_the_next_one_repairs_it(
    make_photos: MakePhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = make_photos("cats", "dogs"), tmp_path / "out"
    run_ingest(source, output)
    with monkeypatch.context() as patch:
        patch.setattr(spans, "publish", _stop)
        with pytest.raises(KeyboardInterrupt):
            run_ingest(source, output)
    assert not (output / "report" / contracts.SUMMARY_FILE).exists()
    run_ingest(source, output)
    assert sorted(path.name for path in (output / "examples").iterdir()) == [
        "Split-eval", "Split-test", "Split-train",
    ]  # fmt: skip
    assert json.loads((output / "report" / contracts.SUMMARY_FILE).read_text())["num_images"] == 40


def _stop(*arguments: Any) -> None:
    raise KeyboardInterrupt
