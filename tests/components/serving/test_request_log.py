"""Requests logged as PredictionLogs: by a real server, read by TensorFlow Serving's own message."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from serving_models import png
from tensorflow_serving.apis import (
    classification_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from slimworks.components.contracts import EXTRA_ASSETS_FOLDER
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.examples import tfrecord
from slimworks.components.serving import request_log
from slimworks.components.serving.flags import parse_flags
from slimworks.components.serving.log_files import LogFiles, closed_files
from slimworks.components.serving.logged import LogReader, answers_of, images_of, log_files
from slimworks.components.serving.metrics import REQUEST_LOG_COUNT, Metrics
from slimworks.components.serving.model_config import ModelConfig
from slimworks.components.serving.process import ServerProcess
from slimworks.components.serving.request_errors import RequestError
from slimworks.components.serving.request_log import LogLimits, LogSettings, RequestLog, RequestLogs

RED, GREEN = png("red"), png("green")
QUICK = "--request_log_max_file_seconds=1"


def serving_config(tmp_path: Path, color_model: Path, example_model: Path) -> Path:
    """Two models: `colors` logs everything, `examples` as the flags say."""
    for name, model in (("colors", color_model), ("examples", example_model)):
        shutil.copytree(model, tmp_path / name / "1")
    path = tmp_path / "models.config"
    path.write_text(
        f"""model_config_list {{
          config {{ name: "colors" base_path: "{tmp_path}/colors" model_platform: "tensorflow"
            logging_config {{
              log_collector_config {{ type: "tfrecord" filename_prefix: "{tmp_path}/log/colors" }}
              sampling_config {{ sampling_rate: 1.0 }} }} }}
          config {{ name: "examples" base_path: "{tmp_path}/examples"
            model_platform: "tensorflow" }}
        }}""",
        encoding="utf-8",
    )
    return path


def predict_request(*images: bytes, model: str = "colors") -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    tensor = request.inputs["images"]
    tensor.dtype = 7
    tensor.tensor_shape.dim.add(size=len(images))
    tensor.string_val.extend(images)
    return request


def ask_everything(address: str, rest_address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        stub.Predict(predict_request(RED, GREEN), timeout=30)
        classify = classification_pb2.ClassificationRequest()
        classify.model_spec.name = "examples"
        classify.model_spec.signature_name = "classify"
        example = classify.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(2.0)
        stub.Classify(classify, timeout=30)
        regress = regression_pb2.RegressionRequest()
        regress.model_spec.name = "examples"
        regress.model_spec.signature_name = "regress"
        regress.input.CopyFrom(classify.input)
        stub.Regress(regress, timeout=30)
        both = inference_pb2.MultiInferenceRequest(input=classify.input)
        for signature in ("classify", "regress"):
            task = both.tasks.add(method_name=f"tensorflow/serving/{signature}")
            task.model_spec.name = "examples"
            task.model_spec.signature_name = signature
        stub.MultiInference(both, timeout=30)
    body = {"instances": [{"b64": base64.b64encode(GREEN).decode()}]}
    rest = urllib.request.Request(
        f"http://{rest_address}/v1/models/colors:predict", json.dumps(body).encode()
    )
    urllib.request.urlopen(rest, timeout=30).close()


def records(prefix: Path) -> list[Any]:
    """What a foreign reader finds: TFRecords of TensorFlow Serving's own message."""
    return [
        prediction_log_pb2.PredictionLog.FromString(record)
        for path in closed_files(prefix.parent, prefix.name)
        for record in tfrecord.iterate_records(path)
    ]


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def logged(
    color_model: Path, example_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Logs of a server that was asked everything; its metrics are in `metrics.txt`."""
    folder = tmp_path_factory.mktemp("logged")
    config = serving_config(folder, color_model, example_model)
    monitoring = folder / "monitoring.config"
    monitoring.write_text('prometheus_config { enable: true path: "/metrics" }', "utf-8")
    flags = (
        f"--model_config_file={config}", f"--request_log={folder}/log/others",
        "--request_log_sampling_rate=1", QUICK, f"--monitoring_config_file={monitoring}",
    )  # fmt: skip
    with ServerProcess("", "", extra_flags=flags) as server:
        ask_everything(server.address, server.rest_address)
        # While it serves: a file is closed by its age, so that readers see it.
        wait_for(lambda: len(records(folder / "log/colors")) == 2)
        wait_for(lambda: len(records(folder / "log/others")) == 3)
        with urllib.request.urlopen(f"http://{server.rest_address}/metrics", timeout=30) as answer:
            (folder / "metrics.txt").write_bytes(answer.read())
        refuse_foreign_folder(server.address, folder)
    return folder


def refuse_foreign_folder(address: str, folder: Path) -> None:
    """A config from the network must not choose where on the disk is written."""
    request = model_management_pb2.ReloadConfigRequest()
    entry = request.config.model_config_list.config.add(
        name="colors", base_path=f"{folder}/colors", model_platform="tensorflow"
    )
    entry.logging_config.log_collector_config.filename_prefix = f"{folder}/elsewhere/x"
    entry.logging_config.sampling_config.sampling_rate = 1
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as raised:
        model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest(request)
    assert raised.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "by RPC only folders of --request_log" in raised.value.details()
    assert not (folder / "elsewhere").exists()


def test_predict_is_logged_with_answer_and_metadata(logged: Path) -> None:
    by_grpc, by_rest = records(logged / "log/colors")
    metadata = by_grpc.log_metadata
    assert metadata.model_spec.name == "colors"
    assert metadata.model_spec.version.value == 1
    assert metadata.model_spec.signature_name == "serving_default"
    assert metadata.sampling_config.sampling_rate == 1
    assert abs(metadata.timestamp_secs - time.time()) < 600
    assert list(by_grpc.predict_log.request.inputs["images"].string_val) == [RED, GREEN]
    assert by_grpc.predict_log.response.outputs["classes"].string_val[0] == b"red"
    assert list(by_rest.predict_log.request.inputs["images"].string_val) == [GREEN]
    assert by_rest.predict_log.response.outputs["classes"].string_val[0] == b"green"


def test_other_calls_are_logged_by_the_flags_of_the_server(logged: Path) -> None:
    kinds = [log.WhichOneof("log_type") for log in records(logged / "log/others")]
    assert kinds == ["classify_log", "regress_log", "multi_inference_log"]
    assert records(logged / "log/others")[1].regress_log.response.result.regressions[0].value == 3


def test_logged_requests_are_counted(logged: Path) -> None:
    text = (logged / "metrics.txt").read_text("utf-8")
    assert f'prefix="{logged}/log/colors",status="written"}} 2' in text


def test_log_is_a_warm_up_file(logged: Path, color_model: Path, tmp_path: Path) -> None:
    from slimworks.components.serving.loaded_model import LoadedModel
    from slimworks.components.serving.warmup import WARMUP_FILE, warm_up

    shutil.copytree(color_model, tmp_path / "1")
    (path,) = closed_files(logged / "log", "colors")
    (tmp_path / "1" / EXTRA_ASSETS_FOLDER).mkdir()
    shutil.copy(path, tmp_path / "1" / EXTRA_ASSETS_FOLDER / WARMUP_FILE)
    model = LoadedModel(tmp_path / "1")
    assert warm_up(model) == 2
    model.close()


def test_reader_finds_images_and_answers(logged: Path) -> None:
    first, second = LogReader(logged / "log/colors")
    assert images_of(first) == [RED, GREEN]
    assert [answer.class_names[0] for answer in answers_of(first)] == ["red", "green"]
    assert answers_of(first)[0].probabilities[0] > answers_of(first)[0].probabilities[1]
    assert answers_of(second)[0].is_known
    assert [images_of(log) for log in LogReader(logged / "log/colors", 1)] == [[GREEN]]
    everything = list(LogReader(logged / "log"))
    assert len(everything) == 5
    classified = everything[2]
    assert images_of(classified) == [None]  # a tf.Example without an image
    assert answers_of(classified)[0].class_names == ("c", "c")
    assert answers_of(everything[3]) == images_of(everything[3]) == []


def test_reader_skips_what_is_damaged_and_counts_it(logged: Path, tmp_path: Path) -> None:
    (path,) = closed_files(logged / "log", "colors")
    content = path.read_bytes()
    (tmp_path / "a-1.tfrecord").write_bytes(content[:-5])  # torn
    (tmp_path / "a-2.tfrecord").write_bytes(content[:40] + b"?" + content[41:])  # a flipped byte
    (tmp_path / ".a-3.tfrecord.open").write_bytes(content)  # not closed yet
    with open(tmp_path / "a-4.tfrecord", "wb") as stream:
        tfrecord.write_record(stream, b"\xff\xff no message")
        stream.write(b"\xff" * 11)  # a length beyond all memory
    reader = LogReader(tmp_path / "a")
    assert len(list(reader)) == 2
    assert reader.num_damaged == 4


def test_missing_log_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no closed request log at .*nothing\. Give the"):
        log_files(tmp_path / "nothing")
    with pytest.raises(DataError, match="There is no closed request log"):
        log_files(tmp_path / "no" / "folder")


def test_answers_of_any_shape_do_no_harm() -> None:
    log = prediction_log_pb2.PredictionLog()
    outputs = log.predict_log.response.outputs
    outputs["probabilities"].dtype = 1
    for alias in ("classes", "probabilities"):
        for size in (1 << 40, 1 << 20):
            outputs[alias].tensor_shape.dim.add(size=size)
    outputs["classes"].string_val.append(b"one")
    assert answers_of(log) == []


# --- Files ----------------------------------------------------------------------------------


def test_oldest_files_make_room_for_the_newest(tmp_path: Path) -> None:
    files = LogFiles(str(tmp_path / "x"), max_bytes=8_000, max_file_seconds=60)
    for number in range(100):
        assert files.write(b"%03d" % number + b"." * 497)
        total = sum(path.stat().st_size for path in tmp_path.iterdir())
        assert total <= 8_000
    files.close()
    found = [r[:3] for p in closed_files(tmp_path, "x") for r in tfrecord.iterate_records(p)]
    assert found == [b"%03d" % number for number in range(100 - len(found), 100)]
    assert len(found) >= 8_000 // 516 - 3
    assert not files.write(b"." * 1_000), "larger than a file"


def test_another_servers_open_file_is_left_alone_and_a_dead_ones_is_closed(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        files = LogFiles(str(tmp_path / "x"), max_bytes=1 << 20, max_file_seconds=60)
        files.write(b"kept")
        files._stream.flush()  # type: ignore[union-attr]
        os.write(writing, b".")
        signal.pause()
    os.read(reading, 1)
    LogFiles(str(tmp_path / "x"), max_bytes=1 << 20, max_file_seconds=60)
    assert closed_files(tmp_path, "x") == []
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    LogFiles(str(tmp_path / "x"), max_bytes=1 << 20, max_file_seconds=60)
    (path,) = closed_files(tmp_path, "x")
    assert list(tfrecord.iterate_records(path)) == [b"kept"]
    assert path.name[0] != "."


def test_file_that_a_starting_server_took_for_abandoned_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slimworks.components.serving import log_files as module

    lock, taken = module.fcntl.flock, []

    def late(stream: Any, operation: int) -> None:
        if not taken:
            taken.append(stream.name)
            LogFiles(str(tmp_path / "x"), max_bytes=1 << 20, max_file_seconds=60)
        lock(stream, operation)

    files = LogFiles(str(tmp_path / "x"), max_bytes=1 << 20, max_file_seconds=60)
    monkeypatch.setattr(module.fcntl, "flock", late)
    files.write(b"kept")
    files.close()
    assert not Path(taken[0]).exists()
    (path,) = closed_files(tmp_path, "x")
    assert list(tfrecord.iterate_records(path)) == [b"kept"]


# --- Queue ----------------------------------------------------------------------------------


def counts(metrics: Metrics) -> dict[str, int]:
    lines = [line for line in metrics.text().splitlines() if line.startswith(REQUEST_LOG_COUNT)]
    return {line.split('status="')[1].split('"')[0]: int(line.split()[-1]) for line in lines}


def test_full_queue_drops_and_never_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(request_log, "MAX_QUEUED_RECORDS", 3)
    metrics, is_free, has_begun = Metrics(), threading.Event(), threading.Event()

    def slow() -> bytes:
        has_begun.set()
        assert is_free.wait(30)
        return b"slow"

    log = RequestLog(LogSettings(str(tmp_path / "x"), 1.0), LogLimits(), metrics)
    log.offer(slow, 10)
    assert has_begun.wait(30)
    for _ in range(5):
        log.offer(lambda: b"quick", 10)  # the writer is stuck: three wait, two are dropped
    log.offer(lambda: b"heavy", request_log.MAX_QUEUED_BYTES)
    assert counts(metrics) == {"dropped": 3}
    is_free.set()
    log.close()
    assert counts(metrics) == {"dropped": 3, "written": 4}
    log.offer(lambda: b"late", 10)
    assert counts(metrics)["dropped"] == 4


def test_disk_that_fails_costs_records_only(tmp_path: Path, caplog: Any) -> None:
    metrics = Metrics()
    log = RequestLog(LogSettings(str(tmp_path / "gone" / "x"), 1.0), LogLimits(), metrics)
    shutil.rmtree(tmp_path / "gone")
    for _ in range(3):
        log.offer(lambda: b"lost", 4)
    wait_for(lambda: counts(metrics) == {"failed": 3})
    (tmp_path / "gone").mkdir()
    log.offer(lambda: b"kept", 4)
    log.close()
    assert counts(metrics) == {"failed": 3, "written": 1}
    assert [r.getMessage() for r in caplog.records if "Cannot log" in r.getMessage()] == [
        f"Cannot log to {tmp_path}/gone/x: [Errno 2] No such file or directory: '{tmp_path}/gone'"
    ]


def test_sample_has_about_the_wanted_size(tmp_path: Path) -> None:
    logs = RequestLogs(Metrics(), default=LogSettings(str(tmp_path / "x"), 0.2))
    logs.configure([ModelConfig("m", "/m"), ModelConfig("n", "/n", logging=LogSettings("/n", 0.0))])
    num_sampled = sum(logs.sampled("m") is not None for _ in range(5_000))
    assert 850 < num_sampled < 1_150  # six standard deviations
    assert logs.sampled("n") is None
    assert logs.sampled("unknown") is None
    logs.close()
    assert logs.sampled("m") is None


def test_folder_that_cannot_be_made_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    logs = RequestLogs(Metrics())
    good = ModelConfig("m", "/m", logging=LogSettings(str(tmp_path / "x"), 1.0))
    logs.configure([good])
    bad = ModelConfig("m", "/m", logging=LogSettings(str(tmp_path / "file" / "x"), 1.0))
    with pytest.raises(RequestError, match=r"Cannot log requests to .*file/x"):
        logs.configure([bad])
    assert logs.sampled("m") is not None
    logs.close()


# --- Settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("request_log_sampling_rate=10", r"is 10, expected a fraction in \[0, 1\]\. Write"),
        ("request_log_max_bytes=10", "is 10, expected at least 1048576"),
        ("request_log_max_file_seconds=0", "is 0, expected at least 1"),
    ],
)
def test_wrong_flag_is_explained(flag: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"--{flag.split('=')[0]} {message}"):
        parse_flags(["--model_base_path=x", f"--{flag}"])


@pytest.mark.parametrize(
    ("collector", "rate", "message"),
    [
        ("type: 'kafka' filename_prefix: '/x'", 1, "Cannot find LogCollector::Factory for type:"),
        ("filename_prefix: 'x'", 1, "to have an absolute filename_prefix; got 'x'"),
        ("filename_prefix: '/x'", 2, "sampling_rate of model m is 2, expected 0 to 1"),
        ("filename_prefix: '/x'", "nan", "sampling_rate of model m is nan, expected 0 to 1"),
    ],
)
def test_wrong_logging_config_is_refused(collector: str, rate: Any, message: str) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    from slimworks.components.serving.model_config import model_configs

    config = text_format.Parse(
        "model_config_list { config { name: 'm' base_path: '/m' model_platform: 'tensorflow' "
        f"logging_config {{ log_collector_config {{ {collector} }} "
        f"sampling_config {{ sampling_rate: {rate} }} }} }} }}",
        model_server_config_pb2.ModelServerConfig(),
    )
    with pytest.raises(RequestError, match=message):
        model_configs(config)


def test_server_says_that_it_cannot_log(base_path: Path, tmp_path: Path) -> None:
    from slimworks.components.serving.server import serve

    (tmp_path / "file").write_text("x")
    flags = parse_flags(
        [f"--model_base_path={base_path}", "--port=0", f"--request_log={tmp_path}/file/x"]
    )
    with pytest.raises(ConfigError, match=r"Cannot log requests to .*file/x: File exists\."):
        serve(flags)
