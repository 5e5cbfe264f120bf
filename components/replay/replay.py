"""Sends real images through a server that loaded the candidate, before anybody else does.

Preprocessing that differs between training and serving costs points of accuracy and raises no
error: only the same images through both show it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slimworks.components import contracts, files
from slimworks.components.errors import DataError, ServingError
from slimworks.components.examples import reading
from slimworks.components.examples.encoding import FeatureValue
from slimworks.components.replay.comparison import Expected
from slimworks.components.replay.config import ReplaySettings
from slimworks.components.replay.predictions import read_expected
from slimworks.components.replay.tally import ReplayResult, Tally
from slimworks.components.serving.config import ServingConfig

if TYPE_CHECKING:
    from slimworks.components.serving.answers import Prediction
    from slimworks.components.serving.client import Client

MAX_BATCH_SIZE = 8
MODEL_NAME = "candidate"
_MAX_SHOWN = 3

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Image:
    """One test image as it is sent."""

    image_id: str
    filename: str
    encoded: bytes


def replay(
    saved_model_dir: str | os.PathLike[str],
    examples_dir: str | os.PathLike[str],
    split: str,
    predictions_path: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    config: ReplaySettings | ServingConfig,
) -> ReplayResult:
    """Compares served answers with the offline predictions of the same images.

    The first images of the split, in file order, go over gRPC to a server process of their own,
    each alone and in batches of 2 to 8. Writes replay.json, on a mismatch as well.

    Args:
        saved_model_dir: The candidate.
        examples_dir: Examples artifact with the original bytes.
        split: Split that was evaluated.
        predictions_path: The evaluator's predictions of that split.
        output_dir: Receives replay.json.
        config: Number of images, tolerance, timeout.

    Raises:
        ServingError: The server does not start, does not answer, or answers something else
            than the evaluation; an image has no offline prediction; there is no image.
        DataError: The split has no shard, or a damaged one.
    """
    settings = ReplaySettings.of(config) if isinstance(config, ServingConfig) else config
    started = time.monotonic()
    expected = _expected(examples_dir, split, predictions_path, settings.num_images)
    _log.info("replaying %d images of split %s through %s", len(expected), split, saved_model_dir)
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    tally = Tally(expected, settings.tolerance)
    with _serving(saved_model_dir, output_dir, settings.timeout_seconds) as client:
        # The first request of all traces kernels: users do not wait for it, the warm-up does.
        _ask(client, list(_images(examples_dir, split, 1)))
        for batch in _batches(_images(examples_dir, split, settings.num_images)):
            _send(client, batch, tally)
    result = tally.result()
    files.write_json(Path(output_dir) / contracts.REPLAY_FILE, result.to_json())
    largest = result.max_probability_difference
    _log.info(
        "replayed %d images in %.1f s, %d mismatches, largest difference %s: %s",
        result.num_images, time.monotonic() - started, len(result.mismatches),
        "unknown" if largest is None else f"{largest:.2g}", output_dir,
    )  # fmt: skip
    if result.mismatches:
        raise _refusal(result)
    return result


def _send(client: Client, batch: Sequence[Image], tally: Tally) -> None:
    """Sends each image alone, then all of them together."""
    for image in batch:
        started = time.perf_counter()
        answers = _ask(client, [image])
        tally.add_seconds(time.perf_counter() - started)
        tally.compare(image.image_id, image.filename, answers[0], 1)
    if len(batch) > 1:
        for image, answer in zip(batch, _ask(client, batch), strict=True):
            tally.compare(image.image_id, image.filename, answer, len(batch))


def _images(examples_dir: str | os.PathLike[str], split: str, num_images: int) -> Iterator[Image]:
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
    examples_dir: str | os.PathLike[str],
    split: str,
    predictions_path: str | os.PathLike[str],
    num_images: int,
) -> dict[str, Expected]:
    """Offline predictions of the images to be sent, by image id."""
    names = {image.image_id: image.filename for image in _images(examples_dir, split, num_images)}
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


@contextlib.contextmanager
def _serving(
    saved_model_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    timeout_seconds: float,
) -> Iterator[Client]:
    """A client of a server process that loaded the candidate as version 1."""
    from slimworks.components.serving.client import Client
    from slimworks.components.serving.process import ServerProcess

    # On the artifact's own volume, so that links do instead of copies.
    with tempfile.TemporaryDirectory(prefix=".serving-", dir=output_dir) as base_path:
        shutil.copytree(saved_model_dir, Path(base_path) / "1", copy_function=_link)
        with (
            ServerProcess(base_path, MODEL_NAME, start_timeout_seconds=timeout_seconds) as server,
            Client(server.address, MODEL_NAME, timeout_seconds=timeout_seconds) as client,
        ):
            yield client


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another volume, or one without hard links
        shutil.copyfile(source, target)


def _ask(client: Client, images: Sequence[Image]) -> list[Prediction]:
    try:
        return client.predict_bytes([image.encoded for image in images])
    except (DataError, ServingError) as error:
        names = ", ".join(image.filename for image in images)
        raise ServingError(
            f"The candidate's server did not answer for {names}: {error.cause}", error.fix
        ) from error


def _refusal(result: ReplayResult) -> ServingError:
    shown = [m.sentence(result.tolerance) for m in result.mismatches[:_MAX_SHOWN]]
    return ServingError(
        f"{len(result.mismatches)} of {result.num_images} replayed images are served otherwise "
        f"than evaluated; nothing is pushed. {'; '.join(shown)}.",
        "Export the model again with this version of SlimWorks (slimworks run "
        "--no-cache=trainer), or raise serving.replay_tolerance "
        f"(now {result.tolerance:g}) if such differences do no harm.",
    )
