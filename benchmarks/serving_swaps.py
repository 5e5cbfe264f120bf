"""Latency while a new version is loaded and the old one leaves, against latency without a swap.

Two gRPC and two REST clients ask one image each at a constant rate. Windows with a swap (from the
moment the version's folder appears until the old version has ended) alternate with quiet windows
of the same length; a request counts where it was due, so that a stall is not hidden by clients
that wait for it. Prints one JSON line: p99 of the swap windows over p99 of the quiet ones, by gRPC
and by REST, the spread over the swaps, and the requests that failed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from serving_overhead import NAME, jpeg, rest_asker, write_model
from tensorflow_serving.apis import prediction_log_pb2

from slimworks.components.contracts import EXTRA_ASSETS_FOLDER
from slimworks.components.serving.client import Client
from slimworks.components.serving.process import ServerProcess

WARM_UP_REQUESTS = 20


@dataclasses.dataclass
class Load:
    """Requests of one kind: when each was due, and how long its answer took from then on."""

    due: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)

    def run(
        self, ask: Callable[[], object], interval_seconds: float, stop: threading.Event
    ) -> None:
        """Asks at a constant rate until told to stop."""
        start = time.perf_counter()
        for number in itertools.count():
            due = start + number * interval_seconds
            if stop.wait(max(0.0, due - time.perf_counter())):
                return
            try:
                ask()
            except Exception as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.due.append(due)
            self.seconds.append(time.perf_counter() - due)

    def p99_ms(self, windows: list[tuple[float, float]]) -> float:
        """99th percentile of the requests that were due in the windows."""
        due, seconds = np.array(self.due), np.array(self.seconds)
        inside = np.zeros(len(due), dtype=bool)
        for start, end in windows:
            inside |= (due >= start) & (due < end)
        return float(np.percentile(seconds[inside], 99) * 1e3)


@contextlib.contextmanager
def constant_load(
    asks: dict[str, list[Callable[[], object]]], interval_seconds: float
) -> Iterator[dict[str, Load]]:
    """Runs each asker in a thread of its own, for the length of the block."""
    loads: dict[str, list[Load]] = {kind: [Load() for _ in some] for kind, some in asks.items()}
    stop = threading.Event()
    threads = [
        threading.Thread(target=load.run, args=(ask, interval_seconds, stop))
        for kind, some in asks.items()
        for load, ask in zip(loads[kind], some, strict=True)
    ]
    merged = {kind: Load() for kind in asks}
    for thread in threads:
        thread.start()
    try:
        yield merged
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for kind, some in loads.items():
        for load in some:
            merged[kind].due += load.due
            merged[kind].seconds += load.seconds
            merged[kind].failures += load.failures


def add_warm_up(model: Path, image: bytes) -> None:
    """Gives the model one warm-up request, as a publisher does."""
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["images"].CopyFrom(tf.make_tensor_proto([image]))
    path = model / EXTRA_ASSETS_FOLDER / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(log.SerializeToString())


def publish(model: Path, base: Path, version: int) -> None:
    """Links a copy under a name that is no version, then renames it."""
    staging = base / f".staging-{version}"
    shutil.copytree(model, staging, copy_function=os.link)
    staging.rename(base / str(version))


def swap(client: Client, model: Path, base: Path, version: int) -> tuple[float, float]:
    """Publishes a version; returns when that began and when the old version had ended."""
    pause = threading.Event()
    start = time.perf_counter()
    publish(model, base, version)
    while True:
        states = {status.version: status.state for status in client.status()}
        if states.get(version) == "AVAILABLE" and states.get(version - 1) == "END":
            return start, time.perf_counter()
        pause.wait(0.02)


def measured(arguments: argparse.Namespace, base: Path) -> dict[str, Any]:
    """Alternates swaps and quiet windows under load."""
    image = jpeg(arguments.jpeg_bytes)
    model = base / "1"
    add_warm_up(model, image)
    with (
        ServerProcess(base, NAME, poll_wait_seconds=0.2) as server,
        contextlib.ExitStack() as stack,
        Client(server.address, NAME) as watcher,
    ):
        clients = [stack.enter_context(Client(server.address, NAME)) for _ in range(2)]
        asks: dict[str, list[Callable[[], object]]] = {
            "grpc": [lambda client=client: client.predict_bytes([image]) for client in clients],
            "rest": [rest_asker(server.rest_address, image) for _ in range(2)],
        }
        for ask in itertools.chain.from_iterable(asks.values()):
            for _ in range(WARM_UP_REQUESTS):
                ask()
        swaps, quiet = [], []
        with constant_load(asks, 4 / arguments.rate) as loads:
            for version in range(2, arguments.swaps + 2):
                start, end = swap(watcher, model, base, version)
                time.sleep(0.5)
                swaps.append((start, end))
                start = time.perf_counter()
                time.sleep(swaps[-1][1] - swaps[-1][0])
                quiet.append((start, time.perf_counter()))
    return {
        "swap_seconds": round(float(np.median([end - start for start, end in swaps])), 2),
        **{f"{kind}_{key}": value for kind, load in loads.items() for key, value in
           compared(load, swaps, quiet).items()},
    }  # fmt: skip


def compared(
    load: Load, swaps: list[tuple[float, float]], quiet: list[tuple[float, float]]
) -> dict[str, Any]:
    """Figures of one kind of client."""
    pairs = zip(swaps, quiet, strict=True)
    each = [load.p99_ms([one]) / load.p99_ms([other]) for one, other in pairs]
    return {
        "quiet_p99_ms": round(load.p99_ms(quiet), 1),
        "swap_p99_ms": round(load.p99_ms(swaps), 1),
        "swap_to_quiet": round(load.p99_ms(swaps) / load.p99_ms(quiet), 2),
        "spread": [round(min(each), 2), round(max(each), 2)],
        "num_requests": len(load.due),
        "num_failures": len(load.failures),
        **({"first_failure": load.failures[0]} if load.failures else {}),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", default="mobilenet_v1")
    parser.add_argument("--swaps", type=int, default=8)
    parser.add_argument("--rate", type=float, default=16.0, help="requests a second in all")
    parser.add_argument("--jpeg-bytes", type=int, default=150_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measured(arguments, write_model(Path(folder), arguments.net))
    print(json.dumps({"benchmark": "serving_swaps", "net": arguments.net, **result}))


if __name__ == "__main__":
    main()
