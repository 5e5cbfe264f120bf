"""Sends real images through a server that loaded the candidate, before anybody else does.

Preprocessing that differs between training and serving costs points of accuracy and raises no
error: only the same images through both show it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.errors import ServingError
from slimworks.components.examples import reading
from slimworks.components.examples.encoding import FeatureValue
from slimworks.components.replay import refusals
from slimworks.components.replay.bounds import Bound, bounds_of
from slimworks.components.replay.comparison import Expected, Mismatch
from slimworks.components.replay.config import ReplaySettings
from slimworks.components.replay.predictions import read_expected
from slimworks.components.replay.result import FORMAT, MAX_LISTED, SideResult
from slimworks.components.replay.servers import GRPC, own_server, running_server
from slimworks.components.replay.side import Image, Side
from slimworks.components.serving.config import ServingConfig

MAX_BATCH_SIZE = 8

StrPath = str | os.PathLike[str]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The live model and its offline predictions of the same images."""

    saved_model_dir: StrPath
    predictions_path: StrPath


@dataclasses.dataclass(frozen=True)
class ReplayResult:
    """What replay.json says.

    Attributes:
        server: Address of a server that ran already; None: a process of its own.
        tolerance: Largest difference of a probability allowed.
        candidate: Its figures.
        baseline: Those of the baseline; None: there is none, or none that could be asked.
        bounds: What they are held to.
        notes: What could not be measured, for people.
        unstable_filename: Image with the largest difference between two answers.
    """

    server: str | None
    tolerance: float
    candidate: SideResult
    baseline: SideResult | None
    bounds: tuple[Bound, ...]
    notes: tuple[str, ...]
    unstable_filename: str = ""

    @property
    def num_images(self) -> int:
        """Images sent, each of them alone and in a batch, by each protocol."""
        return max(result.num_images for result in self.candidate.protocols.values())

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """One for each image that differs; by the first protocol where several do."""
        found: dict[str, Mismatch] = {}
        for result in self.candidate.protocols.values():
            for mismatch in result.mismatches:
                found.setdefault(mismatch.filename, mismatch)
        return tuple(found.values())

    @property
    def num_top1_mismatches(self) -> int:
        """Images whose best class differs by more than a tie, by the protocol with the most."""
        return max(result.num_top1_mismatches for result in self.candidate.protocols.values())

    @property
    def max_probability_difference(self) -> float | None:
        """Largest one seen; None where one was not a number."""
        found = [r.max_probability_difference for r in self.candidate.protocols.values()]
        return None if None in found else max(value for value in found if value is not None)

    @property
    def failures(self) -> list[Bound]:
        """Bounds that are not met."""
        return [bound for bound in self.bounds if bound.verdict == contracts.FAIL]

    def to_json(self) -> dict[str, Any]:
        """Content of replay.json."""
        return {
            "format": FORMAT,
            "server": self.server,
            "num_images": self.num_images,
            "num_mismatches": len(self.mismatches),
            "max_probability_difference": self.max_probability_difference,
            "num_top1_mismatches": self.num_top1_mismatches,
            "tolerance": self.tolerance,
            "latency_ms": self.candidate.protocols[GRPC].latency_ms,
            **self.candidate.to_json(),
            "baseline": None if self.baseline is None else self.baseline.to_json(),
            "bounds": [bound.to_json() for bound in self.bounds],
            "mismatches": [mismatch.to_json() for mismatch in self.mismatches[:MAX_LISTED]],
            "notes": list(self.notes),
        }


def replay(
    saved_model_dir: StrPath,
    examples_dir: StrPath,
    split: str,
    predictions_path: StrPath,
    output_dir: StrPath,
    config: ReplaySettings | ServingConfig,
    baseline: Baseline | None = None,
) -> ReplayResult:
    """Compares served answers with the offline predictions of the same images.

    The first images of the split, in file order, go by gRPC and REST to a server process of the
    model's own, or to the one that the settings name: each alone, by gRPC twice, and in batches of
    2 to 8. The baseline gets the same requests in between, so that latencies compare. Writes
    replay.json, on a refusal as well.

    Args:
        saved_model_dir: The candidate.
        examples_dir: Examples artifact with the original bytes.
        split: Split that was evaluated.
        predictions_path: The evaluator's predictions of that split.
        output_dir: Receives replay.json.
        config: Number of images, bounds, timeout, server.
        baseline: The live model, where there is one. One that cannot be served is noted.

    Raises:
        ServingError: The server does not start, does not answer, or answers something else
            than the evaluation; a bound is not met; an image has no offline prediction; there is
            no image.
        DataError: The split has no shard, or a damaged one.
    """
    settings = ReplaySettings.of(config) if isinstance(config, ServingConfig) else config
    started = time.monotonic()
    names = {i.image_id: i.filename for i in _images(examples_dir, split, settings.num_images)}
    expected = _expected(names, examples_dir, split, predictions_path)
    target = settings.server or saved_model_dir
    _log.info("replaying %d images of split %s through %s", len(expected), split, target)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        is_own = settings.server is None
        served = stack.enter_context(
            own_server(saved_model_dir, output_dir, settings)
            if is_own
            else running_server(settings)
        )
        candidate = Side("candidate", served, expected, settings.tolerance)
        other = None
        if baseline is not None and is_own:
            other = _baseline_side(stack, baseline, output_dir, settings, names, notes)
        if not is_own:
            notes.append("the server is not ours: neither its memory nor a baseline is measured")
        other = _send(candidate, other, examples_dir, split, settings, notes)
        of_candidate = candidate.result()
        of_baseline = None if other is None else other.result()
    result = ReplayResult(
        settings.server, settings.tolerance, of_candidate, of_baseline,
        bounds_of(of_candidate, of_baseline, settings), tuple(notes), candidate.unstable_filename,
    )  # fmt: skip
    files.write_json(Path(output_dir) / contracts.REPLAY_FILE, result.to_json())
    largest = result.max_probability_difference
    _log.info(
        "replayed %d images in %.1f s, %d mismatches, largest difference %s: %s",
        result.num_images, time.monotonic() - started, len(result.mismatches),
        "unknown" if largest is None else f"{largest:.2g}", output_dir,
    )  # fmt: skip
    if result.failures:
        raise refusals.refusal(
            result.failures, result.mismatches, result.num_images, result.tolerance,
            result.unstable_filename,
        )  # fmt: skip
    return result


def _baseline_side(
    stack: contextlib.ExitStack,
    baseline: Baseline,
    output_dir: StrPath,
    settings: ReplaySettings,
    names: dict[str, str],
    notes: list[str],
) -> Side | None:
    """The baseline's server; None where it does not start: that is no fault of the candidate."""
    if not Path(baseline.predictions_path).is_file():
        notes.append("the baseline is not asked: it has no offline predictions")
        return None
    expected = read_expected(baseline.predictions_path, names)
    if len(expected) < len(names):
        notes.append("the baseline is not asked: it has no prediction of some images")
        return None
    try:
        served = stack.enter_context(own_server(baseline.saved_model_dir, output_dir, settings))
    except ServingError as error:
        notes.append(f"the baseline cannot be served: {error.cause}")
        return None
    return Side("baseline", served, expected, settings.tolerance)


def _send(
    candidate: Side,
    baseline: Side | None,
    examples_dir: StrPath,
    split: str,
    settings: ReplaySettings,
    notes: list[str],
) -> Side | None:
    """Sends all images to both; returns the baseline, or None where it does not answer."""
    sides = [candidate] if baseline is None else [candidate, baseline]

    def each(request: Callable[[Side], None]) -> None:
        request(candidate)
        for side in sides[1:]:
            try:
                request(side)
            except ServingError as error:  # no fault of the candidate
                notes.append(error.cause)
                sides.remove(side)

    first = list(_images(examples_dir, split, 1))
    each(lambda side: side.warm_up(first))
    for batch in _batches(_images(examples_dir, split, settings.num_images)):
        for image in batch:
            each(functools.partial(Side.send_alone, image=image))
        if len(batch) > 1:
            each(functools.partial(Side.send_together, batch=batch))
    return sides[1] if len(sides) > 1 else None


def _images(examples_dir: StrPath, split: str, num_images: int) -> Iterator[Image]:
    for example in itertools.islice(reading.iterate_examples(examples_dir, split), num_images):
        yield Image(
            image_id=_bytes_of(example, contracts.IMAGE_ID).decode(),
            filename=_bytes_of(example, contracts.IMAGE_FILENAME).decode("utf-8", "replace"),
            encoded=_bytes_of(example, contracts.IMAGE_ENCODED),
        )


def _bytes_of(example: dict[str, FeatureValue], key: str) -> bytes:
    value = example[key]
    assert isinstance(value, bytes), key  # by the contract of Examples
    return value


def _batches(images: Iterator[Image]) -> Iterator[list[Image]]:
    """Batches of 2, 3, ... 8, 2, ... images: a graph that mixes up a batch shows."""
    for size in itertools.cycle(range(2, MAX_BATCH_SIZE + 1)):
        batch = list(itertools.islice(images, size))
        if not batch:
            return
        yield batch


def _expected(
    names: dict[str, str], examples_dir: StrPath, split: str, predictions_path: StrPath
) -> dict[str, Expected]:
    """Offline predictions of the images to be sent, by image id. names: id -> file name."""
    if not names:
        raise ServingError(
            f"Split {split} of {examples_dir} holds no image: the candidate cannot be replayed.",
            "Give more photos, or a larger fraction of them to that split.",
        )
    expected = read_expected(predictions_path, names)
    for image_id, name in names.items():
        if image_id not in expected:
            raise ServingError(
                f"{name} of split {split} has no prediction in {predictions_path}.",
                "Evaluate the same examples again: slimworks run --no-cache=evaluator",
            )
    return expected
