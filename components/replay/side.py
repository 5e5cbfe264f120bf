"""One model in a replay: its server, what it should answer, and what it answers."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from slimworks.components.errors import DataError, ServingError
from slimworks.components.replay import comparison
from slimworks.components.replay.comparison import Expected
from slimworks.components.replay.result import SideResult
from slimworks.components.replay.servers import GRPC, Asking, Served
from slimworks.components.replay.tally import Tally

if TYPE_CHECKING:
    from slimworks.components.serving.answers import Prediction


@dataclasses.dataclass(frozen=True)
class Image:
    """One test image as it is sent."""

    image_id: str
    filename: str
    encoded: bytes


class Side:
    """Sends images and counts what comes back.

    Args:
        name: "candidate" or "baseline", for messages.
        served: The model's server.
        expected: Offline predictions by image id.
        tolerance: Largest difference of a probability that is no mismatch.
    """

    def __init__(
        self, name: str, served: Served, expected: Mapping[str, Expected], tolerance: float
    ) -> None:
        self._name = name
        self._served = served
        self._tallies = {
            protocol: Tally(expected, tolerance, protocol) for protocol in served.clients
        }
        self._largest_repeat = 0.0
        self.unstable_filename = ""  # of the image with the largest difference

    def warm_up(self, images: Sequence[Image]) -> None:
        """Asks without counting: the first request of all traces kernels, and no user waits."""
        for client in self._served.clients.values():
            self._ask(client, images)

    def send_alone(self, image: Image) -> None:
        """Sends one image by each protocol, and by the first one again."""
        for protocol, client in self._served.clients.items():
            tally = self._tallies[protocol]
            started = time.perf_counter()
            (answer,) = self._ask(client, [image])
            tally.add_seconds(time.perf_counter() - started)
            tally.compare(image.image_id, image.filename, answer, 1)
            if protocol == GRPC:
                (again,) = self._ask(client, [image])
                self._count_repeat(image, answer, again)

    def send_together(self, batch: Sequence[Image]) -> None:
        """Sends several images in one request by each protocol."""
        for protocol, client in self._served.clients.items():
            answers = self._ask(client, batch)
            for image, answer in zip(batch, answers, strict=True):
                tally = self._tallies[protocol]
                tally.compare(image.image_id, image.filename, answer, len(batch))

    def result(self) -> SideResult:
        """What was seen; at least one image must have been sent alone."""
        return SideResult(
            protocols={protocol: tally.result() for protocol, tally in self._tallies.items()},
            max_repeat_difference=comparison.finite_or_none(self._largest_repeat),
            peak_memory_bytes=self._served.peak_memory_bytes,
        )

    def _count_repeat(self, image: Image, first: Prediction, second: Prediction) -> None:
        difference = comparison.repeat_difference(
            (first.class_indices, first.probabilities), (second.class_indices, second.probabilities)
        )
        if math.isnan(difference) or difference > self._largest_repeat:
            self._largest_repeat = difference  # once NaN, it stays NaN
            self.unstable_filename = image.filename

    def _ask(self, client: Asking, images: Sequence[Image]) -> list[Prediction]:
        try:
            return client.predict_bytes([image.encoded for image in images])
        except (DataError, ServingError) as error:
            names = ", ".join(image.filename for image in images)
            raise ServingError(
                f"The {self._name}'s server did not answer for {names}: {error.cause}", error.fix
            ) from error
