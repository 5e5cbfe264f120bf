"""Every format through the client, and as it is, to a served model that decodes in its graph."""

from __future__ import annotations

import asyncio
import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from serving_models import CLASS_NAMES
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from slimworks.components.errors import DataError
from slimworks.components.examples import image_conversion
from slimworks.components.export.served_model import ServedModel, write_saved_model
from slimworks.components.preprocessing import families
from slimworks.components.serving.client import AsyncClient, Client
from slimworks.components.serving.image_bytes import servable
from slimworks.components.serving.process import ServerProcess

SIZE = 16
SERVED_AS_IT_IS = ["JPEG", "PNG", "GIF", "BMP"]
CONVERTED = ["WEBP", "TIFF", "JPEG2000", "PPM"]


class Outputs(NamedTuple):
    logits: tf.Tensor
    end_points: dict[str, tf.Tensor]


class MeanColor(tf.Module):
    """Stands in for a network: the brightest channel is the class."""

    def forward(self, pixels: tf.Tensor, is_training: bool) -> Outputs:
        del is_training
        mean = tf.reduce_mean(pixels, [1, 2])
        return Outputs(4.0 * mean, {"mean": mean})

    def embedding(self, end_points: dict[str, tf.Tensor]) -> tf.Tensor:
        return end_points["mean"]


def image_file(color: Any, file_format: str, mode: str = "RGB", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (20, 12), color).save(stream, file_format, **options)
    return stream.getvalue()


def rle_bmp() -> bytes:
    """Says that it is compressed."""
    encoded = bytearray(image_file(0, "BMP", "P"))
    encoded[30] = 1
    return bytes(encoded)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    family = families.get_preprocessing("inception")

    def decode(images: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda encoded: family.to_stored(encoded, SIZE, 3),
            images,
            fn_output_signature=tf.TensorSpec([SIZE, SIZE, 3], tf.uint8),
        )

    model = ServedModel(
        MeanColor(), decode, lambda stored: family.for_eval(stored, SIZE), CLASS_NAMES,
        top_k=3, min_probability=0.0, image_size=SIZE, num_channels=3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("decoding") / "1"
    write_saved_model(model, str(folder))
    return folder


@pytest.fixture(scope="module")
def decoding_server(
    saved_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    base = tmp_path_factory.mktemp("base")
    shutil.copytree(saved_model, base / "1")
    with ServerProcess(base, "photos") as running:
        yield running


@pytest.fixture(scope="module")
def photo_client(decoding_server: ServerProcess) -> Iterator[Client]:
    with Client(decoding_server.address, "photos") as client:
        yield client


def refusal_of(server: ServerProcess, image: bytes) -> grpc.RpcError:
    """Sends bytes as they are, as a foreign client does."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "photos"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto([image]))
    with grpc.insecure_channel(server.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request)
    return caught.value


def test_client_gets_embeddings(photo_client: Client, decoding_server: ServerProcess) -> None:
    async def asked() -> list[tuple[float, ...]]:
        async with AsyncClient(decoding_server.address, "photos") as client:
            assert await client.embed_bytes([]) == []
            return await client.embed_bytes(images)

    images = [image_file(color, "WEBP", lossless=True) for color in CLASS_NAMES]
    embeddings = photo_client.embed_bytes(images)
    green = 2 * 128 / 255 - 1  # PIL's "green" is half of it
    expected = [(1, -1, -1), (-1, green, -1), (-1, -1, 1)]
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)
    assert asyncio.run(asked()) == embeddings
    assert photo_client.embed_bytes([]) == []


@pytest.mark.parametrize("color", CLASS_NAMES)
@pytest.mark.parametrize("file_format", SERVED_AS_IT_IS + CONVERTED)
def test_client_gets_an_answer_for_every_format(
    photo_client: Client, file_format: str, color: str
) -> None:
    (prediction,) = photo_client.predict_bytes([image_file(color, file_format)])
    assert prediction.class_names[0] == color


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (image_file("red", "WEBP"), "a WebP file"),
        (image_file("red", "TIFF"), "a TIFF file"),
        (image_file("red", "JPEG2000"), "a JPEG 2000 file"),
        (image_file("red", "ICO"), "an ICO file"),
        (image_file("red", "PPM"), "a PPM file"),
        (b"<svg/>", "an SVG file"),
        (b"8BPS" + b"\0" * 30, "a Photoshop file"),
        (b"\0\0\0\x20ftypavif" + b"\0" * 30, "an AVIF file"),
        (b"\0\0\0\x20ftypheic" + b"\0" * 30, "a HEIC file"),
        (b"", "an empty file"),
        (b"<html>", "what was sent"),
    ],
    ids=["webp", "tiff", "jpeg2000", "ico", "ppm", "svg", "psd", "avif", "heic", "empty", "html"],
)
def test_served_model_names_a_format_that_it_does_not_read(
    decoding_server: ServerProcess, image: bytes, name: str
) -> None:
    error = refusal_of(decoding_server, image)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert f"{name} is not a JPEG, PNG, GIF or BMP image. WebP, TIFF and other" in error.details()


def test_served_model_says_what_to_do_about_an_odd_bmp(decoding_server: ServerProcess) -> None:
    error = refusal_of(decoding_server, rle_bmp())
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert (
        "a BMP image that is compressed or has neither 8, 24 nor 32 bits a pixel. It must be "
        "converted to PNG before it is sent; `slimworks predict` converts it."
    ) in error.details()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["made_bomb_60000x60000.png", "pil_decompression_bomb.gif"])
def test_served_model_survives_decompression_bombs(
    decoding_server: ServerProcess, photo_client: Client, shared: Path, name: str
) -> None:
    data = (shared / "data" / "awkward" / name).read_bytes()
    assert refusal_of(decoding_server, data).code() == grpc.StatusCode.INVALID_ARGUMENT
    assert photo_client.predict_bytes([image_file("blue", "PNG")])[0].class_names[0] == "blue"


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "WEBP", "TIFF", "JPEG2000"])
def test_transparency_is_white_in_every_format(saved_model: Path, file_format: str) -> None:
    """Half transparent black: TensorFlow alone would answer black."""
    pixels = np.zeros((12, 20, 4), np.uint8)
    pixels[:, :10, 3] = 255
    stream = io.BytesIO()
    options = {"lossless": True} if file_format == "WEBP" else {}
    Image.fromarray(pixels).save(stream, file_format, **options)
    model = tf.saved_model.load(str(saved_model))
    sent = tf.constant([servable(stream.getvalue(), "a file")])
    mean = model.signatures["embed"](images=sent)["embedding"]
    np.testing.assert_allclose(mean, [[0, 0, 0]], atol=0.05)  # half -1, half 1


def test_oversized_image_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TIFF whose header claims 20,000 x 20,000 pixels."""
    data = bytearray(image_file("red", "TIFF"))
    for tag in (256, 257):
        start = data.index(tag.to_bytes(2, "little"), 8)
        data[start + 2 : start + 12] = (
            (4).to_bytes(2, "little") + (1).to_bytes(4, "little") + (20_000).to_bytes(4, "little")
        )

    def fail(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(image_conversion, "load", fail)
    with pytest.raises(DataError) as caught:
        servable(bytes(data), "scan.tif")
    assert "scan.tif is not an image that can be read: " in caught.value.cause
    assert "178956970" in caught.value.cause


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (
            image_file("red", "ICO"),
            "a.bin is not an image that can be read: ICO is not read; export it as JPEG or PNG.",
        ),
        (b"some text", "a.bin is not an image that can be read: its format is unknown."),
    ],
    ids=["ico", "text"],
)
def test_client_refuses_what_nobody_reads_without_pillow(
    monkeypatch: pytest.MonkeyPatch, data: bytes, cause: str
) -> None:
    for name in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(DataError) as caught:
        servable(data, "a.bin")
    assert caught.value.cause == cause
    assert caught.value.fix == "Leave the file out, or re-export it as JPEG or PNG."
