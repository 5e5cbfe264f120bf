"""Runs a shadow and writes what came of it: shadow.json and shadow.html."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.examples import image_conversion
from slimworks.components.report.pictures import picture_of
from slimworks.components.serving.logged import LogReader
from slimworks.components.shadow.mirror import Mirror
from slimworks.components.shadow.page import shadow_page
from slimworks.components.shadow.replaying import shadow_log
from slimworks.components.shadow.sides import ModelChoice, opened_side
from slimworks.components.shadow.tally import CANDIDATE, PRIMARY, ShadowResult, Tally

MAX_PICTURE_PIXELS = 50_000_000  # of images from clients: their headers are looked at first
MAX_PICTURE_BYTES = 32 << 20
DEFAULT_TIMEOUT_SECONDS = 30.0
_LOOK_SECONDS = 0.2

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a model is: `host:port` or a folder, and which of its versions."""

    place: str
    choice: ModelChoice = dataclasses.field(default_factory=ModelChoice)


@dataclasses.dataclass(frozen=True)
class Report:
    """A finished shadow: its figures, and its files' folder."""

    result: ShadowResult
    facts: Mapping[str, Any]
    folder: Path


def shadow_of_log(
    log: str | os.PathLike[str],
    candidate: Place,
    primary: Place | None,
    output_dir: str | os.PathLike[str],
    *,
    max_requests: int,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    start_timeout_seconds: float = 120.0,
) -> Report:
    """Sends the newest logged requests to a candidate, and to a primary beside it.

    Args:
        log: Prefix, folder or file of a request log.
        candidate: Is compared.
        primary: With this one; None: with the answers in the log.
        output_dir: Receives shadow.json and shadow.html.
        max_requests: Newest records of the log that are looked at.
        timeout_seconds: For each request.
        start_timeout_seconds: For a server of our own to be ready.

    Raises:
        DataError: There is no log.
        ConfigError: A folder holds no such model.
        ServingError: A server of our own does not start.
    """
    reader = LogReader(log, max_requests)
    tally = Tally(picture_uri)
    started = time.monotonic()

    def opened(at: Place) -> Any:
        return opened_side(at.place, at.choice, timeout_seconds, start_timeout_seconds)

    with opened(candidate) as asked:
        facts: dict[str, Any] = {"log": os.fspath(log), CANDIDATE: asked.to_json()}
        if primary is None:
            facts[PRIMARY] = None
            shadow_log(reader, asked, None, tally)
        else:
            with opened(primary) as other:
                facts[PRIMARY] = other.to_json()
                shadow_log(reader, asked, other, tally)
    return write_report(tally.result(), facts, started, output_dir)


def shadow_of_port(
    mirror: Mirror,
    tally: Tally,
    facts: Mapping[str, Any],
    output_dir: str | os.PathLike[str],
    stop: threading.Event,
    *,
    max_requests: int | None,
    max_seconds: float | None,
    report_seconds: float,
) -> Report:
    """Mirrors until told to stop, or until enough was seen; writes the report every now and then.

    Args:
        mirror: Listens already.
        tally: What it counts in.
        facts: Of shadow.json.
        output_dir: Receives shadow.json and shadow.html.
        stop: Ends it.
        max_requests: Ends it when the candidate was asked so many.
        max_seconds: Ends it then.
        report_seconds: Between two reports.
    """
    started = reported = time.monotonic()
    while not stop.wait(_LOOK_SECONDS):
        now = time.monotonic()
        is_enough = max_requests is not None and tally.num_requests >= max_requests
        if is_enough or (max_seconds is not None and now - started >= max_seconds):
            break
        if now - reported >= report_seconds:
            write_report(tally.result(), facts, started, output_dir)
            reported = now
    mirror.close()  # what waits in its queue still counts
    return write_report(tally.result(), facts, started, output_dir)


def write_report(
    result: ShadowResult,
    facts: Mapping[str, Any],
    started: float,
    output_dir: str | os.PathLike[str],
) -> Report:
    """Writes shadow.html, then shadow.json. started: by time.monotonic."""
    folder = Path(output_dir)
    facts = {**facts, "seconds": round(time.monotonic() - started, 1)}
    files.write_text(folder / contracts.SHADOW_PAGE, shadow_page(result, facts))
    files.write_json(folder / contracts.SHADOW_FILE, {**result.to_json(), **facts})
    _logger.info(
        "shadow: %d images of %d requests, agreement %s: %s",
        result.num_images, result.num_requests,
        "unknown" if result.agreement is None else f"{result.agreement:.4f}", folder,
    )  # fmt: skip
    return Report(result, facts, folder)


def picture_uri(image: bytes | None) -> str | None:
    """Small data URI of an image that a client sent; None where it is none, or too large."""
    if image is None or len(image) > MAX_PICTURE_BYTES:
        return None
    try:
        with image_conversion.opened(image) as opened:
            width, height = opened.size
    except image_conversion.UnreadableImageError:
        return None
    return picture_of(image).uri if width * height <= MAX_PICTURE_PIXELS else None
