"""Evaluating and reporting a split, against the bare forward passes over the same images.

Sides, each in a process of its own, from after the import of TensorFlow:

* passes: the model is loaded, and its `evaluate` signature called on every image, `batch_size` at a
  time; reading and decoding belong to it, as many calls at a time as the evaluator makes;
* loop: the same, one call after another;
* evaluate: the same with all that `slimworks evaluate` and the report do: predictions file, metrics
  with intervals and slices, TFMA output, HTML page; their imports as well.

The network has random weights: no time depends on them. Prints one JSON line; `ratio` is evaluate
over passes in wall-clock seconds, the median of the repeats, which alternate.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
from PIL import Image

from slimworks.components import contracts, files
from slimworks.components.evaluator.config import EvaluateConfig

CLASS_NAMES = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
NUM_PHOTOS = 64  # distinct ones: what repeats costs the same
SIDES = ("passes", "loop", "evaluate")
CONFIG = EvaluateConfig()


def _photo(rng: np.random.Generator) -> bytes:
    """A JPEG of 500 x 375 pixels, about as large as a photo of that size."""
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    fine = rng.normal(0, 6, (375, 500, 3))
    pixels = np.clip(np.asarray(coarse.resize((500, 375)), np.float64) + fine, 0, 255)
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def write_examples(folder: Path, num_images: int) -> None:
    """Examples of `num_images` images in the test split, with one metadata column."""
    from slimworks.components.examples import encoding, tfrecord

    rng = np.random.default_rng(0)
    photos = [_photo(rng) for _ in range(NUM_PHOTOS)]
    path = contracts.split_folder(folder, "test") / contracts.EXAMPLES_FILE_PATTERN.format(
        shard=0, num_shards=1
    )
    path.parent.mkdir(parents=True)
    with open(path, "wb") as stream:
        for number in range(num_images):
            class_index = number % len(CLASS_NAMES)
            record = encoding.ImageRecord(
                encoded=photos[number % NUM_PHOTOS], format="jpeg", original_format="jpeg",
                class_index=class_index, class_name=CLASS_NAMES[class_index],
                filename=f"{CLASS_NAMES[class_index]}/{number:06d}.jpg", height=375, width=500,
                colorspace="RGB", channels=3, image_id=f"{number:064x}", group=f"{number:064x}",
                brightness=float(rng.random()), sharpness=0.1, span=1,
                slices={"camera": f"camera {rng.integers(4)}"},
            )  # fmt: skip
            tfrecord.write_record(stream, encoding.encode_example(record))


def write_model(folder: Path, net: str, image_size: int) -> None:
    """A Model artifact of random weights."""
    import tensorflow as tf

    from slimworks.components.export.served_model import ServedModel, write_saved_model
    from slimworks.components.export.source import ExportSource
    from slimworks.components.nets.module import SlimModule
    from slimworks.components.nets.registry import get_net

    spec = get_net(net)
    source = ExportSource(
        spec=spec, checkpoint_path="", class_names=CLASS_NAMES, image_size=image_size,
        num_channels=3, preprocessing=spec.preprocessing, name_map={},
    )  # fmt: skip
    module = SlimModule(spec, len(CLASS_NAMES), image_size, 3)
    served = ServedModel(
        module, source.images_to_pixels, tf.identity, CLASS_NAMES,
        top_k=None, min_probability=0.0, image_size=image_size, num_channels=3,
    )  # fmt: skip
    write_saved_model(served, str(folder / contracts.SAVED_MODEL_FOLDER))
    files.write_json(folder / contracts.MODEL_FACTS_FILE, {"class_names": list(CLASS_NAMES)})


def run_side(side: str, folder: Path, output: Path) -> dict[str, float]:
    """Wall-clock and CPU seconds of one side."""
    import tensorflow  # noqa: F401

    started, cpu_started = time.monotonic(), time.process_time()
    if side == "evaluate":
        _evaluate(folder, output)
    else:
        _pass(folder, overlapping=side == "passes")
    return {
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu_started,
    }


def _pass(folder: Path, overlapping: bool) -> None:
    from slimworks.components.evaluator import prediction

    saved_model = folder / "model" / contracts.SAVED_MODEL_FOLDER
    model = prediction.load_model(saved_model)
    batches = prediction.read_batches(folder / "examples", "test", CONFIG.batch_size)
    if overlapping:
        for _ in prediction.outputs_of(model, batches, saved_model):
            pass
    else:
        for batch in batches:
            model([example[contracts.IMAGE_ENCODED] for example in batch])


def _evaluate(folder: Path, output: Path) -> None:
    from slimworks.components.evaluator.evaluate import evaluate
    from slimworks.components.report.facts import ReportInputs
    from slimworks.components.report.report import write_report

    model, examples, evaluation = folder / "model", folder / "examples", output / "evaluation"
    labels = contracts.LabelMap(CLASS_NAMES)
    evaluate(model, examples, labels, evaluation, CONFIG)
    inputs = ReportInputs(
        run_id="1", name="benchmark", title="Benchmark", model_dir=str(model),
        evaluation_dir=str(evaluation), examples_dir=str(examples),
    )  # fmt: skip
    write_report(output / "report.html", inputs)


def _in_child(side: str, folder: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=folder) as output:
        command = [sys.executable, __file__, "--side", side, str(folder), output]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def _ratios(measured: dict[str, list[dict[str, float]]], key: str, side: str) -> list[float]:
    pairs = zip(measured["evaluate"], measured[side], strict=True)
    return [one[key] / other[key] for one, other in pairs]


def main() -> None:
    """Measures and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--net", default="mobilenet_v1")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", nargs=3, metavar=("SIDE", "FOLDER", "OUTPUT"))
    arguments = parser.parse_args()
    if arguments.side:
        side, folder, output = arguments.side
        print(json.dumps(run_side(side, Path(folder), Path(output))))
        return
    measured: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as name:
        write_examples(Path(name) / "examples", arguments.images)
        write_model(Path(name) / "model", arguments.net, arguments.image_size)
        for _ in range(arguments.repeats):
            for side in SIDES:
                measured[side].append(_in_child(side, Path(name)))
    ratios = _ratios(measured, "seconds", "passes")
    result = {
        "benchmark": "evaluation",
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "against": "the same calls of the model without anything done with the answers",
        "ratio_to_loop": round(statistics.median(_ratios(measured, "seconds", "loop")), 3),
        "cpu_ratio": round(statistics.median(_ratios(measured, "cpu_seconds", "passes")), 3),
        **{
            key: {
                side: round(statistics.median(run[key] for run in runs), 2)
                for side, runs in measured.items()
            }
            for key in ("seconds", "cpu_seconds")
        },
        "images": arguments.images,
        "net": f"{arguments.net}@{arguments.image_size}",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
