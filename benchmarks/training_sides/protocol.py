"""What the sides of training_speed.py share: options, noise, and turns of so many steps.

A side is a program. Its first argument is a JSON object with its options; for each line of its
standard input, a number, it does that many training steps and prints what they took.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Options:
    """What to train.

    Attributes:
        started: Of the process, by time.monotonic().
        net: Network, by our name.
        batch_size: N.
        image_size: S, in pixels.
        num_classes: K.
        threads: Of TensorFlow; 0: its own choice.
        more: Settings that only one side has.
    """

    started: float
    net: str
    batch_size: int
    image_size: int
    num_classes: int
    threads: int
    more: dict[str, Any]


def options() -> Options:
    """Reads them, and tells TensorFlow how many threads to use."""
    found = Options(**json.loads(sys.argv[1]))
    if found.threads:
        tf.config.threading.set_intra_op_parallelism_threads(found.threads)
        tf.config.threading.set_inter_op_parallelism_threads(found.threads)
    # The first session or eager op of a process decides how many threads all of them share.
    tf.constant(0)
    return found


def noise(wanted: Options) -> tuple[np.ndarray, np.ndarray]:
    """Returns images [N, S, S, 3] in [-1, 1] and one-hot targets [N, K], both float32."""
    rng = np.random.default_rng(0)
    shape = (wanted.batch_size, wanted.image_size, wanted.image_size, 3)
    classes = rng.integers(wanted.num_classes, size=wanted.batch_size)
    targets = np.eye(wanted.num_classes, dtype=np.float32)[classes]
    return rng.uniform(-1, 1, shape).astype(np.float32), targets


def turns(wanted: Options) -> Iterator[int]:
    """Yields how many steps to do next; prints what they took when asked for more.

    The first turn is one step, from the start of the process.
    """
    cpu, wall = 0.0, wanted.started
    yield 1
    _report(cpu, wall)
    for line in sys.stdin:
        cpu, wall = time.process_time(), time.monotonic()
        yield int(line)
        _report(cpu, wall)


def _report(cpu: float, wall: float) -> None:
    took = {"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}
    print(json.dumps(took), flush=True)
