from __future__ import annotations

import shutil

import pytest
import tensorflow as tf
from serving_models import png
from tensorflow_serving.apis import input_pb2, prediction_log_pb2

from slimworks.components.serving.example_inference import classify, regress
from slimworks.components.serving.flags import ServerFlags
from slimworks.components.serving.loading import Loader
from slimworks.components.serving.metrics import Metrics
from slimworks.components.serving.process import ServerProcess
from slimworks.components.serving.request_errors import RequestError
from slimworks.components.serving.warmup import warm_up


def loaded(folder, **flags):
    return Loader(ServerFlags("unused", **flags), Metrics())(folder)


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
        loaded(model_folder)
    loaded(model_folder, enable_model_warmup=False).close()


class Counting:
    """Stands for a model; counts what it is asked."""

    def __init__(self, path):
        self.path, self.num_requests = path, 0

    def predict(self, name, inputs, output_filter):
        self.num_requests += 1


def test_records_run_as_often_as_asked_for(model_folder):
    write_records(model_folder, [prediction_log([png("red")]), prediction_log([png("blue")])])
    model = Counting(model_folder)
    assert warm_up(model, num_iterations=3) == 2
    assert model.num_requests == 6


def test_loads_and_warm_ups_are_counted(model_folder):
    metrics = Metrics()
    loader = Loader(ServerFlags("unused"), metrics)
    loader(model_folder).close()
    write_records(model_folder, [prediction_log([b"no image"])])
    with pytest.raises(RequestError):
        loader(model_folder)
    text = metrics.text()
    name, path = ":tensorflow:cc:saved_model:load_attempt_count", f'model_path="{model_folder}"'
    assert f'{name}{{{path},status="success"}} 1' in text
    assert f'{name}{{{path},status="fail"}} 1' in text
    assert ":tensorflow:serving:model_warmup_latency_count{" in text


def test_other_tags_than_the_models_fail_the_load(model_folder):
    with pytest.raises(RuntimeError, match="could not be found in SavedModel"):
        loaded(model_folder, saved_model_tags="serve,gpu")


def test_a_models_own_batching_parameters_win(model_folder):
    (model_folder / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")
    request = prediction_log([png("red")] * 3).predict_log.request
    flags = {"enable_batching": True, "enable_per_model_batching_parameters": True}
    model = loaded(model_folder, **flags)
    with pytest.raises(RequestError, match="larger than maximum input batch size 2"):
        model.predict("serving_default", request.inputs)
    model.close()
    model = loaded(model_folder, enable_batching=True)
    assert model.predict("serving_default", request.inputs)["is_known"].bool_val == [True] * 3
    model.close()


def test_method_names_are_checked_where_asked_for(example_model):
    model = loaded(example_model)
    examples = input_pb2.Input()
    examples.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    for check, function, message in (
        (True, classify, "Expected classification signature method_name to be tensorflow/serving/"),
        (True, regress, "Expected regression signature method_name to be tensorflow/serving/regr"),
    ):
        with pytest.raises(RequestError, match=message):
            function(model, "serving_default", examples, check_method_name=check)
    found = classify(model, "serving_default", examples, check_method_name=False)
    assert len(found.classifications) == 1
    model.close()


def test_classify_and_regress_records_are_run(example_model, tmp_path):
    folder = shutil.copytree(example_model, tmp_path / "1")
    logs = []
    for kind, signature in (("classify_log", "classify"), ("regress_log", "regress")):
        log = prediction_log_pb2.PredictionLog()
        request = getattr(log, kind).request
        request.model_spec.signature_name = signature
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
        logs.append(log)
    write_records(folder, logs)
    model = loaded(folder, enable_model_warmup=False)
    assert warm_up(model) == 2
    model.close()


def test_record_of_another_kind_fails_the_load(model_folder):
    other = prediction_log_pb2.PredictionLog()
    other.session_run_log.request.model_spec.name = "m"
    write_records(model_folder, [other])
    with pytest.raises(RequestError, match="Unsupported log_type for warmup: session_run_log"):
        loaded(model_folder)


def test_model_without_records_is_not_warmed_up(color_model):
    model = loaded(color_model)
    assert warm_up(model) == 0
    model.close()
