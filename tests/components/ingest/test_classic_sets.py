"""Classic sets by name, from small stand-ins in the real formats, over real HTTP or a folder."""

import dataclasses
import gzip
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from classic_files import cifar10_record, idx_images, idx_labels, write_tar_gz
from PIL import Image
from web_server import Site, serving

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.downloads import PublishedFile
from slimworks.components.ingest.sources import classic
from slimworks.components.ingest.sources.classic import CIFAR10_CLASSES, ClassicSource
from slimworks.components.ingest.sources.items import units_of
from slimworks.components.ingest.storage import access

RANDOM = np.random.default_rng(0)
TRAIN = RANDOM.integers(0, 256, (4, 28, 28), np.uint8)
TEST = RANDOM.integers(0, 256, (2, 28, 28), np.uint8)
MNIST_FILES = {
    "train-images-idx3-ubyte.gz": gzip.compress(idx_images(TRAIN)),
    "train-labels-idx1-ubyte.gz": gzip.compress(idx_labels([5, 0, 4, 9])),
    "t10k-images-idx3-ubyte.gz": gzip.compress(idx_images(TEST)),
    "t10k-labels-idx1-ubyte.gz": gzip.compress(idx_labels([7, 2])),
}
CIFAR_TRAIN = RANDOM.integers(0, 256, (3, 32, 32, 3), np.uint8)
CIFAR_TEST = RANDOM.integers(0, 256, (1, 32, 32, 3), np.uint8)


def _cifar10_file(folder: Path) -> bytes:
    prefix = "cifar-10-batches-bin"
    train = b"".join(
        cifar10_record(label, pixels) for label, pixels in zip((0, 9, 3), CIFAR_TRAIN, strict=True)
    )
    members = {
        f"{prefix}/readme.html": b"<html>",
        f"{prefix}/batches.meta.txt": "\n".join(CIFAR10_CLASSES).encode(),
        f"{prefix}/data_batch_1.bin": train,
        f"{prefix}/test_batch.bin": cifar10_record(8, CIFAR_TEST[0]),
    }
    return write_tar_gz(folder / "cifar.tar.gz", members).read_bytes()


def _flowers_file(folder: Path) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(TRAIN[0]).save(stream, "JPEG")
    members = {
        "flower_photos/LICENSE.txt": b"CC-BY",
        "flower_photos/daisy/1.jpg": stream.getvalue(),
        "flower_photos/tulips/2.jpg": stream.getvalue(),
    }
    return write_tar_gz(folder / "flowers.tgz", members).read_bytes()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({})) as running:
        yield running


Opener = Callable[..., ClassicSource]


@pytest.fixture
def open_stand_in(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Opener:
    """Registers a set of the given files under a known name, on a local server, and opens it."""

    def register(name: str, files: dict[str, bytes], download_dir: Path | None = None):  # type: ignore[no-untyped-def]
        site.files = {f"/{file}": content for file, content in files.items()}
        published = tuple(
            PublishedFile(
                file, len(content), hashlib.sha256(content).hexdigest(), (f"{site.url}/{file}",)
            )
            for file, content in files.items()
        )
        stand_in = dataclasses.replace(classic.CLASSIC_SETS[name], files=published)
        monkeypatch.setitem(classic.CLASSIC_SETS, name, stand_in)
        folder = str(download_dir or tmp_path / "cache")
        return classic.open_classic(name, DataConfig(download_dir=folder))

    return register


def _pixels(source: ClassicSource) -> dict[str, np.ndarray]:
    found = {}
    for item in source.items():
        data = access.read_item(item, 10_000)
        assert isinstance(data, bytes)
        with Image.open(io.BytesIO(data)) as image:
            found[item.name] = np.asarray(image)
    return found


def test_mnist_is_listed_with_its_own_splits_and_classes(open_stand_in: Opener) -> None:
    source = open_stand_in("mnist", MNIST_FILES)
    assert source.declared_classes == tuple("0123456789")
    listed = [(item.name, item.class_name, item.split) for item in source.items()]
    assert listed == [
        ("train/00000", "5", "train"),
        ("train/00001", "0", "train"),
        ("train/00002", "4", "train"),
        ("train/00003", "9", "train"),
        ("test/00000", "7", "test"),
        ("test/00001", "2", "test"),
    ]


def test_mnists_images_are_its_pixels(open_stand_in: Opener) -> None:
    found = _pixels(open_stand_in("mnist", MNIST_FILES))
    assert (found["train/00003"] == TRAIN[3]).all()
    assert (found["test/00001"] == TEST[1]).all()


def test_cifar10_is_listed_with_its_own_splits_and_classes(
    open_stand_in: Opener, tmp_path: Path
) -> None:
    source = open_stand_in("cifar10", {"cifar-10-binary.tar.gz": _cifar10_file(tmp_path)})
    listed = [(item.name, item.class_name, item.split) for item in source.items()]
    assert listed == [
        ("data_batch_1/00000", "airplane", "train"),
        ("data_batch_1/00001", "truck", "train"),
        ("data_batch_1/00002", "cat", "train"),
        ("test_batch/00000", "ship", "test"),
    ]


def test_cifar10s_images_are_its_pixels(open_stand_in: Opener, tmp_path: Path) -> None:
    source = open_stand_in("cifar10", {"cifar-10-binary.tar.gz": _cifar10_file(tmp_path)})
    found = _pixels(source)
    assert (found["data_batch_1/00001"] == CIFAR_TRAIN[1]).all()
    assert (found["test_batch/00000"] == CIFAR_TEST[0]).all()


def test_flowers_are_the_class_folders_of_their_archive(
    open_stand_in: Opener, tmp_path: Path
) -> None:
    source = open_stand_in("flowers", {"flower_photos.tgz": _flowers_file(tmp_path)})
    assert sorted(item.class_name for item in source.items()) == ["daisy", "tulips"]


def test_opening_a_set_and_watching_it_touches_no_network(
    open_stand_in: Opener, site: Site
) -> None:
    source = open_stand_in("mnist", MNIST_FILES)
    assert [unit.name for unit in units_of(source)] == list(MNIST_FILES)
    assert site.requests == []


@pytest.mark.parametrize("below", ["", "mnist"])
def test_local_copies_are_used_without_a_network(
    open_stand_in: Opener, site: Site, tmp_path: Path, below: str
) -> None:
    folder = tmp_path / "mine"
    (folder / below).mkdir(parents=True)
    for name, content in MNIST_FILES.items():
        (folder / below / name).write_bytes(content)
    assert len(list(open_stand_in("mnist", MNIST_FILES, folder).items())) == 6
    assert site.requests == []


def test_a_local_copy_that_differs_is_neither_used_nor_touched(
    open_stand_in: Opener, site: Site, tmp_path: Path
) -> None:
    mine = tmp_path / "train-images-idx3-ubyte.gz"
    mine.write_bytes(b"\0" * len(MNIST_FILES[mine.name]))
    with pytest.raises(DataError) as caught:
        list(open_stand_in("mnist", MNIST_FILES, tmp_path).items())
    assert caught.value.cause.startswith(f"{mine} is not the published {mine.name}: it has sha256 ")
    assert "--set data.download_dir=FOLDER" in caught.value.fix
    assert mine.read_bytes() == b"\0" * len(MNIST_FILES[mine.name])
    assert site.requests == []


def test_all_files_that_are_missing_are_named(
    open_stand_in: Opener, site: Site, tmp_path: Path
) -> None:
    source = open_stand_in("mnist", MNIST_FILES, tmp_path)
    there, *missing = MNIST_FILES
    (tmp_path / there).write_bytes(MNIST_FILES[there])
    site.files.clear()
    with pytest.raises(DataError) as caught:
        list(source.items())
    assert caught.value.cause.startswith(f"{missing[0]} cannot be downloaded: ")
    named = ", ".join(f"{name} ({len(MNIST_FILES[name])} bytes)" for name in missing)
    assert caught.value.fix == (
        f"Run again where there is a network, or put {named} into one folder and add "
        "--set data.download_dir=FOLDER"
    )


def test_a_second_listing_downloads_nothing(open_stand_in: Opener, site: Site) -> None:
    source = open_stand_in("mnist", MNIST_FILES)
    first = list(source.items())
    assert list(source.items()) == first
    assert len(site.requests) == len(MNIST_FILES)


def test_labels_that_do_not_fit_the_images_are_an_error(open_stand_in: Opener) -> None:
    files = MNIST_FILES | {"t10k-labels-idx1-ubyte.gz": gzip.compress(idx_labels([1]))}
    with pytest.raises(DataError) as caught:
        list(open_stand_in("mnist", files).items())
    assert "The files of mnist are not in its format: 2 images and 1 labels." in caught.value.cause


def test_an_unknown_set_names_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        classic.open_classic("minst", DataConfig())
    assert caught.value.cause == (
        "'minst' is no classic set; known are cifar10, flowers, mnist. Did you mean 'mnist'?"
    )


def test_a_remote_download_folder_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        classic.open_classic("mnist", DataConfig(download_dir="s3://bucket/cache"))
    assert caught.value.cause == "data.download_dir is s3://bucket/cache, not a local folder."


@pytest.mark.parametrize("name", sorted(classic.CLASSIC_SETS))
def test_what_is_published_is_stated_in_full(name: str) -> None:
    known = classic.CLASSIC_SETS[name]
    assert known.name == name
    assert len(set(known.class_names)) == len(known.class_names)
    for file in known.files:
        assert len(bytes.fromhex(file.sha256)) == 32
        assert file.size > 0
        assert len(file.urls) >= 2
        assert all(url.endswith(f"/{file.name}") for url in file.urls)
        assert f"| {name} | `{file.name}` | {file.size:,} | `{file.sha256}` |" in _documented()


def _documented() -> str:
    return (Path(__file__).parents[3] / "docs/storage.md").read_text(encoding="utf-8")
