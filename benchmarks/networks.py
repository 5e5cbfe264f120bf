"""Images a second of every network, inference and training, beside mobilenet_v1 in the same run.

Prints one JSON line. One thread, and CPU seconds instead of wall seconds: the figures are those of
one core, and other programs on the machine change them little. Each network runs in a process of
its own, in turns with mobilenet_v1: the ratio holds on other machines, the images a second do not.

    python benchmarks/networks.py                                 a small and a middling network
    python benchmarks/networks.py --all --output docs/networks.json    all: about half an hour
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from slimworks.components import files, processor
from slimworks.components.nets.registry import REGISTRY

REFERENCE = "mobilenet_v1"
QUICK = ("mobilenet_v1_025", "inception_v1")
BATCH_SIZE = 8
SMALL_BATCH_SIZE = 2  # nasnet_large keeps 3 GB of activations an image in training
MACS_OF_SMALL_BATCHES = 10**10
REPEATS = 3
SECONDS_PER_REPEAT = 1.0


def batch_size_of(name: str, kind: str) -> int:
    """Images a batch: fewer where the activations of training fill the memory."""
    is_large = kind == "training" and REGISTRY[name].macs > MACS_OF_SMALL_BATCHES
    return SMALL_BATCH_SIZE if is_large else BATCH_SIZE


def make_passes(name: str) -> dict[str, Callable[[], None]]:
    """Returns an inference pass and a training step of one batch of noise."""
    import numpy as np
    import tensorflow as tf

    from slimworks.components.nets.module import SlimModule

    spec = REGISTRY[name]
    size, num_classes = spec.default_image_size, spec.num_classes
    module = SlimModule(spec, num_classes, size, spec.num_channels, weight_decay=4e-5)
    rng = np.random.default_rng(0)
    shape = (BATCH_SIZE, size, size, spec.num_channels)
    images = tf.constant(rng.uniform(-1, 1, shape).astype(np.float32))
    num_trained = batch_size_of(name, "training")
    labels = tf.constant(rng.integers(num_classes, size=num_trained))
    trained = list(module.trainable_by_name.values())
    optimizer = tf.compat.v1.train.MomentumOptimizer(1e-4, 0.9)

    @tf.function(autograph=False)
    def infer() -> tf.Tensor:
        return module.forward(images, is_training=False).logits

    @tf.function(autograph=False)
    def train() -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = module.forward(images[:num_trained], is_training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, outputs.logits)
            loss = tf.reduce_mean(losses) + outputs.regularization_loss
        optimizer.apply_gradients(zip(tape.gradient(loss, trained), trained, strict=True))
        return loss

    return {"inference": lambda: infer().numpy(), "training": lambda: train().numpy()}


def images_per_second(run: Callable[[], None], batch_size: int) -> float:
    """Images a CPU second, over at least SECONDS_PER_REPEAT."""
    started, num_batches = time.process_time(), 0
    while time.process_time() - started < SECONDS_PER_REPEAT or num_batches == 0:
        run()
        num_batches += 1
    return num_batches * batch_size / (time.process_time() - started)


def measure(name: str) -> dict[str, dict[str, float | list[float]]]:
    """Measures one network in turns with the reference, after a warm-up of each."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    passes = {net: make_passes(net) for net in dict.fromkeys((REFERENCE, name))}
    result: dict[str, dict[str, float | list[float]]] = {}
    for kind in ("inference", "training"):
        speeds: dict[str, list[float]] = {net: [] for net in passes}
        for net in passes:
            passes[net][kind]()
        for _ in range(REPEATS):
            for net in passes:
                speeds[net].append(images_per_second(passes[net][kind], batch_size_of(net, kind)))
        ratios = [ours / its for ours, its in zip(speeds[name], speeds[REFERENCE], strict=True)]
        result[kind] = {
            "images_per_second": round(statistics.median(speeds[name]), 3),
            "ratio": round(statistics.median(ratios), 4),
            "spread": [round(min(ratios), 4), round(max(ratios), 4)],
        }
    return result


def measure_apart(name: str) -> dict[str, dict[str, float | list[float]]]:
    """Measures in a process of its own, so that no network inherits another's memory."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, __file__, "--one", name],
        check=True,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    measured: dict[str, dict[str, float | list[float]]] = json.loads(done.stdout)
    return measured


def cpu_model() -> str:
    """Name of the processor, as the kernel gives it."""
    return processor.cpu_model() or platform.processor() or platform.machine()


def main() -> None:
    """Measures the networks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nets", nargs="*", help=f"networks; default {', '.join(QUICK)}")
    parser.add_argument("--all", action="store_true", help="every network")
    parser.add_argument("--output", help="JSON file to write besides")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    names = list(REGISTRY) if arguments.all else arguments.nets or list(QUICK)
    measured = {}
    for name in names:
        measured[name] = measure_apart(name)
        print(f"{name}: {json.dumps(measured[name])}", file=sys.stderr)
    from importlib import metadata

    batch = f"{BATCH_SIZE}; in training above {MACS_OF_SMALL_BATCHES:,} MACs {SMALL_BATCH_SIZE}"
    line = {
        "benchmark": "networks",
        "reference": REFERENCE,
        "batch": batch,
        "command": "python benchmarks/networks.py --all --output docs/networks.json",
        "against": f"{REFERENCE}, same process, in turns, images a CPU second on one thread",
        "ratio": {name: speeds["inference"]["ratio"] for name, speeds in measured.items()},
        "spread": {name: speeds["inference"]["spread"] for name, speeds in measured.items()},
        "repeats": REPEATS,
        "cpu": cpu_model(),
        "tensorflow": metadata.version("tensorflow"),
        "nets": measured,
    }
    if arguments.output:
        files.write_json(arguments.output, line)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
