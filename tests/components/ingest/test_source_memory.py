"""Memory of a listing does not grow with the number of images."""

from __future__ import annotations

import gc
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from slimworks.components.examples import tfrecord
from slimworks.components.examples.messages import Example
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.detect import open_source

FEW, MANY = 300, 2_300
# 2,000 names alone are 200 kB, 2,000 items 700 kB and more.
MAX_GROWTH_BYTES = 100_000


def one_folder(folder: Path, count: int) -> Path:
    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
    (folder / "dogs" / "1.jpg").touch()
    for number in range(count):
        (folder / "cats" / f"photo-{number:06d}.jpg").touch()
    return folder


def nested_folders(folder: Path, count: int) -> Path:
    for number in range(count):
        path = folder / f"class-{number % 3}" / f"day-{number // 30}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def manifest(folder: Path, count: int) -> Path:
    folder.mkdir()
    rows = [f"images/photo-{number:06d}.jpg,class-{number % 3}" for number in range(count)]
    (folder / "labels.csv").write_text("\n".join(["path,class", *rows]))
    return folder / "labels.csv"


def tar(folder: Path, count: int) -> Path:
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w") as archive:
        for number in range(count):
            member = tarfile.TarInfo(f"class-{number % 3}/photo-{number:06d}.jpg")
            archive.addfile(member, io.BytesIO())
            archive.members.clear()  # type: ignore[attr-defined]
    return folder / "a.tar"


def records(folder: Path, count: int) -> Path:
    folder.mkdir()
    with (folder / "a.tfrecord").open("wb") as stream:
        for number in range(count):
            example = Example()
            example.features.feature["image/encoded"].bytes_list.value.append(b"jpeg")
            example.features.feature["image/class/label"].int64_list.value.append(number % 3)
            tfrecord.write_record(stream, example.SerializeToString())
    return folder / "a.tfrecord"


def peak_bytes(source: Path, count: int) -> int:
    opened = open_source(str(source), DataConfig())
    gc.collect()
    tracemalloc.start()
    try:
        assert sum(1 for _ in opened.items()) >= count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("make", [one_folder, nested_folders, manifest, tar, records])
def test_memory_is_flat(tmp_path: Path, make: Callable[[Path, int], Path]) -> None:
    few, many = make(tmp_path / "few", FEW), make(tmp_path / "many", MANY)
    peak_bytes(few, FEW)  # what is loaded on first use counts for neither
    assert peak_bytes(many, MANY) - peak_bytes(few, FEW) < MAX_GROWTH_BYTES
