"""Warm-up requests: real images, few, bounded."""

from pathlib import Path

import pytest
import tensorflow as tf
from stored_samples import write_stored
from tensorflow_serving.apis import prediction_log_pb2

from slimworks.components import contracts
from slimworks.components.examples import tfrecord
from slimworks.components.trainer import warmup_requests
from slimworks.components.trainer.dataset import StoredExamples
from slimworks.components.trainer.warmup_requests import write_warmup_requests


def requests(saved_model: Path) -> list[list[bytes]]:
    """The images of each request."""
    found = []
    path = saved_model / contracts.EXTRA_ASSETS_FOLDER / "tf_serving_warmup_requests"
    for record in tfrecord.iterate_records(path):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.predict_log.request.model_spec.signature_name == "serving_default"
        found.append(list(tf.make_ndarray(log.predict_log.request.inputs["images"])))
    return found


def stored(folder: Path, num_images: int, channels: int = 3) -> StoredExamples:
    return write_stored(
        folder, [index % 2 for index in range(num_images)], split="eval", channels=channels
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_one_image_and_several_of_the_eval_split(tmp_path: Path, channels: int) -> None:
    examples = stored(tmp_path / "stored", 20, channels)
    num_bytes = write_warmup_requests(examples, tmp_path / "model")
    one, several = requests(tmp_path / "model")
    assert (len(one), len(several)) == (1, 8)
    assert one[0] == several[0]
    assert len(set(several)) == 8
    pixels, _, _ = examples.parse(next(iter(examples.records("eval"))))
    decoded = tf.io.decode_jpeg(one[0])
    assert decoded.shape == pixels.shape
    path = tmp_path / "model/assets.extra/tf_serving_warmup_requests"
    assert num_bytes == path.stat().st_size


def test_a_single_image_makes_a_single_request(tmp_path: Path) -> None:
    write_warmup_requests(stored(tmp_path / "stored", 1), tmp_path / "model")
    assert [len(images) for images in requests(tmp_path / "model")] == [1]


def test_large_images_are_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = stored(tmp_path / "stored", 20)
    write_warmup_requests(examples, tmp_path / "model")
    size = max(len(image) for image in requests(tmp_path / "model")[1])
    monkeypatch.setattr(warmup_requests, "MAX_BYTES", 3 * size)
    write_warmup_requests(examples, tmp_path / "model")
    one, several = requests(tmp_path / "model")
    assert len(one) == 1
    assert 3 <= len(several) < 8
    monkeypatch.setattr(warmup_requests, "MAX_BYTES", 1)
    write_warmup_requests(examples, tmp_path / "model")
    assert [len(images) for images in requests(tmp_path / "model")] == [1]
