"""TFRecords with images, in the layout of TF-Slim and of our own examples, or in TFDS's.

Each record is read whole once, because its label stands in it; none is kept. A damaged record stops
the run: what follows it cannot be found again. A record without an image or a label is left out and
named; where there are too many of them, the source is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from slimworks.components.errors import DataError
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources import classes, contents, names
from slimworks.components.ingest.sources.faults import Faults
from slimworks.components.ingest.sources.items import (
    TFRECORD,
    SourceItem,
    SourceNotes,
    SourceUnit,
    display_name,
)
from slimworks.components.ingest.sources.labels import read_labels
from slimworks.components.ingest.sources.opening import unit_of_file
from slimworks.components.ingest.sources.tfrecord_frames import Record, example_of, read_records
from slimworks.components.ingest.sources.tfrecord_layouts import (
    Labelled,
    Layout,
    UnusableRecordError,
    labelled,
    layout_of,
)

# A record holds other features beside the image.
_ROOM_BYTES = 1 << 20


class TFRecordSource:
    """TFRecord files with one image in each record."""

    format = "tfrecord"
    images_are_files = False

    def __init__(self, location: str, shards: Sequence[str], config: DataConfig) -> None:
        """Reads the labels file.

        Args:
            location: The folder or file that the user gave.
            shards: Paths or URIs of the TFRecord files.
            config: The `data` section.

        Raises:
            ConfigError: The labels file does not exist.
            DataError: It cannot be used.
        """
        self.location = location
        self.notes = SourceNotes()
        self._shards = shards
        self._config = config
        self._labels_file = config.labels_file or contents.labels_file_beside(shards[0], location)
        self._labels = read_labels(self._labels_file) if self._labels_file else None
        self.declared_classes: tuple[str, ...] = tuple((self._labels or {}).values())

    def containers(self) -> Iterator[SourceUnit]:
        """The TFRecord files and the labels file."""
        yield from map(unit_of_file, self._shards)
        if self._labels_file:
            yield unit_of_file(self._labels_file)

    def items(self) -> Iterator[SourceItem]:
        """Yields the records in order, file after file."""
        self.notes.clear()
        sizes: Counter[str] = Counter()
        faults = Faults(self.notes, self.location, "records")
        indices: dict[str, int] = {}
        for shard, record, found in self._labelled(faults):
            class_name = found.text or str(found.class_index)
            if found.class_index is not None:
                indices.setdefault(class_name, found.class_index)
            sizes[class_name] += 1
            yield self._item(shard, record, class_name, found)
        faults.conclude(self._config.max_rejected_fraction)
        classes.require_two(
            sizes, display_name(self.location), self.notes, "record with an image and its class",
            "Give TFRecords of at least two classes.",
        )  # fmt: skip
        self._declare(indices)

    def _labelled(self, faults: Faults) -> Iterator[tuple[str, Record, Labelled]]:
        """Yields file, record and what it says, its class by name where a name is known."""
        layout: Layout | None = None
        for shard in self._shards:
            for record in read_records(shard, self._config.max_file_bytes + _ROOM_BYTES):
                faults.num_looked_at += 1
                features = example_of(shard, record).features.feature
                layout = layout or _required_layout(shard, features.keys())
                try:
                    yield shard, record, self._with_name(labelled(features, layout))
                except UnusableRecordError as error:
                    name = self._name(shard)
                    where = f"record {record.number} of {display_name(name)}"
                    faults.note(f"{name}#{record.number}", f"{where} has {error}")

    def _with_name(self, found: Labelled) -> Labelled:
        """Replaces the index by a name: the record's own, else that of the labels file."""
        if found.class_index is None or self._labels is None:
            return found
        if found.text and not self._config.labels_file:
            return found
        if found.class_index not in self._labels:
            file = display_name(str(self._labels_file))
            raise UnusableRecordError(f"the class {found.class_index}, which {file} does not have")
        return found.named(self._labels[found.class_index])

    def _name(self, shard: str) -> str:
        inside = shard.removeprefix(f"{self.location}/")
        return shard.rpartition("/")[2] if inside == shard else inside

    def _split(self, shard: str) -> str | None:
        """By the last split word in the file's name, else in its folder's."""
        folder, _, file = self._name(shard).rpartition("/")
        own = self.location.rpartition("/")[2]
        if not folder and own.startswith("Split-"):
            folder = own
        return names.split_token(file) or names.split_token(folder)

    def _item(self, shard: str, record: Record, class_name: str, found: Labelled) -> SourceItem:
        return SourceItem(
            f"{self._name(shard)}#{record.number}", class_name, shard, TFRECORD,
            f"{record.offset}:{len(record.data)}", size=len(record.data),
            version=f"{record.checksum:08x}", split=self._split(shard), group=found.group,
            slices=found.slices,
        )  # fmt: skip

    def _declare(self, indices: dict[str, int]) -> None:
        """Class names by index, where no labels file has them all."""
        if not set(indices) <= set(self.declared_classes):
            self.declared_classes = tuple(sorted(indices, key=lambda name: (indices[name], name)))


def _required_layout(shard: str, keys: Collection[str]) -> Layout:
    layout = layout_of(keys)
    if layout is None:
        found = classes.named(sorted(keys)) or "none"
        raise DataError(
            f"The first record of {display_name(shard)} has no picture under image/encoded "
            f"(TF-Slim) or image (TFDS). Its features: {found}.",
            "Write the records with image/encoded, image/format and image/class/label.",
        )
    return layout
