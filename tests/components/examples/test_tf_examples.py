"""Our Example message and TFRecord framing against TensorFlow's own."""

from pathlib import Path

import pytest

from slimworks.components import contracts
from slimworks.components.errors import DataError
from slimworks.components.examples import tfrecord
from slimworks.components.examples.encoding import ImageRecord, decode_example, encode_example
from slimworks.components.examples.reading import count_examples, iterate_examples

RECORD = ImageRecord(
    encoded=b"\xff\xd8bytes",
    format="jpeg",
    original_format="jpeg",
    class_index=3,
    class_name="Müller",
    filename="Müller/猫 1.jpg",
    height=480,
    width=640,
    colorspace="RGB",
    channels=3,
    image_id="ab" * 32,
    group="slide 7",
    brightness=0.25,
    sharpness=0.1,
    span=1,
    slices={"camera": "north"},
)


def write_split(folder: Path, records: list[bytes]) -> Path:
    shard = folder / "Split-train" / "data_tfrecord-00000-of-00001"
    shard.parent.mkdir(parents=True)
    with open(shard, "wb") as stream:
        for record in records:
            tfrecord.write_record(stream, record)
    return shard


def test_tensorflow_parses_what_we_encode() -> None:
    from tensorflow.core.example import example_pb2

    parsed = example_pb2.Example.FromString(encode_example(RECORD))
    feature = parsed.features.feature
    assert feature[contracts.IMAGE_ENCODED].bytes_list.value[0] == RECORD.encoded
    assert feature[contracts.CLASS_INDEX].int64_list.value[0] == 3
    assert feature[contracts.IMAGE_BRIGHTNESS].float_list.value[0] == 0.25
    assert feature["slice/camera"].bytes_list.value[0] == b"north"
    assert len(feature) == 16


def test_we_decode_what_tensorflow_encodes() -> None:
    from tensorflow.core.example import example_pb2

    parsed = example_pb2.Example.FromString(encode_example(RECORD))
    assert decode_example(parsed.SerializeToString()) == decode_example(encode_example(RECORD))
    assert decode_example(example_pb2.Example().SerializeToString()) == {}


def test_decoding_gives_back_every_value() -> None:
    features = decode_example(encode_example(RECORD))
    assert features[contracts.IMAGE_FILENAME] == "Müller/猫 1.jpg".encode()
    assert features[contracts.IMAGE_HEIGHT] == 480
    assert features[contracts.IMAGE_SPAN] == 1
    assert features[contracts.IMAGE_SHARPNESS] == pytest.approx(0.1)
    assert set(contracts.METADATA_FEATURES) < set(features)


def test_tensorflow_reads_the_records_we_write(tmp_path: Path) -> None:
    import tensorflow as tf

    records = [b"", b"a", b"b" * 100_000]
    shard = write_split(tmp_path, records)
    assert [item.numpy() for item in tf.data.TFRecordDataset(str(shard))] == records


def test_reading_gives_examples_in_order_and_counting_agrees(tmp_path: Path) -> None:
    write_split(tmp_path, [encode_example(RECORD)] * 3)
    examples = list(iterate_examples(tmp_path, "train"))
    assert [example[contracts.IMAGE_ENCODED] for example in examples] == [RECORD.encoded] * 3
    assert count_examples(tmp_path, "train") == 3


def test_missing_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Split-eval holds no TFRecord shard"):
        list(iterate_examples(tmp_path, "eval"))


@pytest.mark.parametrize(
    ("position", "what"), [(3, "length of a record"), (20, "record does not match its checksum")]
)
def test_damaged_byte_is_found(tmp_path: Path, position: int, what: str) -> None:
    shard = write_split(tmp_path, [encode_example(RECORD)])
    data = bytearray(shard.read_bytes())
    data[position] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match=rf"00000-of-00001 is damaged at byte 0: .*{what}"):
        list(iterate_examples(tmp_path, "train"))


@pytest.mark.parametrize("missing_bytes", [1, 5, 100])
def test_cut_shard_is_found_by_reading_and_counting(tmp_path: Path, missing_bytes: int) -> None:
    shard = write_split(tmp_path, [encode_example(RECORD)] * 2)
    shard.write_bytes(shard.read_bytes()[:-missing_bytes])
    with pytest.raises(DataError, match=r"ends inside a record.*write the examples again"):
        list(iterate_examples(tmp_path, "train"))
    with pytest.raises(DataError, match="ends inside a record"):
        count_examples(tmp_path, "train")


def test_reading_needs_no_tensorflow() -> None:
    import subprocess
    import sys

    code = (
        "import sys, slimworks.components.examples.reading as _; print('tensorflow' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
