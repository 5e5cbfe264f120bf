"""What logged requests hold: the facts that ingest states of images, and the model's answers."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from slimworks.components import contracts
from slimworks.components.arrow import pa
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.images import CheckedImage, Rejection, check_image
from slimworks.components.serving.logged import Answer, LogReader, answers_of, images_of
from slimworks.components.statistics.drift import Statistics
from slimworks.components.statistics.statistics import statistics_of

MAX_IMAGE_BYTES = 64 << 20

_TYPES = {
    contracts.IMAGE_ORIGINAL_FORMAT: pa.binary(),
    contracts.IMAGE_COLORSPACE: pa.binary(),
    contracts.IMAGE_CHANNELS: pa.int64(),
    contracts.IMAGE_HEIGHT: pa.int64(),
    contracts.IMAGE_WIDTH: pa.int64(),
    contracts.IMAGE_BRIGHTNESS: pa.float32(),
    contracts.IMAGE_SHARPNESS: pa.float32(),
}


@dataclasses.dataclass(frozen=True)
class LiveRequests:
    """The newest requests of a log.

    Attributes:
        num_requests: Requests read.
        num_damaged: Records that could not be read.
        images: Facts of the images that can be decoded, one row an image.
        rejected: Number of images that ingest would set aside, by reason.
        answers: To every image, those of rejected ones included.
        versions: Number of requests by the model version that answered.
    """

    num_requests: int
    num_damaged: int
    images: Sequence[CheckedImage]
    rejected: Mapping[str, int]
    answers: Sequence[Answer]
    versions: Mapping[int, int]

    def statistics(self) -> Statistics:
        """TFDV's statistics of the images."""
        columns: dict[str, list[Any]] = {
            contracts.IMAGE_ORIGINAL_FORMAT: [i.original_format.encode() for i in self.images],
            contracts.IMAGE_COLORSPACE: [i.colorspace.encode() for i in self.images],
            contracts.IMAGE_CHANNELS: [i.channels for i in self.images],
            contracts.IMAGE_HEIGHT: [i.height for i in self.images],
            contracts.IMAGE_WIDTH: [i.width for i in self.images],
            contracts.IMAGE_BRIGHTNESS: [i.brightness for i in self.images],
            contracts.IMAGE_SHARPNESS: [i.sharpness for i in self.images],
        }
        arrays = [
            pa.array([[value] for value in values], pa.list_(_TYPES[name]))
            for name, values in columns.items()
        ]
        return statistics_of(pa.RecordBatch.from_arrays(arrays, list(columns)))


def read_requests(log: str | os.PathLike[str], max_requests: int) -> LiveRequests:
    """Reads the newest requests; an image is looked at alone, whoever sent it.

    Args:
        log: Prefix, folder or file.
        max_requests: Older ones are left out.

    Raises:
        DataError: There is no log.
    """
    reader, limits = LogReader(log, max_requests), DataConfig()
    images: list[CheckedImage] = []
    answers: list[Answer] = []
    rejected: collections.Counter[str] = collections.Counter()
    versions: collections.Counter[int] = collections.Counter()
    num_requests = 0
    for entry in reader:
        num_requests += 1
        versions[entry.log_metadata.model_spec.version.value] += 1
        answers += answers_of(entry)
        for image in images_of(entry):
            found = _checked(image, limits)
            if isinstance(found, Rejection):
                rejected[found.reason] += 1
            else:
                images.append(found)
    return LiveRequests(num_requests, reader.num_damaged, images, rejected, answers, versions)


def _checked(image: bytes | None, limits: DataConfig) -> CheckedImage | Rejection:
    if image is None:
        return Rejection("not_an_image", "the request holds something else")
    if len(image) > MAX_IMAGE_BYTES:
        return Rejection("too_many_bytes", f"{len(image)} bytes")
    found = check_image(image, limits)
    # What near-duplicates are found by is not needed, and would be kept for every image.
    if isinstance(found, CheckedImage):
        return dataclasses.replace(found, fingerprint=b"", signature=b"", converted=None)
    return found
