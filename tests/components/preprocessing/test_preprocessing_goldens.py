"""Real files: TF-Slim's own outputs, and the odd images that ingest accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from slimworks.components.preprocessing import decoding, families
from slimworks.components.preprocessing.preprocessing_factory import get_preprocessing

pytestmark = pytest.mark.shared

CASES = (
    "cifarnet_32", "inception_224", "inception_gray_224", "lenet_28", "lenet_h200_w160",
    "vgg_224", "vgg_h200_w160",
)  # fmt: skip
DECODE = tf.function(decoding.decode_image, autograph=False)


def load(shared: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(shared / "nets" / "golden" / f"preprocess_{name}.npz") as arrays:
        return dict(arrays)


def call_of(golden: dict[str, np.ndarray]) -> tuple[Any, int, int, dict[str, Any]]:
    """TF-Slim's call: the function of that name, height, width, options."""
    family, height, width, use_grayscale, options = json.loads(str(golden["call"]))
    if family in ("cifarnet", "lenet"):
        height, width = width, height  # TF-Slim swaps them, we do not
    return get_preprocessing(family, use_grayscale=use_grayscale), height, width, options


@pytest.mark.parametrize("case", CASES)
def test_eval_equals_tf_slim(shared: Path, case: str) -> None:
    inputs, golden = load(shared, "inputs"), load(shared, case)
    preprocess, height, width, options = call_of(golden)
    for index in range(6):
        output = preprocess(tf.constant(inputs[f"image_{index}"]), height, width, **options)
        np.testing.assert_allclose(output, golden[f"output_{index}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_eval_of_a_batch_equals_tf_slim(shared: Path, case: str) -> None:
    inputs, golden = load(shared, "inputs"), load(shared, case)
    preprocess, height, width, options = call_of(golden)
    batch = tf.constant(np.stack([inputs[f"image_{index}"] for index in range(3)]))
    graph = tf.function(
        lambda images: preprocess(images, height, width, **options), autograph=False
    )
    expected = np.stack([golden[f"output_{index}"] for index in range(3)])
    np.testing.assert_allclose(graph(batch), expected, rtol=0, atol=1e-6)


def test_decoder_gives_the_pixels_that_tf_slim_saw(shared: Path) -> None:
    inputs = load(shared, "inputs")
    for index in range(6):
        decoded = DECODE(tf.constant(inputs[f"jpeg_{index}"].tobytes()))
        np.testing.assert_array_equal(decoded, inputs[f"image_{index}"])


@pytest.mark.parametrize(
    ("case", "mean_limit", "max_limit"),
    # inception: the crop starts a fraction of a pixel elsewhere; of a range of 2.
    # vgg: stored pixels are rounded to uint8, nothing else differs; of a range of 255.
    [("inception_224", 0.035, 1.1), ("inception_gray_224", 0.035, 1.1), ("vgg_224", 0.3, 0.5001)],
)
def test_two_stages_show_what_tf_slim_shows(
    shared: Path, case: str, mean_limit: float, max_limit: float
) -> None:
    inputs, golden = load(shared, "inputs"), load(shared, case)
    family, size, _, use_grayscale, _ = json.loads(str(golden["call"]))
    preprocessing = families.get_preprocessing(family)
    for index in range(6):
        encoded = tf.constant(inputs[f"jpeg_{index}"].tobytes())
        num_channels = 1 if use_grayscale else 3
        stored = preprocessing.to_stored(encoded, preprocessing.stored_size(size), num_channels)
        output = preprocessing.for_eval(stored[tf.newaxis], size)[0]
        difference = np.abs(output - golden[f"output_{index}"])
        assert difference.mean() < mean_limit
        assert difference.max() < max_limit


def upright_on_white(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode in ("P", "RGBA"):
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return np.asarray(image.convert("RGB"))


# File -> largest mean difference from Pillow: its JPEG decoder uses the slow, exact DCT.
LOSSY, LOSSLESS = 2.0, 0.01
DECODABLE = {
    "exif_Landscape_1.jpg": LOSSY,
    "exif_Landscape_6.jpg": LOSSY,
    "made_1x1.jpg": LOSSY,
    "made_UPPER.JPG": LOSSY,
    "made_jpg_named.png": LOSSY,
    "made_progressive.jpg": LOSSY,
    "pil_broken_exif_dpi.jpg": LOSSY,
    "pil_dispose_bgnd.gif": LOSSLESS,
    "pil_hopper.bmp": LOSSLESS,
    "pil_hopper.jpg": LOSSY,
    "pil_hopper.png": LOSSLESS,
    "pil_hopper_bad_exif.jpg": LOSSY,
    "pil_hopper_gray.jpg": LOSSY,
    "pil_hopper_orientation_3.jpg": LOSSY,
    "pil_hopper_orientation_6.jpg": LOSSY,
    "pil_invalid-exif.jpg": LOSSY,
    "pil_jpeg_ff00_header.jpg": LOSSY,
    "pil_junk_jpeg_header.jpg": LOSSY,
    "pil_pil123p.png": LOSSLESS,
    "pil_pil123rgba.png": LOSSLESS,
    "pil_pil_sample_cmyk.jpg": LOSSY,
    "pil_rgb.jpg": LOSSY,
}
REFUSED = (
    "made_empty.jpg", "made_text.jpg", "made_truncated_half.jpg", "made_bomb_60000x60000.png",
    "pil_broken.png", "pil_decompression_bomb.gif", "pil_flower2.webp", "pil_hopper.avif",
    "pil_hopper.ico", "pil_hopper.psd", "pil_hopper.webp", "pil_shortfile.bmp",
    "pil_tiff_16bit_RGB.tiff",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's complaints about broken EXIF
@pytest.mark.parametrize("name", DECODABLE)
def test_odd_images_look_as_in_pillow(shared: Path, name: str) -> None:
    path = shared / "data" / "awkward" / name
    decoded, expected = DECODE(tf.constant(path.read_bytes())).numpy(), upright_on_white(path)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).mean() < DECODABLE[name]


def test_sixteen_bit_scan_is_scaled(shared: Path) -> None:
    path = shared / "data" / "awkward" / "made_16bit_gray.png"
    with Image.open(path) as image:
        expected = np.round(np.asarray(image) / 257.0)
    np.testing.assert_array_equal(DECODE(tf.constant(path.read_bytes()))[..., 0], expected)


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_files_are_errors(shared: Path, name: str) -> None:
    encoded = (shared / "data" / "awkward" / name).read_bytes()
    with pytest.raises(tf.errors.InvalidArgumentError):
        DECODE(tf.constant(encoded))
