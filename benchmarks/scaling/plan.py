"""The plan of docs/scale.md: formulas over measured constants and the reader's own figures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

DAY, MONTH_HOURS = 86_400.0, 730.0


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is asked for. Change it: everything else follows.

    Attributes:
        images: Labelled photos.
        image_bytes: Of one, on the average.
        classes: K.
        test_images: Of the test split: what the gate's evidence rests on.
        stored_bytes: Of one image as training reads it: [224, 224, 3] uint8.
        ingest_days: Time for the first ingest.
        epochs: Passes over all images.
        accelerator_images_per_second: Of one accelerator in training: measure yours.
        training_days: Time for a training.
        requests_per_second: Predictions, at the peak.
        request_bytes: Of one.
        request_cpu_seconds: Of one, in the server.
        server_cores: `requests.cpu` of one server.
        utilisation: Share of the cores that is to be busy; the rest is for peaks.
        zones: A zone may be lost.
    """

    images: float = 1e8
    image_bytes: float = 1e5
    classes: int = 1_000
    test_images: float = 1e5
    stored_bytes: float = 224 * 224 * 3
    ingest_days: float = 1.0
    epochs: float = 10
    accelerator_images_per_second: float = 1_000
    training_days: float = 2.0
    requests_per_second: float = 1_000
    request_bytes: float = 1e5
    request_cpu_seconds: float = 0.0166
    server_cores: int = 2
    utilisation: float = 0.7
    zones: int = 3


@dataclasses.dataclass(frozen=True)
class Prices:
    """An example, in no currency: put in your own."""

    core_hour: float = 0.04
    accelerator_hour: float = 2.50
    object_gb_month: float = 0.02
    shared_gb_month: float = 0.20


@dataclasses.dataclass(frozen=True)
class Constants:
    """What was measured.

    Attributes:
        check_cpu_seconds: Of one photo of 500x375: read, hash, decode, check.
        driver_seconds: One process, one core: all the catalogue's phases for `images`.
        catalogue_bytes: For `images`.
        driver_bytes: Peak of that process.
        find_record_seconds: Of one record, in each training process.
        score_row_seconds: Of one row of 10 classes, intervals included.
        shard_bytes: `ingest.sharding.SHARD_BYTES`.
    """

    check_cpu_seconds: float
    driver_seconds: float
    catalogue_bytes: float
    driver_bytes: float
    find_record_seconds: float
    score_row_seconds: float
    shard_bytes: float = 150e6


def storage(load: Workload, known: Constants) -> dict[str, float]:
    """Bytes by what they hold. Photos and shards: the original bytes; training reads squares."""
    return {
        "photos": load.images * load.image_bytes,
        "shards": load.images * load.image_bytes,
        "stored images": load.images * load.stored_bytes,
        "catalogue": known.catalogue_bytes,
    }


def ingest(load: Workload, known: Constants) -> dict[str, float]:
    """Shards, workers, and how long the one process takes that plans."""
    core_seconds = load.images * known.check_cpu_seconds
    wanted = load.ingest_days * DAY
    return {
        "shards": math.ceil(load.images * load.image_bytes / known.shard_bytes),
        "core hours": core_seconds / 3600,
        "workers": math.ceil(core_seconds / (load.utilisation * wanted)),
        "read bytes a second": load.images * load.image_bytes / wanted,
        "planning hours": known.driver_seconds / 3600,
        "planning memory": known.driver_bytes,
    }


def training(load: Workload, known: Constants) -> dict[str, float]:
    """Accelerators, what they read, and what each process holds and looks for at its start."""
    seconds = load.images * load.epochs / load.accelerator_images_per_second
    accelerators = math.ceil(seconds / (load.training_days * DAY))
    return {
        "accelerator hours": seconds / 3600,
        "accelerators": accelerators,
        "read bytes a second": accelerators
        * load.accelerator_images_per_second
        * load.stored_bytes,
        # Shard number and offset of each record, and the order of an epoch twice while shuffled.
        "memory a process": load.images * (12 + 2 * 8),
        "start hours a process": load.images * known.find_record_seconds / 3600,
    }


def evaluation(load: Workload, known: Constants) -> dict[str, float]:
    """The predictions file and what the test split can tell apart."""
    return {
        "predictions bytes": load.test_images * load.classes * 2 * 4,
        "scoring seconds": load.test_images * known.score_row_seconds,
        # Of an accuracy of 0.9, at 95 %.
        "half interval": 1.96 * math.sqrt(0.9 * 0.1 / load.test_images),
        "all test bytes": 0.1 * load.images * load.classes * 2 * 4,
    }


def erlang_c(servers: int, load: float) -> float:
    """Probability that a request waits (M/M/c); load: arrivals a second x seconds of service."""
    if load >= servers:
        return 1.0
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - (load / servers) * (1 - blocked))


def serving(load: Workload) -> dict[str, float]:
    """Servers, and how a request fares on one of them."""
    offered = load.requests_per_second * load.request_cpu_seconds  # cores that are always busy
    least = math.ceil(offered / (load.server_cores * load.utilisation))
    servers = math.ceil(least * load.zones / (load.zones - 1))  # the others carry a lost zone
    of_one = offered / servers
    waits = erlang_c(load.server_cores, of_one)
    of_least = erlang_c(load.server_cores, offered / least)
    rate = 1 / load.request_cpu_seconds
    return {
        "busy cores": offered,
        "servers": least,
        "servers with a zone to lose": servers,
        "waiting share": waits,
        "mean wait seconds": waits / (load.server_cores * rate - of_one * rate),
        "mean wait seconds without the zone": of_least
        / (load.server_cores * rate - offered / least * rate),
        "bytes a second": load.requests_per_second * load.request_bytes,
    }


def cost(load: Workload, known: Constants, prices: Prices) -> dict[str, float]:
    """Of the first ingest, one training, and each month."""
    held = storage(load, known)
    planning = ingest(load, known)["planning hours"]
    in_buckets = held["photos"]
    on_shares = held["shards"] + held["stored images"] + held["catalogue"]
    servers = serving(load)["servers with a zone to lose"]
    return {
        "first ingest": (ingest(load, known)["core hours"] + planning) * prices.core_hour,
        "one training": training(load, known)["accelerator hours"] * prices.accelerator_hour,
        "storage a month": in_buckets / 1e9 * prices.object_gb_month
        + on_shares / 1e9 * prices.shared_gb_month,
        "serving a month": servers * load.server_cores * MONTH_HOURS * prices.core_hour,
    }


def constants(measured: Mapping[str, Mapping[str, Any]], load: Workload) -> Constants:
    """From the lines of docs/scale.json, at the size of the plan."""

    def at(name: str) -> float:
        line, n = measured[name], load.images
        basis = n * math.log2(n) if line["shape"] == "n log2 n" else n
        return line["fixed"] + line["each"] * basis

    phases = [name for name in measured if name.startswith("catalogue: ") and "again" not in name]
    return Constants(
        check_cpu_seconds=CHECK_CPU_SECONDS,
        driver_seconds=sum(at(name) for name in phases),
        catalogue_bytes=at("catalogue bytes"),
        driver_bytes=_continued(measured["memory bytes"], load.images),
        find_record_seconds=measured["find records"]["each"],
        score_row_seconds=measured["score"]["each"],
    )


def _continued(line: Mapping[str, Any], size: float) -> float:
    """Cost of `size` along the last two measurements: small sizes hide below a process's own."""
    (before, last), (less, most) = line["sizes"][-2:], line["costs"][-2:]
    return float(most + (size - last) * (most - less) / (last - before))


# Read, hash and decode, images of 500x375, one core: see `benchmarks/ingest_speed.py`.
CHECK_CPU_SECONDS = 1 / 1_080
