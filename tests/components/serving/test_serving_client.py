from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from serving_models import png
from tensorflow_serving.apis import predict_pb2

from slimworks.components.errors import DataError, ServingError
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.images import check_image
from slimworks.components.serving import answers
from slimworks.components.serving.client import Client
from slimworks.components.serving.image_bytes import servable
from slimworks.components.serving.protos import wire_pb2 as wire


@pytest.fixture(scope="module")
def client(server):
    with Client(server.address, "colors") as client:
        yield client


def test_predict_bytes_answers_in_order(client):
    predictions = client.predict_bytes([png("blue"), png("red"), png("green")])
    assert [prediction.class_names[0] for prediction in predictions] == ["blue", "red", "green"]
    assert [prediction.class_indices[0] for prediction in predictions] == [2, 0, 1]
    assert predictions[0].probabilities[0] == pytest.approx(0.9647, abs=1e-4)
    assert predictions[0].is_known
    assert predictions[0].version == 3


def test_nothing_to_predict_asks_nobody():
    assert Client("127.0.0.1:1", "m").predict_bytes([]) == []


@pytest.mark.parametrize("file_format", ["JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_formats_are_read_or_converted(client, file_format):
    (prediction,) = client.predict_bytes([png("red", file_format)])
    assert prediction.class_names[0] == "red"


def test_predict_files_sends_several_requests(client, tmp_path):
    colors = ["red", "green", "blue"] * 12
    paths = []
    for index, color in enumerate(colors):
        paths.append(tmp_path / f"{index}.png")
        paths[-1].write_bytes(png(color))
    names = [prediction.class_names[0] for prediction in client.predict_files(paths)]
    assert names == colors


def test_predict_files_names_the_file_that_the_model_refuses(client, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png("red"))
    (tmp_path / "bad.png").write_bytes(png("red")[:40])
    with pytest.raises(DataError, match=r"The model cannot read .*bad\.png: Invalid PNG"):
        client.predict_files([tmp_path / name for name in ("a.png", "bad.png", "b.png")])


def test_predict_files_names_a_file_that_is_missing(client, tmp_path):
    with pytest.raises(DataError, match=r"no\.png cannot be read: No such file"):
        client.predict_files([tmp_path / "no.png"])


def test_text_is_no_image():
    with pytest.raises(DataError, match=r"notes\.txt is not an image .* format is unknown"):
        servable(b"hello", "notes.txt")


def encoded(image, file_format, **options):
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def awkward_images():
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)
    rgb, rgba = Image.fromarray(noise[..., :3]), Image.fromarray(noise)
    sideways = Image.Exif()
    sideways[0x0112] = 6
    grey = Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0])
    return {
        "webp with alpha": encoded(rgba, "WEBP", lossless=True),
        "palette bmp": encoded(rgb.quantize(16), "BMP"),
        "32 bit bmp": encoded(rgba, "BMP"),
        "cmyk tiff": encoded(rgb.convert("CMYK"), "TIFF"),
        "16 bit tiff": encoded(grey, "TIFF"),
        "sideways tiff": encoded(rgb, "TIFF", exif=sideways),
        "sideways webp": encoded(rgb, "WEBP", lossless=True, exif=sideways),
    }


@pytest.mark.parametrize("name", awkward_images())
def test_a_sent_image_has_the_pixels_that_training_would_see(name):
    data = awkward_images()[name]
    checked = check_image(data, DataConfig(min_image_size_pixels=1))
    ours, trained = (Image.open(io.BytesIO(b)) for b in (servable(data, name), checked.converted))
    assert ours.mode == trained.mode
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(trained))


def test_status_and_metadata(client):
    (status,) = client.status()
    assert (status.version, status.state, status.error_code) == (3, "AVAILABLE", 0)
    metadata = client.metadata()
    assert metadata["version"] == 3
    signature = metadata["signatures"]["serving_default"]
    assert signature["inputs"] == {"images": {"dtype": "DT_STRING", "shape": [-1]}}
    assert signature["outputs"]["probabilities"] == {"dtype": "DT_FLOAT", "shape": [-1, 2]}
    assert metadata["signatures"]["arithmetic"]["outputs"]["half"]["dtype"] == "DT_19"


def test_unreachable_server():
    with pytest.raises(
        ServingError, match=r"No server answers at 127\.0\.0\.1:1 .*slimworks serve"
    ):
        Client("127.0.0.1:1", "m").status()


def test_unknown_model_names_the_flag(server):
    with (
        Client(server.address, "colours") as client,
        pytest.raises(ServingError, match=r"serves no model named 'colours' .*as --model-name\."),
    ):
        client.predict_bytes([png("red")])


def test_unknown_version(server):
    with (
        Client(server.address, "colors", version=8) as client,
        pytest.raises(ServingError, match="has no version 8 of a model named 'colors'"),
    ):
        client.predict_bytes([png("red")])


def test_deadline(server):
    with (
        Client(server.address, "colors", timeout_seconds=0.02) as client,
        pytest.raises(ServingError, match=r"did not answer within 0\.02 seconds\. Raise --timeo"),
    ):
        client.predict_bytes([png("red")] * 5_000)


def test_answer_that_is_too_large(server):
    with (
        Client(server.address, "colors", max_answer_bytes=10) as client,
        pytest.raises(ServingError, match=r"too large.*Send fewer images"),
    ):
        client.predict_bytes([png("red")])


def test_proxy_is_not_asked_for_a_server_on_this_machine(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with Client(server.address, "colors") as client:
        assert client.predict_bytes([png("red")])


def test_model_with_other_outputs_is_explained():
    response = wire.PredictResponse()
    response.outputs["scores"].dtype = wire.DT_FLOAT
    with pytest.raises(ServingError, match=r"does not answer classes, .* it answers scores"):
        answers.predictions(response, 1, "m")


def test_answer_of_the_wrong_size_is_explained():
    response = wire.PredictResponse()
    for name in answers.OUTPUTS:
        response.outputs[name].dtype = wire.DT_STRING
        response.outputs[name].string_val.extend([b"x"] * 3)
    with pytest.raises(ServingError, match="for 2 images"):
        answers.predictions(response, 2, "m")


def test_tensor_content_is_read_too():
    tensor = wire.Tensor(dtype=wire.DT_FLOAT, tensor_content=b"\x00\x00\x80\x3f\x00\x00\x00\x40")
    assert answers.tensor_values(tensor) == [1.0, 2.0]


def test_short_typed_field_repeats():
    tensor = wire.Tensor(dtype=wire.DT_INT64, int64_val=[7, 8])
    tensor.tensor_shape.dim.add(size=4)
    assert answers.tensor_values(tensor) == [7, 8, 8, 8]


def test_our_messages_are_tensorflow_servings_on_the_wire():
    ours = wire.PredictRequest(output_filter=["a"])
    ours.model_spec.name, ours.model_spec.signature_name = "m", "s"
    ours.model_spec.version.value = 4
    ours.inputs["images"].dtype = wire.DT_STRING
    ours.inputs["images"].string_val.append(b"x")
    ours.inputs["images"].tensor_shape.dim.add(size=1)
    theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert theirs.model_spec.version.value == 4
    assert theirs.inputs["images"].string_val == [b"x"]
    assert wire.PredictRequest.FromString(theirs.SerializeToString()) == ours


def test_client_starts_without_tensorflow():
    script = (
        "import json, sys, time\n"
        "started = time.process_time()\n"
        "from slimworks.components.serving import client\n"
        "seconds = time.process_time() - started\n"
        "heavy = [m for m in ('tensorflow', 'numpy', 'PIL', 'pydantic') if m in sys.modules]\n"
        "print(json.dumps({'seconds': seconds, 'heavy': heavy}))\n"
    )
    command = [sys.executable, "-c", script]
    measured = [
        json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert all(each["heavy"] == [] for each in measured)
    assert min(each["seconds"] for each in measured) < 0.5
