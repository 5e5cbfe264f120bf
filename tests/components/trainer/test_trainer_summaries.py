"""TensorBoard's files, read back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.errors import ConfigError
from slimworks.components.preprocessing.display import to_pixels
from slimworks.components.preprocessing.families import get_preprocessing
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.dataset import Batch
from slimworks.components.trainer.summaries import GRID_GAP_PIXELS, Summaries, image_grid


def _events(folder: Path) -> Iterator[tf.compat.v1.Event]:
    for path in sorted(folder.glob("events.out.tfevents.*")):
        yield from tf.compat.v1.train.summary_iterator(str(path))


def _scalars(folder: Path) -> list[tuple[int, str, float]]:
    return [
        (event.step, value.tag, float(tf.make_ndarray(value.tensor)))
        for event in _events(folder)
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "scalars"
    ]


def _grid_steps(folder: Path) -> Iterator[int]:
    for event in _events(folder):
        yield from (event.step for value in event.summary.value if value.tag == "train/images")


def _batch(inputs: tf.Tensor) -> Batch:
    count = inputs.shape[0]
    return Batch(inputs, tf.zeros([count, 5]), tf.constant(["id"] * count))


def _photos(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)


def test_scalars_by_split_with_the_rate_of_training(tmp_path: Path) -> None:
    summaries = Summaries(str(tmp_path), TrainConfig(), "inception")
    summaries.scalars(10, "train", 0.5, 0.75, 0.25)
    summaries.scalars(10, "eval", 1.5, 0.5, 0.25)
    summaries.close()
    assert _scalars(tmp_path) == [
        (10, "train/loss", 0.5),
        (10, "train/accuracy", 0.75),
        (10, "learning_rate", 0.25),
        (10, "eval/loss", 1.5),
        (10, "eval/accuracy", 0.5),
    ]


def test_summary_interval_spares_training_scalars_but_no_evaluation(tmp_path: Path) -> None:
    summaries = Summaries(str(tmp_path), TrainConfig(save_summaries_secs=3600), "inception")
    for step in (1, 2, 3):
        summaries.scalars(step, "train", 0.5, 0.75, 0.25)
        summaries.scalars(step, "eval", 0.5, 0.75, 0.25)
    summaries.close()
    steps = {tag: [s for s, t, _ in _scalars(tmp_path) if t == tag] for tag in
             ("train/loss", "eval/loss")}  # fmt: skip
    assert steps == {"train/loss": [1], "eval/loss": [1, 2, 3]}


def test_images_are_those_trained_on_and_the_graph_is_the_step(tmp_path: Path) -> None:
    photos = _photos(5)
    inputs = tf.constant(photos.astype(np.float32) / 127.5 - 1.0)

    @tf.function
    def train_step(batch: Batch, step: tf.Tensor) -> tf.Tensor:
        return tf.identity(tf.reduce_mean(batch.inputs), name="the_loss")

    summaries = Summaries(str(tmp_path), TrainConfig(), "inception")
    summaries.first_step(0, train_step, _batch(inputs), tf.constant(0))
    summaries.close()
    (image,) = [v for e in _events(tmp_path) for v in e.summary.value if v.tag == "train/images"]
    width, height, png = tf.make_ndarray(image.tensor)
    pixels = tf.io.decode_png(png).numpy()
    assert (int(width), int(height)) == (40, 20)
    np.testing.assert_array_equal(pixels[:8, 10:18], photos[1])
    np.testing.assert_array_equal(pixels[10:18, :8], photos[4])
    assert (pixels[10:, 10:] == 255).all()
    (graph,) = [event.graph_def for event in _events(tmp_path) if event.graph_def]
    names = [node.name for node in tf.compat.v1.GraphDef.FromString(graph).node]
    assert "the_loss" in names


def test_the_grid_comes_with_the_first_phase_that_trains_on_images(tmp_path: Path) -> None:
    train_step = tf.function(lambda batch, step: tf.reduce_sum(batch.inputs))
    summaries = Summaries(str(tmp_path), TrainConfig(), "inception")
    summaries.first_step(0, train_step, _batch(tf.zeros([4, 1024])), tf.constant(0))
    assert not list(_grid_steps(tmp_path))
    for number in (34, 68):  # the phases after the head's
        images = _batch(tf.zeros([4, 8, 8, 3]))
        summaries.first_step(number, train_step, images, tf.constant(0))
    summaries.close()
    assert list(_grid_steps(tmp_path)) == [34]
    assert len([event for event in _events(tmp_path) if event.graph_def]) == 3


@pytest.mark.parametrize("count", [1, 4, 6, 40])
def test_grid_has_at_most_four_rows_of_four(count: int) -> None:
    grid = image_grid(tf.constant(_photos(count))).numpy()
    side = 8 + GRID_GAP_PIXELS
    assert grid.shape == (1, side * min(-(-count // 4), 4), side * 4, 3)


@pytest.mark.parametrize("family", ["inception", "lenet", "vgg"])
def test_pictures_are_the_pixels_that_were_normalised(family: str) -> None:
    # Of one colour each, so that resampling changes nothing.
    colours = np.array([[0, 255, 7], [130, 1, 200]], np.uint8)
    size = get_preprocessing(family).stored_size(8)
    stored = np.tile(colours[:, None, None, :], (1, size, size, 1))
    shown = to_pixels(get_preprocessing(family).for_eval(tf.constant(stored), 8), family).numpy()
    expected = np.tile(colours[:, None, None, :], (1, 8, 8, 1))
    assert np.abs(shown.astype(int) - expected).max() <= 1


def test_standardised_pictures_are_stretched_to_the_full_range() -> None:
    inputs = get_preprocessing("cifarnet").for_eval(tf.constant(_photos(3) // 4 + 60), 8)
    shown = to_pixels(inputs, "cifarnet").numpy()
    assert (shown.min(axis=(1, 2, 3)) == 0).all()
    assert (shown.max(axis=(1, 2, 3)) == 255).all()


def test_profiler_runs_during_the_asked_steps(tmp_path: Path) -> None:
    summaries = Summaries(str(tmp_path), TrainConfig(profile_steps=(1, 2)), "inception")
    summaries.profile(0)
    assert not list(tmp_path.rglob("*.xplane.pb"))
    summaries.profile(1)
    tf.reduce_sum(tf.ones([10])).numpy()
    summaries.profile(2)
    assert list(tmp_path.rglob("*.xplane.pb"))
    summaries.profile(3)
    summaries.close()


def test_profile_of_a_training_that_ends_early_is_kept(tmp_path: Path) -> None:
    summaries = Summaries(str(tmp_path), TrainConfig(profile_steps=(0, 100)), "inception")
    summaries.profile(0)
    summaries.close()
    assert list(tmp_path.rglob("*.xplane.pb"))


@pytest.mark.parametrize("steps", [(5, 5), (-1, 3), (9, 2)])
def test_profile_steps_out_of_order_are_refused(steps: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"expected \[from, to\] with 0 <= from < to"):
        TrainConfig(profile_steps=steps)


def test_tensorboard_starts() -> None:
    """It needs what setuptools has given up."""
    command = [sys.executable, "-m", "tensorboard.main", "--version"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
