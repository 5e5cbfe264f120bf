"""What the embedded server adds to a model: one JPEG by gRPC and by REST, and 32 clients at once.

Sides, in one run, on a network with random weights:

* in_process: the SavedModel's `serving_default`, called by TensorFlow in this process;
* grpc, rest: the same image through the server, one request after another on one connection;
* batched_limit: images a second of in-process calls of `--batch-size` images;
* throughput: images a second of `--clients` threads with one image a request, with batching.

Also: how the server's memory changes over the requests, and idle connections held meanwhile. The
clients run on the same cores as the server, which counts against it. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import contextlib
import http.client
import io
import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image

from slimworks.components.checkpoints.save import save
from slimworks.components.export.export import export_saved_model
from slimworks.components.export.images import generated_images
from slimworks.components.export.source import from_checkpoint
from slimworks.components.nets.layout import build_graph
from slimworks.components.nets.registry import get_net
from slimworks.components.serving.client import Client
from slimworks.components.serving.process import ServerProcess

NUM_CLASSES, NAME = 5, "bench"
NUM_TURNS = 5  # other work on the machine falls on both sides


def write_model(folder: Path, net: str) -> Path:
    """A serving folder with version 1 of a network with random weights."""
    generator = np.random.default_rng(0)
    size = get_net(net).default_image_size
    graph = build_graph(net, NUM_CLASSES, size, 3, is_training=True)
    values: dict[str, Any] = {
        variable.name: np.abs(generator.normal(0, 0.1, variable.shape)).astype(np.float32)
        for variable in graph.variables
    }
    save({**values, "global_step": np.int64(1)}, folder / f"{net}.ckpt")
    source = from_checkpoint(folder / f"{net}.ckpt", net=net, image_size=size)
    export_saved_model(source, folder / "served" / "1", generated_images(2))
    return folder / "served"


def jpeg(num_bytes: int) -> bytes:
    """A noisy photo-sized JPEG of about this many bytes."""
    generator = np.random.default_rng(1)
    side = int((num_bytes / 2.5) ** 0.5)  # four noisy pixels take 2.5 bytes at this quality
    stream = io.BytesIO()
    noise = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((2 * side, 2 * side)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def milliseconds(ask: Callable[[], object], num_requests: int) -> list[float]:
    """Wall times of calls made one after another."""
    times = []
    for _ in range(num_requests):
        started = time.perf_counter()
        ask()
        times.append((time.perf_counter() - started) * 1e3)
    return times


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def rest_asker(address: str, image: bytes) -> Callable[[], object]:
    """Sends the image by REST, on one connection."""
    connection = http.client.HTTPConnection(address, timeout=60)
    body = json.dumps({"instances": [{"b64": base64.b64encode(image).decode()}]})

    def ask() -> bytes:
        connection.request("POST", f"/v1/models/{NAME}:predict", body)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(content.decode())
        return content

    return ask


def one_by_one(
    base: Path, image: bytes, in_process: Callable[[], object], num_requests: int, num_idle: int
) -> dict[str, Any]:
    """Medians of the three sides, measured in turn."""
    with ServerProcess(base, NAME) as server, Client(server.address, NAME) as client:
        sides: dict[str, Callable[[], object]] = {
            "in_process": in_process,
            "grpc": lambda: client.predict_bytes([image]),
            "rest": rest_asker(server.rest_address, image),
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for ask in sides.values():
            milliseconds(ask, 10)
        before = memory_mib(server.pid)
        with contextlib.ExitStack() as idle:
            host, _, port = server.rest_address.partition(":")
            for _ in range(num_idle):
                idle.enter_context(socket.create_connection((host, int(port))))
            for _ in range(5):
                for name, ask in sides.items():
                    times[name] += milliseconds(ask, num_requests // 5)
        after = memory_mib(server.pid)
    found = {name: statistics.median(values) for name, values in times.items()}
    return {
        **{f"{name}_ms": round(value, 2) for name, value in found.items()},
        "grpc_to_in_process": round(found["grpc"] / found["in_process"], 3),
        "rest_to_grpc": round(found["rest"] / found["grpc"], 3),
        "memory_growth_mib": round(after - before, 1),
        "num_idle_connections": num_idle,
    }


def together(
    base: Path, image: bytes, call: Callable[[int], object], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Throughput of many clients with batching, in turns with whole batches in this process."""
    size, rates = arguments.batch_size, []
    num_requests = max(arguments.requests // NUM_TURNS, 4 * arguments.clients)
    call(size)
    parameters = base.parent / "batching.txt"
    parameters.write_text(
        f"max_batch_size {{ value: {size} }} batch_timeout_micros {{ value: 5000 }} "
        f"num_batch_threads {{ value: {arguments.batch_threads} }} "
        "max_enqueued_batches { value: 1000 }"
    )
    flags = ("--enable_batching", f"--batching_parameters_file={parameters}")
    with (
        ServerProcess(base, NAME, extra_flags=flags) as server,
        Client(server.address, NAME) as client,
        concurrent.futures.ThreadPoolExecutor(arguments.clients) as pool,
    ):
        list(pool.map(lambda _: client.predict_bytes([image]), range(arguments.clients)))
        for _ in range(NUM_TURNS):
            batches = milliseconds(lambda: call(size), max(2, num_requests // size))
            limit = 1e3 * size * len(batches) / sum(batches)
            started = time.perf_counter()
            list(pool.map(lambda _: client.predict_bytes([image]), range(num_requests)))
            rates.append((limit, num_requests / (time.perf_counter() - started)))
    ratios = sorted(throughput / limit for limit, throughput in rates)
    return {
        "batched_limit_per_second": round(statistics.median(limit for limit, _ in rates), 1),
        "throughput_per_second": round(statistics.median(rate for _, rate in rates), 1),
        "throughput_to_limit": round(statistics.median(ratios), 3),
        "throughput_to_limit_spread": [round(ratios[0], 3), round(ratios[-1], 3)],
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", default="mobilenet_v1")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--batch-threads", type=int, default=2)
    parser.add_argument("--jpeg-bytes", type=int, default=150_000)
    parser.add_argument("--idle-connections", type=int, default=900)
    arguments = parser.parse_args()
    image = jpeg(arguments.jpeg_bytes)
    with tempfile.TemporaryDirectory() as folder:
        base = write_model(Path(folder), arguments.net)
        loaded = tf.saved_model.load(str(base / "1"))
        signature = loaded.signatures["serving_default"]

        def call(num_images: int) -> object:
            answer = signature(images=tf.constant([image] * num_images))
            return {name: tensor.numpy() for name, tensor in answer.items()}

        result = {
            "benchmark": "serving_overhead",
            "net": arguments.net,
            "jpeg_bytes": len(image),
            **one_by_one(
                base, image, lambda: call(1), arguments.requests, arguments.idle_connections
            ),
            **together(base, image, call, arguments),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
