"""The classic sets by name: MNIST, CIFAR-10 and TensorFlow's flowers, from published files.

Sizes and SHA-256 digests are those of TensorFlow Datasets (url_checksums/mnist.txt, cifar10.txt and
tf_flowers.txt in github.com/tensorflow/datasets).
"""

from __future__ import annotations

import dataclasses
import gzip
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from slimworks.components.errors import ConfigError, DataError, nearest
from slimworks.components.ingest import downloads
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.downloads import PublishedFile
from slimworks.components.ingest.sources import items
from slimworks.components.ingest.sources.items import SourceItem, SourceNotes, SourceUnit
from slimworks.components.ingest.storage.archives import CIFAR10_RECORD_BYTES, IDX_HEADER

_DEFAULT_FOLDER = "~/.cache/slimworks"
_IDX_LABELS_HEADER_BYTES = 8  # magic number, count
_CIFAR10_RECORDS_AT_ONCE = 1_000  # 3 MB

_MNIST_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",  # torchvision's
)
_CIFAR10_MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/",
    "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
)
_FLOWERS_MIRRORS = (
    "https://storage.googleapis.com/download.tensorflow.org/example_images/",
    "http://download.tensorflow.org/example_images/",
)
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

Items = Callable[[Mapping[str, Path], DataConfig, SourceNotes], Iterator[SourceItem]]


@dataclasses.dataclass(frozen=True)
class ClassicSet:
    """All that must agree about one set.

    Attributes:
        name: What `data.source` calls it.
        files: What it is published as.
        class_names: In the order of its class indices.
        items: Lists its images, given the path of each file by name, the settings and the notes to
            write.
    """

    name: str
    files: tuple[PublishedFile, ...]
    class_names: tuple[str, ...]
    items: Items


def open_classic(name: str, config: DataConfig) -> ClassicSource:
    """Opens a set by name; downloads nothing yet.

    Raises:
        ConfigError: There is no such set, or data.download_dir is no local folder.
    """
    if name not in CLASSIC_SETS:
        raise ConfigError(
            f"{name!r} is no classic set; known are {', '.join(sorted(CLASSIC_SETS))}."
            f"{nearest(name, CLASSIC_SETS)}",
            "Correct the name: --data mnist, or leave data.format=classic out.",
        )
    return ClassicSource(CLASSIC_SETS[name], config)


class ClassicSource:
    """A classic set as a source. Its files are had when images are asked for, not before."""

    format = "classic"
    images_are_files = False

    def __init__(self, classic_set: ClassicSet, config: DataConfig) -> None:
        self.location = classic_set.name
        self.declared_classes = classic_set.class_names
        self.notes = SourceNotes()
        self._set = classic_set
        self._config = config
        self._folder = _download_folder(config.download_dir)

    def containers(self) -> Iterator[SourceUnit]:
        """Yields the published files: what they hold never changes."""
        for file in self._set.files:
            yield SourceUnit(file.name, file.size, file.sha256)

    def items(self) -> Iterator[SourceItem]:
        """Yields every image, after the files are verified or downloaded.

        Raises:
            DataError: A file is not to be had, or not what was published.
        """
        paths = self._paths()
        try:
            yield from self._set.items(paths, self._config, self.notes)
        except (EOFError, gzip.BadGzipFile, tarfile.TarError, zlib.error, ValueError) as error:
            raise DataError(
                f"The files of {self.location} are not in its format: {error}.",
                "Report it: what was published has another digest than these.",
            ) from error

    def _paths(self) -> dict[str, Path]:
        """Path of each file by name, once all are had."""
        folder = self._folder / self._set.name
        found: dict[str, Path] = {}
        for file in self._set.files:
            for path in (self._folder / file.name, folder / file.name):
                if file.name not in found and path.exists():
                    downloads.require_published(file, path)
                    found[file.name] = path
        missing = [file for file in self._set.files if file.name not in found]
        for number, file in enumerate(missing, 1):
            found[file.name] = downloads.fetch(file, folder, missing[number:])
        return found


def _download_folder(setting: str | None) -> Path:
    if setting is not None and items.is_uri(setting):
        raise ConfigError(
            f"data.download_dir is {setting}, not a local folder.",
            "Name a folder of this machine: --set data.download_dir=FOLDER",
        )
    return Path(os.path.abspath(os.path.expanduser(setting or _DEFAULT_FOLDER)))


def _mnist_items(
    paths: Mapping[str, Path], config: DataConfig, notes: SourceNotes
) -> Iterator[SourceItem]:
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = paths[f"{prefix}-images-idx3-ubyte.gz"]
        with gzip.open(images) as stream:
            _, count, height, width = IDX_HEADER.unpack(stream.read(IDX_HEADER.size))
        with gzip.open(paths[f"{prefix}-labels-idx1-ubyte.gz"]) as stream:
            labels = stream.read()[_IDX_LABELS_HEADER_BYTES:]
        if len(labels) != count:
            raise ValueError(f"{count} images and {len(labels)} labels")
        version = _version(images)
        for number, label in enumerate(labels):
            yield SourceItem(
                f"{split}/{number:05d}", str(label), str(images), items.IDX_IMAGE, str(number),
                height * width, version, split=split,
            )  # fmt: skip


def _cifar10_items(
    paths: Mapping[str, Path], config: DataConfig, notes: SourceNotes
) -> Iterator[SourceItem]:
    (archive,) = paths.values()
    version = _version(archive)
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            batch = os.path.basename(member.name).removesuffix(".bin")
            if not batch.startswith(("data_batch_", "test_batch")):
                continue
            split = "test" if batch == "test_batch" else "train"
            for number, label in enumerate(_cifar10_labels(tar, member)):
                yield SourceItem(
                    f"{batch}/{number:05d}", CIFAR10_CLASSES[label], str(archive),
                    items.CIFAR10_IMAGE, f"{member.name}:{number}", CIFAR10_RECORD_BYTES - 1,
                    version, split=split,
                )  # fmt: skip


def _cifar10_labels(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[int]:
    stream = tar.extractfile(member)
    assert stream is not None
    while records := stream.read(_CIFAR10_RECORDS_AT_ONCE * CIFAR10_RECORD_BYTES):
        yield from records[::CIFAR10_RECORD_BYTES]


def _version(path: Path) -> str:
    return str(path.stat().st_mtime_ns)


def _flowers_items(
    paths: Mapping[str, Path], config: DataConfig, notes: SourceNotes
) -> Iterator[SourceItem]:
    from slimworks.components.ingest.sources.archives import ArchiveSource

    (archive,) = map(str, paths.values())
    source = ArchiveSource(archive, [archive], config)
    yield from source.items()
    for note in dataclasses.fields(SourceNotes):
        setattr(notes, note.name, getattr(source.notes, note.name))


def _published(mirrors: Sequence[str], *files: tuple[str, int, str]) -> tuple[PublishedFile, ...]:
    return tuple(
        PublishedFile(name, size, sha256, tuple(mirror + name for mirror in mirrors))
        for name, size, sha256 in files
    )


CLASSIC_SETS: dict[str, ClassicSet] = {
    known.name: known
    for known in (
        ClassicSet(
            "mnist",
            _published(
                _MNIST_MIRRORS,
                (
                    "train-images-idx3-ubyte.gz", 9_912_422,
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                (
                    "train-labels-idx1-ubyte.gz", 28_881,
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
                (
                    "t10k-images-idx3-ubyte.gz", 1_648_877,
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                (
                    "t10k-labels-idx1-ubyte.gz", 4_542,
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            ),
            tuple("0123456789"),
            _mnist_items,
        ),
        ClassicSet(
            "cifar10",
            _published(
                _CIFAR10_MIRRORS,
                (
                    "cifar-10-binary.tar.gz", 170_052_171,
                    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                ),
            ),
            CIFAR10_CLASSES,
            _cifar10_items,
        ),
        ClassicSet(
            "flowers",
            _published(
                _FLOWERS_MIRRORS,
                (
                    "flower_photos.tgz", 228_813_984,
                    "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
                ),
            ),
            ("daisy", "dandelion", "roses", "sunflowers", "tulips"),
            _flowers_items,
        ),
    )
}  # fmt: skip
