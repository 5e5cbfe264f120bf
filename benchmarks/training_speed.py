"""Training images per second and set-up time, against Keras Applications and a TF1 session.

All sides train the same architecture with momentum on the same batch of noise (or, where said, on
transformed examples), each in a process of its own, in turns of a few steps, so that what else the
machine does falls on all alike:

* slimworks: the trainer's own loop, L2 terms, metrics and watchdog included;
* tf1: TF-Slim's way, the same network in a TF1 graph and session, with the same L2 terms;
* keras: Keras Applications and `fit`; keras2: the same in tf_keras, which TensorFlow once was;
* transformed: slimworks on transformed examples, read, shuffled and augmented;
* input: their reading alone;
* half, head: slimworks with the first half of the layers, or all but the head, frozen;
* bfloat16, no_onednn, xla, huge_pages: slimworks with another setting.

Without a GPU, the clock counts CPU seconds, so that one thread's figures hold on a busy machine;
with one, seconds. Prints one JSON line, progress on stderr.

    python benchmarks/training_speed.py                       two small runs
    python benchmarks/training_speed.py --nets inception_v3:8:299 resnet_v1_50:8:224 \
        mobilenet_v1:16:224 --rounds 7 --seconds 20           the usual networks
    python benchmarks/training_speed.py --clock wall --threads 0     the whole machine, when quiet
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIDES_FOLDER = Path(__file__).parent / "training_sides"
NETS = ("mobilenet_v1_025:16:128", "resnet_v1_50:4:128")
SIDES = ("slimworks", "tf1", "keras", "transformed", "input", "head")
NUM_CLASSES = 5
STEPS_PER_EXECUTION = 5  # of Keras; turns are multiples of it
NUM_IMAGES = 400
LEGACY = {"TF_USE_LEGACY_KERAS": "1"}

# Without .pyc files every import would compile, as it does nowhere else.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
_ENVIRONMENT["TF_CPP_MIN_LOG_LEVEL"] = "3"

# Scopes to train: the head alone, and with it about half of the layers.
FROZEN = {
    "inception_v3": {"head": ["InceptionV3/Logits"], "half": ["InceptionV3/(Mixed_[67]|Logits)"]},
    "mobilenet_v1": {
        "head": ["MobilenetV1/Logits"],
        "half": ["MobilenetV1/(Conv2d_([7-9]|1[0-3])_|Logits)"],
    },
    "resnet_v1_50": {
        "head": ["resnet_v1_50/logits"],
        "half": ["resnet_v1_50/(block[34]|logits)"],
    },
}  # fmt: skip
FROZEN["mobilenet_v1_025"] = FROZEN["mobilenet_v1"]

# name -> script, its own options, environment
Kind = tuple[str, dict[str, Any], dict[str, str]]
KINDS: dict[str, Kind] = {
    "slimworks": ("slimworks_loop.py", {}, LEGACY),
    "bfloat16": ("slimworks_loop.py", {"bfloat16": True}, LEGACY),
    "no_onednn": ("slimworks_loop.py", {}, {**LEGACY, "TF_ENABLE_ONEDNN_OPTS": "0"}),
    "xla": (
        "slimworks_loop.py",
        {},
        {**LEGACY, "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"},
    ),
    "huge_pages": (
        "slimworks_loop.py",
        {},
        {**LEGACY, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    ),
    "transformed": ("slimworks_loop.py", {"examples": ""}, LEGACY),
    "input": ("slimworks_loop.py", {"examples": "", "input_only": True}, LEGACY),
    "half": ("slimworks_loop.py", {"trainable_scopes": []}, LEGACY),
    "head": ("slimworks_loop.py", {"trainable_scopes": []}, LEGACY),
    "tf1": ("tf1_session.py", {}, LEGACY),
    "keras": ("keras_fit.py", {"keras": "keras", "steps_per_execution": STEPS_PER_EXECUTION}, {}),
    "keras2": (
        "keras_fit.py",
        {"keras": "tf_keras", "steps_per_execution": STEPS_PER_EXECUTION},
        LEGACY,
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Run:
    """A network, a batch size, an image size in pixels."""

    net: str
    batch_size: int
    image_size: int

    @classmethod
    def parse(cls, text: str) -> Run:
        """Reads net:batch:size."""
        net, batch_size, image_size = text.split(":")
        return cls(net, int(batch_size), int(image_size))


class Side:
    """A process that trains when it is told to.

    Attributes:
        first_step: What the time from its start to the end of the first step was, by clock.
    """

    def __init__(self, name: str, run: Run, threads: int, examples: str) -> None:
        script, own, environment = KINDS[name]
        own = dict(own)
        if "examples" in own:
            own["examples"] = examples
        if "trainable_scopes" in own:
            own["trainable_scopes"] = FROZEN[run.net][name]
        options = {
            "started": time.monotonic(),
            **dataclasses.asdict(run),
            "num_classes": NUM_CLASSES,
            "threads": threads,
            "more": own,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SIDES_FOLDER / script), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**_ENVIRONMENT, **environment},
        )
        self.first_step = self._read()

    def train(self, num_steps: int) -> dict[str, float]:
        """Does so many steps; returns what they took in seconds, by clock."""
        assert self._process.stdin
        self._process.stdin.write(f"{num_steps}\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin
        self._process.stdin.close()
        if self._process.wait() != 0:
            raise RuntimeError(f"{self._process.args} ended with {self._process.returncode}.")

    def _read(self) -> dict[str, float]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}.")
        took: dict[str, float] = json.loads(line)
        return took


def measure(
    run: Run, names: Sequence[str], arguments: argparse.Namespace, clock: str, examples: str
) -> dict[str, Any]:
    """Runs the sides in turns."""
    sides = {}
    for name in names:
        sides[name] = Side(name, run, arguments.threads, examples)
        print(f"{run.net} {name}: {sides[name].first_step}", file=sys.stderr)
    took = {name: side.train(STEPS_PER_EXECUTION)[clock] for name, side in sides.items()}
    executions = arguments.seconds / max(took[names[0]], 1e-9)
    num_steps = max(round(executions), 1) * STEPS_PER_EXECUTION
    rounds = []
    for _ in range(arguments.rounds):
        seconds = {name: side.train(num_steps)[clock] for name, side in sides.items()}
        rounds.append({n: num_steps * run.batch_size / s for n, s in seconds.items()})
        print(f"{run.net} images/s: {rounds[-1]}", file=sys.stderr)
    for side in sides.values():
        side.close()
    first = {name: side.first_step[clock] for name, side in sides.items()}
    ours = names[0]
    return {
        "batch_size": run.batch_size,
        "image_size": run.image_size,
        "steps_a_turn": num_steps,
        "images_per_second": {n: _rounded(one[n] for one in rounds)[1] for n in names},
        "ratio": {n: _rounded(one[ours] / one[n] for one in rounds) for n in names[1:]},
        "seconds_to_first_step": {name: round(value, 2) for name, value in first.items()},
    }


def _rounded(values: Any) -> list[float]:
    """Least, median, largest."""
    found = sorted(values)
    return [round(value, 3) for value in (found[0], statistics.median(found), found[-1])]


def has_gpu() -> bool:
    """Asks the driver; importing TensorFlow for it would take memory from the sides."""
    return any(Path("/proc/driver/nvidia/gpus").glob("*"))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", nargs="+", default=NETS, metavar="NET:BATCH:PIXELS")
    parser.add_argument("--sides", nargs="+", default=SIDES, choices=list(KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn, about")
    parser.add_argument("--threads", type=int, default=1, help="0: as many as TensorFlow likes")
    parser.add_argument("--clock", choices=("cpu", "wall"), help="default: cpu without a GPU")
    arguments = parser.parse_args()
    clock = arguments.clock or ("wall" if has_gpu() else "cpu")
    names = list(dict.fromkeys(["slimworks", *arguments.sides]))
    measured = {}
    for run in map(Run.parse, arguments.nets):
        with tempfile.TemporaryDirectory(prefix="slimworks-bench-") as folder:
            if {"transformed", "input"} & set(names):
                from head_only import write_examples

                write_examples(Path(folder), run.net, run.image_size, NUM_IMAGES)
            measured[run.net] = measure(run, names, arguments, clock, folder)
    result = {
        "benchmark": "training_speed",
        "ratio": {net: found["ratio"] for net, found in measured.items()},
        "against": "images/s of slimworks / of the side: [least, median, largest] of the rounds",
        "clock": clock,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "nets": measured,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
