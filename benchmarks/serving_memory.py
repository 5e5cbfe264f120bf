"""Memory of the embedded server over many requests and many swaps.

Two gRPC and two REST clients ask a small model without a pause, while new versions are published
at equal distances; a version holds 8 MiB of weights, so that one that stays behind shows. The
resident memory is read before each swap; what counts is the median of the last fifth of the
readings over that of the second fifth: the first one fills caches and pools. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from serving_overhead import NAME, jpeg, memory_mib, rest_asker
from serving_swaps import add_warm_up, publish

from slimworks.components.serving.client import Client
from slimworks.components.serving.process import ServerProcess

CLIENTS_OF_EACH_KIND = 2
KEPT_VERSIONS = 2  # on disk
NUM_WEIGHTS = 2 << 20


class Brightness(tf.Module):
    """Answers as an exported classifier does, from an image's mean and a few weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.ones([NUM_WEIGHTS]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
    def serve(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded images [N] -> the outputs of `serving_default`."""

        def mean(encoded: tf.Tensor) -> tf.Tensor:
            image = tf.io.decode_jpeg(encoded, channels=3, ratio=8)
            return tf.reduce_mean(tf.cast(image, tf.float32)) / 255.0

        means = tf.map_fn(mean, images, fn_output_signature=tf.TensorSpec([]))
        dark = (1.0 - means) * self.weights[0]
        probabilities = tf.stack([means, dark], axis=1)
        return {
            "classes": tf.fill(tf.shape(probabilities), "class"),
            "probabilities": probabilities,
            "class_index": tf.cast(tf.round(probabilities), tf.int64),
            "is_known": means >= 0.0,
        }


def write_model(folder: Path) -> Path:
    """A serving folder with version 1."""
    model = Brightness()
    signatures = {"serving_default": model.serve}
    tf.saved_model.save(model, str(folder / "served" / "1"), signatures=signatures)
    return folder / "served"


class Requests:
    """Counts what all clients have asked, and lets them end."""

    def __init__(self) -> None:
        self.counts = [0] * 2 * CLIENTS_OF_EACH_KIND
        self.is_over = threading.Event()

    def run(self, position: int, ask: Callable[[], object]) -> None:
        """Asks until told to end; a failure ends all."""
        try:
            while not self.is_over.is_set():
                ask()
                self.counts[position] += 1
        finally:
            self.is_over.set()

    def wait_for(self, number: int) -> None:
        """Waits until so many were answered."""
        while sum(self.counts) < number and not self.is_over.wait(0.02):
            pass


def swap(client: Client, base: Path, version: int) -> None:
    """Publishes a version, waits until it alone is loaded, and removes an older one from disk."""
    publish(base / "1", base, version)
    pause = threading.Event()
    while {s.version for s in client.status() if s.state != "END"} != {version}:
        pause.wait(0.02)
    old = base / str(version - KEPT_VERSIONS)
    if version - KEPT_VERSIONS > 1:  # version 1 is what the others are copied from
        old.rename(base / f".old-{old.name}")


def readings(base: Path, image: bytes, num_requests: int, num_swaps: int) -> list[float]:
    """Memory before each swap and at the end, in MiB."""
    add_warm_up(base / "1", image)
    requests, found = Requests(), []
    with (
        ServerProcess(base, NAME, poll_wait_seconds=0.05) as server,
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor(len(requests.counts)) as pool,
    ):
        clients = [
            stack.enter_context(Client(server.address, NAME)) for _ in range(CLIENTS_OF_EACH_KIND)
        ]
        asks: list[Callable[[], object]] = [
            *(lambda client=client: client.predict_bytes([image]) for client in clients),
            *(rest_asker(server.rest_address, image) for _ in range(CLIENTS_OF_EACH_KIND)),
        ]
        running = [
            pool.submit(requests.run, position, ask) for position, ask in enumerate(asks)
        ]  # fmt: skip
        stack.callback(requests.is_over.set)
        for number in itertools.count(1):
            requests.wait_for(num_requests * number // (num_swaps + 1))
            found.append(memory_mib(server.pid))
            if number > num_swaps or requests.is_over.is_set():
                break
            swap(clients[0], base, number + 1)
        requests.is_over.set()
        for one in running:
            one.result()
    return found


def growth(found: list[float]) -> dict[str, Any]:
    """What grew, after the caches were filled."""
    fifth = max(1, len(found) // 5)
    early = statistics.median(found[fifth : 2 * fifth])
    late = statistics.median(found[-fifth:])
    return {
        "early_mib": round(early, 1),
        "late_mib": round(late, 1),
        "late_to_early": round(late / early, 3),
        "lowest_mib": round(min(found), 1),
        "highest_mib": round(max(found), 1),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--jpeg-bytes", type=int, default=5_000)
    arguments = parser.parse_args()
    image = jpeg(arguments.jpeg_bytes)
    with tempfile.TemporaryDirectory() as folder:
        base = write_model(Path(folder))
        found = readings(base, image, arguments.requests, arguments.swaps)
    result = {
        "benchmark": "serving_memory",
        "num_requests": arguments.requests,
        "num_swaps": arguments.swaps,
        **growth(found),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
