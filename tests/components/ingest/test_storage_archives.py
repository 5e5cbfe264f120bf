"""Images inside archives and records: read in place, bounded, rejected by reason."""

import gzip
import io
import os
import struct
import tarfile
import threading
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from classic_files import cifar10_record, idx_images, write_tar_gz
from PIL import Image

from slimworks.components.examples import tfrecord
from slimworks.components.examples.messages import Example
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.raw_pixels import png_of_pixels
from slimworks.components.ingest.sources.items import SourceItem
from slimworks.components.ingest.storage import access

_MAX_BYTES = 100_000


def read(path: Path | str, kind: str, key: str, max_bytes: int = _MAX_BYTES) -> bytes | Rejection:
    return access.read_item(SourceItem("1.jpg", "roses", str(path), kind, key), max_bytes)


def reason(path: Path | str, kind: str, key: str, max_bytes: int = _MAX_BYTES) -> str:
    found = read(path, kind, key, max_bytes)
    assert isinstance(found, Rejection)
    assert found.detail
    return found.reason


def write_zip(path: Path, content: bytes = b"photo", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("roses/1.jpg", content)
    return path


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_zip_member_is_unpacked(tmp_path: Path, method: int) -> None:
    content = np.random.default_rng(0).bytes(50_000)
    path = write_zip(tmp_path / "a.zip", content, method)
    assert read(path, "zip", "roses/1.jpg") == content


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_zip_member_that_unpacks_to_too_much_is_set_aside(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "a.zip", b"\0" * (_MAX_BYTES + 1), method)
    assert reason(path, "zip", "roses/1.jpg") == "too_large"


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", b"\0" * 50_000_000)
    tracemalloc.start()
    assert reason(path, "zip", "roses/1.jpg") == "too_large"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * _MAX_BYTES


def test_a_zip_member_of_the_largest_size_is_read_whole(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", b"\0" * _MAX_BYTES)
    assert read(path, "zip", "roses/1.jpg") == b"\0" * _MAX_BYTES


def _with_patched(path: Path, signature: bytes, offset: int, value: bytes) -> Path:
    """Changes a field of each header that starts with `signature`."""
    data = bytearray(path.read_bytes())
    place = data.find(signature)
    while place >= 0:
        data[place + offset : place + offset + len(value)] = value
        place = data.find(signature, place + 1)
    path.write_bytes(data)
    return path


def test_an_encrypted_zip_member_is_named_so(tmp_path: Path) -> None:
    path = _with_patched(write_zip(tmp_path / "a.zip"), b"PK\x01\x02", 8, b"\x01\x00")
    assert reason(path, "zip", "roses/1.jpg") == "encrypted"


def test_an_unknown_compression_is_named_so(tmp_path: Path) -> None:
    path = _with_patched(write_zip(tmp_path / "a.zip"), b"PK\x01\x02", 10, b"\x09\x00")
    _with_patched(path, b"PK\x03\x04", 8, b"\x09\x00")
    assert reason(path, "zip", "roses/1.jpg") == "unsupported_compression"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_member_with_a_wrong_bit_is_corrupt(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "a.zip", np.random.default_rng(0).bytes(2_000), method)
    data = bytearray(path.read_bytes())
    data[1_000] ^= 1
    path.write_bytes(data)
    assert reason(path, "zip", "roses/1.jpg") == "corrupt"


def test_a_truncated_zip_archive_is_corrupt(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    path.write_bytes(path.read_bytes()[:-30])
    assert reason(path, "zip", "roses/1.jpg") == "corrupt"


def test_a_zip_archive_with_an_undecodable_name_is_corrupt(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("ä.jpg", b"photo")
    data = (tmp_path / "a.zip").read_bytes().replace("ä".encode(), b"\xc3x")
    (tmp_path / "a.zip").write_bytes(data)
    assert reason(tmp_path / "a.zip", "zip", "ä.jpg") == "corrupt"


def test_a_zip_archive_that_vanished_is_unreadable(tmp_path: Path) -> None:
    assert reason(tmp_path / "a.zip", "zip", "roses/1.jpg") == "unreadable"


def test_a_zip_archive_that_changed_is_read_anew(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", b"old")
    assert read(path, "zip", "roses/1.jpg") == b"old"
    os.replace(write_zip(tmp_path / "b.zip", b"new one"), path)
    assert read(path, "zip", "roses/1.jpg") == b"new one"


def test_a_member_that_left_its_archive_is_unreadable(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    found = read(path, "zip", "roses/2.jpg")
    assert found == Rejection("unreadable", "the archive changed since it was listed")


def test_members_are_read_by_many_threads_at_once(tmp_path: Path) -> None:
    contents = {f"{number}.jpg": bytes([number]) * 20_000 for number in range(64)}
    for archive_name in ("a.zip", "b.zip", "c.zip"):
        with zipfile.ZipFile(tmp_path / archive_name, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    wrong: list[str] = []

    def read_all() -> None:
        for name, content in contents.items():
            for archive_name in ("a.zip", "b.zip", "c.zip"):
                if read(tmp_path / archive_name, "zip", name) != content:
                    wrong.append(name)

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_reading_many_archives_keeps_few_open(tmp_path: Path) -> None:
    for number in range(20):
        write_zip(tmp_path / f"{number}.zip")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        assert read(tmp_path / f"{number}.zip", "zip", "roses/1.jpg") == b"photo"
    assert len(os.listdir("/proc/self/fd")) - before <= 2


def test_a_tar_member_is_read_by_its_place(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("roses/1.jpg")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"photo"))
    assert read(tmp_path / "a.tar", "range", "512:5") == b"photo"
    assert reason(tmp_path / "a.tar", "range", "512:5", max_bytes=4) == "too_large"


def test_a_tar_archive_that_shrank_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"x" * 514)
    assert reason(tmp_path / "a.tar", "range", "512:5") == "unreadable"


def _write_record(path: Path, feature: str, content: bytes) -> str:
    example = Example()
    example.features.feature[feature].bytes_list.value.append(content)
    data = example.SerializeToString()
    with open(path, "wb") as stream:
        tfrecord.write_record(stream, data)
    return f"12:{len(data)}"


@pytest.mark.parametrize("feature", ["image/encoded", "image"])
def test_the_image_is_taken_out_of_a_record(tmp_path: Path, feature: str) -> None:
    key = _write_record(tmp_path / "a.tfrecord", feature, b"photo")
    assert read(tmp_path / "a.tfrecord", "tfrecord", key) == b"photo"


def test_a_record_without_image_is_named_so(tmp_path: Path) -> None:
    key = _write_record(tmp_path / "a.tfrecord", "sound", b"miaow")
    assert reason(tmp_path / "a.tfrecord", "tfrecord", key) == "not_an_image"


def test_a_record_with_too_large_an_image_is_set_aside(tmp_path: Path) -> None:
    key = _write_record(tmp_path / "a.tfrecord", "image", b"x" * 101)
    assert reason(tmp_path / "a.tfrecord", "tfrecord", key, max_bytes=100) == "too_large"


def test_a_record_that_is_no_example_is_corrupt(tmp_path: Path) -> None:
    with open(tmp_path / "a.tfrecord", "wb") as stream:
        tfrecord.write_record(stream, b"\xff" * 50)
    found = read(tmp_path / "a.tfrecord", "tfrecord", "12:50")
    assert found == Rejection("corrupt", "the record is no tf.train.Example")


def test_a_record_with_a_wrong_bit_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    key = _write_record(path, "image", b"x" * 100)
    path.write_bytes(path.read_bytes().replace(b"xxx", b"xyx", 1))
    found = read(path, "tfrecord", key)
    assert found == Rejection("corrupt", "the record does not match its checksum")


def test_a_record_file_that_shrank_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").write_bytes(b"x" * 20)
    assert reason(tmp_path / "a.tfrecord", "tfrecord", "12:50") == "unreadable"


@pytest.mark.parametrize("is_gzip", [True, False])
def test_an_idx_image_becomes_a_png_of_its_pixels(tmp_path: Path, is_gzip: bool) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 28, 28), np.uint8)
    data = idx_images(pixels)
    (tmp_path / "images").write_bytes(gzip.compress(data) if is_gzip else data)
    found = read(tmp_path / "images", "idx", "1")
    assert isinstance(found, bytes)
    with Image.open(io.BytesIO(found)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        assert (np.asarray(image) == pixels[1]).all()


def test_a_cifar10_image_becomes_a_png_of_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    batch = b"".join(cifar10_record(4, image) for image in pixels)
    write_tar_gz(tmp_path / "a.tar.gz", {"cifar-10-batches-bin/data_batch_1.bin": batch})
    found = read(tmp_path / "a.tar.gz", "cifar10", "cifar-10-batches-bin/data_batch_1.bin:2")
    assert isinstance(found, bytes)
    with Image.open(io.BytesIO(found)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert (np.asarray(image) == pixels[2]).all()


@pytest.mark.parametrize("key", ["a.bin:1", "b.bin:0"])
def test_a_cifar10_image_that_is_not_there_is_unreadable(tmp_path: Path, key: str) -> None:
    record = cifar10_record(1, np.zeros((32, 32, 3), np.uint8))
    write_tar_gz(tmp_path / "a.tar.gz", {"a.bin": record})
    assert reason(tmp_path / "a.tar.gz", "cifar10", key) == "unreadable"


def test_an_idx_image_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(idx_images(np.zeros((1, 4, 4), np.uint8)))
    assert reason(tmp_path / "images", "idx", "1") == "unreadable"


def test_an_idx_header_that_promises_too_much_is_not_believed(tmp_path: Path) -> None:
    header = struct.pack(">4I", 0x803, 2, 2**32 - 1, 2**32 - 1)
    (tmp_path / "images").write_bytes(header + b"x" * 100)
    assert reason(tmp_path / "images", "idx", "0") == "too_large"


@pytest.mark.parametrize("kind", ["idx", "cifar10"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\x1f\x8b", b"hello", gzip.compress(b"x" * 999, mtime=0)[:-9]],
    ids=["empty", "two-bytes", "no-gzip", "cut-gzip"],
)
def test_a_damaged_container_is_rejected(tmp_path: Path, kind: str, content: bytes) -> None:
    (tmp_path / "images").write_bytes(content)
    key = "0" if kind == "idx" else "a.bin:0"
    assert reason(tmp_path / "images", kind, key) in {"corrupt", "unreadable"}


def test_raw_pixels_make_the_same_png_everywhere() -> None:
    # Frozen: the digest of these bytes is the image's id, hence its split, for ever.
    assert png_of_pixels(b"\x00\xff", 1, 2, 1).hex() == (
        "89504e470d0a1a0a0000000d4948445200000002000000010800000000d1492056"
        "0000000e494441547801010300fcff0000ff01020100b7012ef70000000049454e44ae426082"
    )


def test_raw_pixels_above_one_stored_block_decode_equal() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (300, 200, 3), np.uint8)
    with Image.open(io.BytesIO(png_of_pixels(pixels.tobytes(), 300, 200, 3))) as image:
        image.load()
        assert (np.asarray(image) == pixels).all()


@pytest.mark.parametrize(("height", "width", "channels"), [(1, 1, 1), (1, 2, 2), (0, 0, 1)])
def test_pixels_that_do_not_fit_are_refused(height: int, width: int, channels: int) -> None:
    with pytest.raises(ValueError, match="pixels"):
        png_of_pixels(b"\x00\xff", height, width, channels)
