"""TFRecords in TF-Slim's layout, in TFDS's, and our own examples."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import pytest
from source_samples import Values, listed, refused, slim, write_records

from slimworks.components.errors import DataError
from slimworks.components.examples import tfrecord
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.detect import open_source
from slimworks.components.ingest.sources.items import TFRECORD, units_of
from slimworks.components.ingest.storage import access


def tfds(index: int, image: bytes = b"png") -> Values:
    return {"image": image, "label": index, "file_name": "a.png"}


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """TF-Slim's folder of flowers."""
    for split, count in (("train", 2), ("validation", 1)):
        for shard in range(count):
            name = f"flowers_{split}_{shard:05d}-of-{count:05d}.tfrecord"
            write_records(tmp_path / name, [slim(shard), slim(1 + shard)])
    (tmp_path / "labels.txt").write_text("0:daisy\n1:dandelion\n2:roses\n")
    return tmp_path


def test_slim_layout_is_read_with_its_labels_and_splits(flowers: Path) -> None:
    found = listed(flowers)
    assert found.source.format == "tfrecord"
    assert [(item.name, item.class_name, item.split) for item in found.items] == [
        ("flowers_train_00000-of-00002.tfrecord#1", "daisy", "train"),
        ("flowers_train_00000-of-00002.tfrecord#2", "dandelion", "train"),
        ("flowers_train_00001-of-00002.tfrecord#1", "dandelion", "train"),
        ("flowers_train_00001-of-00002.tfrecord#2", "roses", "train"),
        ("flowers_validation_00000-of-00001.tfrecord#1", "daisy", "eval"),
        ("flowers_validation_00000-of-00001.tfrecord#2", "dandelion", "eval"),
    ]
    assert found.source.declared_classes == ("daisy", "dandelion", "roses")


def test_tfds_layout_is_read_with_its_labels_and_splits(tmp_path: Path) -> None:
    write_records(tmp_path / "cats_vs_dogs-train.tfrecord-00000-of-00002", [tfds(1)])
    write_records(tmp_path / "cats_vs_dogs-train.tfrecord-00001-of-00002", [])
    write_records(tmp_path / "cats_vs_dogs-test.tfrecord-00000-of-00001", [tfds(0)])
    (tmp_path / "label.labels.txt").write_text("cat\ndog\n")
    for name in ("dataset_info.json", "features.json"):
        (tmp_path / name).write_text("{}")
    found = listed(tmp_path)
    assert {(item.class_name, item.split) for item in found.items} == {
        ("dog", "train"), ("cat", "test"),
    }  # fmt: skip
    assert found.source.declared_classes == ("cat", "dog")


def test_items_lead_to_the_bytes_of_the_image(flowers: Path, tmp_path: Path) -> None:
    shard = write_records(tmp_path / "x.tfrecord", [slim(0, b"first"), slim(1, b"second")])
    items = listed(shard).items
    assert {item.kind for item in items} == {TFRECORD}
    assert [access.read_item(item, 1000) for item in items] == [b"first", b"second"]


def test_version_follows_the_record_and_not_the_file(flowers: Path) -> None:
    before = {item.name: item.version for item in listed(flowers).items}
    shard = flowers / "flowers_train_00000-of-00002.tfrecord"
    write_records(shard, [slim(0), slim(1, b"JPEG"), slim(0)])
    after = {item.name: item.version for item in listed(flowers).items}
    assert {name for name in after if after[name] != before.get(name)} == {
        f"{shard.name}#2", f"{shard.name}#3",
    }  # fmt: skip


def test_units_are_the_files_and_the_labels(flowers: Path) -> None:
    names = {Path(unit.name).name for unit in units_of(open_source(str(flowers), DataConfig()))}
    assert names == {path.name for path in flowers.iterdir()}


def test_own_examples_keep_split_group_slices_and_order_of_classes(tmp_path: Path) -> None:
    cat = slim(1, class__text="cats", id="1", group="p7") | {"slice/light": "day"}
    dog = slim(0, class__text="dogs", id="2", group="2")
    write_records(tmp_path / "Split-train" / "data_tfrecord-00000-of-00001", [cat])
    write_records(tmp_path / "Split-test" / "data_tfrecord-00000-of-00001", [dog])
    found = listed(tmp_path)
    assert {item.name: (item.class_name, item.split, item.group) for item in found.items} == {
        "Split-train/data_tfrecord-00000-of-00001#1": ("cats", "train", "p7"),
        "Split-test/data_tfrecord-00000-of-00001#1": ("dogs", "test", None),
    }
    assert [item.slices for item in found.items if item.group] == [{"light": "day"}]
    assert found.source.declared_classes == ("dogs", "cats")


def test_one_split_folder_of_own_examples_is_a_source(tmp_path: Path) -> None:
    shard = tmp_path / "Split-eval" / "data_tfrecord-00000-of-00001"
    write_records(shard, [slim(0), slim(1)])
    assert {item.split for item in listed(shard.parent).items} == {"eval"}


def test_numbers_without_names_are_classes_in_numeric_order(tmp_path: Path) -> None:
    found = listed(write_records(tmp_path / "a.tfrecord", [slim(10), slim(9), slim(0)]))
    assert found.source.declared_classes == ("0", "9", "10")


def test_text_label_wins_over_the_labels_file_beside_it(flowers: Path) -> None:
    path = write_records(
        flowers / "x.tfrecord", [slim(0, class__text="Rose"), slim(1, class__text="b")]
    )
    found = listed(path)
    assert found.classes == ["Rose", "b"]
    assert found.source.declared_classes == ("Rose", "b")


def test_configured_labels_file_wins_over_the_text(tmp_path: Path) -> None:
    path = write_records(
        tmp_path / "x.tfrecord", [slim(0, class__text="r"), slim(1, class__text="s")]
    )
    (tmp_path / "names").write_text("roses\ntulips\n")
    assert listed(path, labels_file=str(tmp_path / "names")).classes == ["roses", "tulips"]


def test_shards_without_a_word_for_their_format_are_recognised(tmp_path: Path) -> None:
    write_records(tmp_path / "train-00000-of-00001", [slim(0), slim(1)])
    write_records(tmp_path / "validation-00000-of-00001", [slim(0)])
    assert {item.split for item in listed(tmp_path).items} == {"train", "eval"}


def test_file_without_a_telling_name_is_recognised_by_its_start(tmp_path: Path) -> None:
    assert (
        listed(write_records(tmp_path / "flowers.bin", [slim(0), slim(1)])).source.format
        == "tfrecord"
    )


def test_records_that_cannot_be_used_are_named(flowers: Path) -> None:
    no_image: Values = {"image/class/label": 1}
    bad = [no_image, slim(7), {"image/encoded": b"x"}, slim([0, 1])]  # type: ignore[arg-type]
    write_records(flowers / "more.tfrecord", bad)
    found = listed(flowers, max_rejected_fraction=0.5)
    assert len(found.items) == 6
    assert found.source.notes.ignored == [f"more.tfrecord#{number}" for number in (1, 2, 3, 4)]
    assert found.warnings == [
        f"4 of 10 records of {flowers} cannot be used: record 1 of more.tfrecord has no "
        f"image/encoded; record 2 of more.tfrecord has the class 7, which {flowers}/labels.txt "
        "does not have; record 3 of more.tfrecord has no label."
    ]
    cause, fix = refused(flowers, DataError)
    assert cause.endswith("data.max_rejected_fraction is 0.2.")
    assert fix == "Correct them, or leave them out: --set data.max_rejected_fraction=0.4"


def test_records_of_another_kind(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.tfrecord", [{"audio": b"x", "label": 1}])
    assert refused(path, DataError) == (
        f"The first record of {path} has no picture under image/encoded (TF-Slim) or image (TFDS). "
        "Its features: audio, label.",
        "Write the records with image/encoded, image/format and image/class/label.",
    )


def test_records_of_one_class(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.tfrecord", [slim(3)])
    assert refused(path, DataError) == (
        f"{path} holds one class only, '3': a classifier needs at least two.",
        "Give TFRecords of at least two classes.",
    )


def test_record_that_is_no_example(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    with path.open("wb") as stream:
        tfrecord.write_record(stream, b"\xff\xff\xff")
    assert refused(path, DataError) == (
        f"Record 1 of {path} is no tf.train.Example.",
        "Write one tf.train.Example a record, as TF-Slim and TFDS do.",
    )


COPY = "Copy or write the file again, or move it elsewhere: the other files can be used."


@pytest.mark.parametrize(
    ("cut", "cause"),
    [
        (1, "is damaged at byte {second}: the file ends inside a record."),
        (30, "is damaged at byte {second}: the file ends inside a record."),
        (-5, "is damaged at byte {second}: the file ends inside a record."),
    ],
)
def test_file_that_is_cut_short(tmp_path: Path, cut: int, cause: str) -> None:
    path = write_records(tmp_path / "a.tfrecord", [slim(0), slim(1)])
    data = path.read_bytes()
    second = len(data) // 2
    path.write_bytes(data[: second + cut] if cut > 0 else data[:cut])
    assert refused(path, DataError) == (f"{path} {cause.format(second=second)}", COPY)


@pytest.mark.parametrize(
    ("place", "cause"),
    [(3, "no record starts here"), (40, "record 2 does not match its checksum")],
)
def test_file_with_flipped_bits(tmp_path: Path, place: int, cause: str) -> None:
    path = write_records(tmp_path / "a.tfrecord", [slim(0), slim(1)])
    data = bytearray(path.read_bytes())
    second = len(data) // 2
    data[second + place] ^= 1
    path.write_bytes(data)
    assert refused(path, DataError) == (f"{path} is damaged at byte {second}: {cause}.", COPY)


def test_compressed_files_are_named(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.tfrecord", [slim(0), slim(1)])
    plain = path.read_bytes()
    path.write_bytes(gzip.compress(plain))
    assert refused(path, DataError) == (
        f"{path} is compressed by gzip: records cannot be read from the middle of it.",
        f"Unpack it and give the new file: gunzip < '{path}' > new.tfrecord",
    )
    path.write_bytes(zlib.compress(plain))
    assert refused(path, DataError) == (
        f"{path} is compressed by zlib: records cannot be read from the middle of it.",
        "Write it again without compression: tf.io.TFRecordWriter(path)",
    )


def test_record_larger_than_any_image_may_be_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    length = struct.pack("<Q", 2**40)
    path.write_bytes(length + struct.pack("<I", tfrecord.masked_crc(length)) + b"x" * 100)
    assert refused(path, DataError) == (
        f"Record 1 of {path} has {2**40} bytes, more than data.max_file_bytes allows.",
        f"Allow it: --set data.max_file_bytes={2**40}",
    )
