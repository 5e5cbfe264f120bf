"""What a replay found, as replay.json has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from slimworks.components import contracts, formats
from slimworks.components.replay.tally import ProtocolResult

FORMAT = formats.NEWEST[contracts.REPLAY_FILE]
MAX_LISTED = 100  # replay.json is for people; the count is complete


@dataclasses.dataclass(frozen=True)
class SideResult:
    """What came of one model.

    Attributes:
        protocols: By protocol, "grpc" and "rest".
        max_repeat_difference: Largest difference of a probability between two answers to the same
            image; None where one was not a number.
        peak_memory_bytes: Of the server's process; None where it is not ours.
    """

    protocols: Mapping[str, ProtocolResult]
    max_repeat_difference: float | None
    peak_memory_bytes: int | None

    def to_json(self) -> dict[str, Any]:
        """Its part of replay.json."""
        return {
            "protocols": {name: result.to_json() for name, result in self.protocols.items()},
            "max_repeat_difference": self.max_repeat_difference,
            "peak_memory_bytes": self.peak_memory_bytes,
        }
