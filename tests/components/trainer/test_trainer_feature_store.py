"""Rows of features on disk: found again, grown, bounded, mended."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from slimworks.components.trainer import feature_store
from slimworks.components.trainer.feature_store import FeatureStore, NoRoomError, make_room

WIDTH = 3


def _ids(*numbers: int) -> np.ndarray:
    return np.array([b"%064d" % number for number in numbers])


def _features(*numbers: int) -> np.ndarray:
    return np.array([[number, number + 0.5, -number] for number in numbers], np.float32)


def _open(folder: Path) -> FeatureStore:
    return FeatureStore(folder / "kind", WIDTH, {"net": "lenet"})


def _filled(folder: Path, *groups: tuple[int, ...]) -> FeatureStore:
    store = _open(folder)
    for numbers in groups:
        store.append(_ids(*numbers), _features(*numbers))
    return store


def test_rows_are_found_by_id_in_a_later_process(tmp_path: Path) -> None:
    _filled(tmp_path, (5, 2), (9,), (1, 0, 7))
    rows = _open(tmp_path).rows(_ids(7, 9, 2, 7))
    np.testing.assert_array_equal(rows.take(np.arange(4)), _features(7, 9, 2, 7))
    np.testing.assert_array_equal(rows.take(np.array([2, 0])), _features(2, 7))
    assert rows.width == WIDTH


def test_what_is_missing(tmp_path: Path) -> None:
    store = _open(tmp_path)
    assert store.missing(_ids(1, 2)).tolist() == [True, True]
    store.append(_ids(2, 4), _features(2, 4))
    assert store.missing(_ids(1, 2, 3, 4, 5)).tolist() == [True, False, True, False, True]


def test_features_are_mapped_and_not_loaded(tmp_path: Path) -> None:
    rows = _filled(tmp_path, (1, 2)).rows(_ids(1))
    assert all(isinstance(segment, np.memmap) for segment in rows.segments)


def test_small_parts_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _open(tmp_path)
    monkeypatch.setattr(feature_store, "SEGMENT_BYTES", 4 * store.dtype.itemsize)
    with store.writer(seconds=1e9) as write:
        for number in range(7):
            write(_ids(number), _features(number))
            assert len(list(store.folder.glob("*.npy"))) == (number + 1) // 4
    assert len(list(store.folder.glob("*.npy"))) == 2
    assert not store.missing(_ids(*range(7))).any()


def test_every_part_is_written_where_no_time_may_be_lost(tmp_path: Path) -> None:
    store = _open(tmp_path)
    with store.writer(seconds=0) as write:
        for number in range(3):
            write(_ids(number), _features(number))
            assert not _open(tmp_path).missing(_ids(number)).any()


def test_small_files_become_one(tmp_path: Path) -> None:
    store = _filled(tmp_path, (1, 2), (3,), (4, 5, 6))
    store.merge_small()
    assert len(list(store.folder.glob("*.npy"))) == 1
    for one in (store, _open(tmp_path)):
        taken = one.rows(_ids(*range(1, 7))).take(np.arange(6))
        np.testing.assert_array_equal(taken, _features(*range(1, 7)))


@pytest.mark.parametrize("damage", ["cut short", "one bit"])
def test_damaged_file_is_set_aside_by_name(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = _filled(tmp_path, (1, 2))
    (path,) = store.folder.glob("*.npy")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data) if damage == "one bit" else data[:-1])
    store.append(_ids(3), _features(3))
    assert _open(tmp_path).missing(_ids(1, 2, 3)).tolist() == [True, True, False]
    assert f"{path} is damaged: its features are computed again" in caplog.text
    assert not path.exists()


def test_what_a_killed_writer_left_goes_after_an_hour(tmp_path: Path) -> None:
    store = _open(tmp_path)
    old, new = store.folder / ".a.npy.1", store.folder / ".b.npy.2"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    _open(tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


def _kinds(root: Path, *names: str) -> dict[str, FeatureStore]:
    """Stores of ten rows each, the first used longest ago."""
    stores = {}
    for age, name in enumerate(reversed(names)):
        stores[name] = FeatureStore(root / name, WIDTH, {})
        stores[name].append(_ids(*range(10)), _features(*range(10)))
        os.utime(root / name / feature_store.ABOUT_FILE, (1_000 - age, 1_000 - age))
    return stores


def _gb(num_rows: int) -> float:
    return num_rows * (64 + 4 * WIDTH) / feature_store.GB


def test_what_was_not_used_for_longest_goes_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stores = _kinds(tmp_path, "oldest", "old", "own", "newest")
    make_room(stores["own"], _ids(*range(15)), 5, _gb(37))  # files have headers too
    assert {path.name for path in tmp_path.iterdir()} == {"own", "newest"}
    assert f"{tmp_path / 'oldest'} is removed: train.feature_cache_gb is" in caplog.text


def test_nothing_goes_where_there_is_room(tmp_path: Path) -> None:
    stores = _kinds(tmp_path, "old", "own")
    make_room(stores["own"], _ids(*range(15)), 5, _gb(100))
    assert len(list(tmp_path.iterdir())) == 2


def test_rows_of_images_that_are_gone_make_room(tmp_path: Path) -> None:
    store = _kinds(tmp_path, "own")["own"]
    store.append(_ids(20), _features(20))
    make_room(store, _ids(20, *range(30, 39)), 9, _gb(12))
    assert store.missing(_ids(0, 20)).tolist() == [True, False]


def test_images_that_need_more_than_there_may_be_remove_nothing(tmp_path: Path) -> None:
    stores = _kinds(tmp_path, "old", "own")
    with pytest.raises(NoRoomError) as caught:
        make_room(stores["own"], _ids(*range(50)), 40, _gb(49))
    assert caught.value.needed_gb == pytest.approx(_gb(50))
    assert len(list(tmp_path.iterdir())) == 2


def test_using_a_kind_makes_it_the_newest(tmp_path: Path) -> None:
    about = _open(tmp_path).folder / feature_store.ABOUT_FILE
    os.utime(about, (0, 0))
    _open(tmp_path)
    assert about.stat().st_mtime > 1e9
