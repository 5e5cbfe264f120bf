from __future__ import annotations

import shutil

import pytest
import tensorflow as tf
from serving_models import png
from tensorflow_serving.apis import prediction_log_pb2

from slimworks.components.serving.process import ServerProcess
from slimworks.components.serving.request_errors import RequestError
from slimworks.components.serving.server import load_model
from slimworks.components.serving.warmup import warm_up


def prediction_log(images, signature=""):
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "of no account"
    request.model_spec.signature_name = signature
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
    return log


@pytest.fixture
def model_folder(color_model, tmp_path):
    return shutil.copytree(color_model, tmp_path / "base" / "1")


def write_records(folder, logs):
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def test_records_are_run_before_the_model_is_available(model_folder):
    write_records(model_folder, [prediction_log([png("red")]), prediction_log([png("blue")] * 2)])
    with ServerProcess(model_folder.parent, "m") as server:
        log = server.log_text()
    assert "2 requests" in log
    assert log.index("Warm-up of") < log.index("is AVAILABLE")


def test_record_that_fails_fails_the_load(model_folder):
    write_records(model_folder, [prediction_log([b"no image"])])
    with pytest.raises(RequestError, match="Unknown image file format"):
        load_model(model_folder, warm_up_first=True)
    load_model(model_folder, warm_up_first=False).close()


def test_records_of_other_kinds_are_left_out(model_folder):
    other = prediction_log_pb2.PredictionLog()
    other.classify_log.request.model_spec.name = "m"
    write_records(model_folder, [other, prediction_log([png("red")])])
    model = load_model(model_folder, warm_up_first=False)
    assert warm_up(model) == 1
    model.close()


def test_model_without_records_is_not_warmed_up(color_model):
    model = load_model(color_model, warm_up_first=True)
    assert warm_up(model) == 0
    model.close()
