"""What the figures of a replay may be; each bound says why it is met or not."""

from __future__ import annotations

import dataclasses
from typing import Any

from slimworks.components.contracts import FAIL, PASS
from slimworks.components.replay.config import ReplaySettings
from slimworks.components.replay.result import SideResult
from slimworks.components.replay.tally import ProtocolResult

# The same graph on the same bytes gives the same floats, up to sums in another order.
REPEAT_TOLERANCE = 1e-5
# Below these a ratio is the machine's noise, or nobody's concern.
LATENCY_FLOOR_MS = 250.0
MEMORY_FLOOR_MB = 1_024.0
LEAST_IMAGES_FOR_P99 = 100  # of fewer it is the slowest request: chance, on a busy machine
_BYTES_PER_MB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Bound:
    """One figure and what it may be.

    Attributes:
        name: Such as "grpc/latency_p99_ms".
        value: The candidate's; None: not a number, or not known.
        baseline: The baseline's, where there is one.
        limit: What the value may be; None: anything.
        verdict: contracts.PASS or FAIL.
        reason: A sentence for people.
    """

    name: str
    value: float | None
    baseline: float | None
    limit: float | None
    verdict: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Its entry of replay.json."""
        return dataclasses.asdict(self)


def bounds_of(
    candidate: SideResult, baseline: SideResult | None, settings: ReplaySettings
) -> tuple[Bound, ...]:
    """All bounds of a replay.

    Args:
        candidate: What came of it.
        baseline: The same of the baseline, served side by side; None: there is none.
        settings: The limits.
    """
    found: list[Bound] = []
    for protocol, result in candidate.protocols.items():
        other = None if baseline is None else baseline.protocols[protocol]
        found += _answer_bounds(protocol, result, other, settings)
        found += _latency_bounds(protocol, result, other, settings)
    repeated = candidate.max_repeat_difference
    repeat = _bound(
        "repeat_difference",
        repeated,
        None if baseline is None else baseline.max_repeat_difference,
        REPEAT_TOLERANCE,
        is_met=repeated is not None and repeated <= REPEAT_TOLERANCE,
        reason="the same image asked twice",
    )
    return (*found, repeat, _memory_bound(candidate, baseline, settings))


def _answer_bounds(
    protocol: str, result: ProtocolResult, other: ProtocolResult | None, settings: ReplaySettings
) -> list[Bound]:
    agreement, difference = result.top1_agreement, result.max_probability_difference
    return [
        _bound(
            f"{protocol}/top1_agreement",
            agreement,
            None if other is None else other.top1_agreement,
            1.0,
            is_met=agreement == 1.0,
            reason="images with the best class of the evaluation",
        ),
        _bound(
            f"{protocol}/max_probability_difference",
            difference,
            None if other is None else other.max_probability_difference,
            settings.tolerance,
            is_met=difference is not None and difference <= settings.tolerance,
            reason="serving.replay_tolerance",
        ),
    ]


def _latency_bounds(
    protocol: str, result: ProtocolResult, other: ProtocolResult | None, settings: ReplaySettings
) -> list[Bound]:
    found = []
    for rank, value in result.latency_ms.items():
        baseline = None if other is None else other.latency_ms[rank]
        absolute = settings.max_latency_ms if rank == "p99" else None
        ratio = settings.max_latency_ratio
        is_chance = rank == "p99" and result.num_images < LEAST_IMAGES_FOR_P99
        compared = None if is_chance else baseline
        limit, reason = _limit(compared, ratio, LATENCY_FLOOR_MS, "ms", absolute, "latency")
        if is_chance and baseline is not None and limit is None:
            reason = f"not compared: the slowest of {result.num_images} requests"
        is_met = limit is None or value <= limit
        name = f"{protocol}/latency_{rank}_ms"
        found.append(_bound(name, value, baseline, limit, is_met=is_met, reason=reason))
    return found


def _memory_bound(
    candidate: SideResult, baseline: SideResult | None, settings: ReplaySettings
) -> Bound:
    value = _megabytes(candidate.peak_memory_bytes)
    of_baseline = None if baseline is None else _megabytes(baseline.peak_memory_bytes)
    limit, reason = _limit(
        of_baseline, settings.max_memory_ratio, MEMORY_FLOOR_MB, "MB", settings.max_memory_mb,
        "memory",
    )  # fmt: skip
    if value is None:
        # A limit that somebody set is not met by not looking.
        is_met, reason = settings.max_memory_mb is None, "the server's memory is not known here"
    else:
        is_met = limit is None or value <= limit
    return _bound("peak_memory_mb", value, of_baseline, limit, is_met=is_met, reason=reason)


def _limit(
    baseline: float | None,
    ratio: float,
    floor: float,
    unit: str,
    absolute: float | None,
    name: str,
) -> tuple[float | None, str]:
    """The smaller one of what the baseline and a setting allow, and where it comes from."""
    relative = None if baseline is None else max(ratio * baseline, floor)
    if absolute is not None and (relative is None or absolute <= relative):
        return absolute, f"serving.replay_max_{name}_{unit.lower()}"
    if relative is None:
        return None, "no baseline to compare with"
    if relative == floor:
        return relative, f"up to {floor:g} {unit} nothing is refused"
    return relative, f"serving.replay_max_{name}_ratio {ratio:g} times the baseline's"


def _bound(
    name: str,
    value: float | None,
    baseline: float | None,
    limit: float | None,
    *,
    is_met: bool,
    reason: str,
) -> Bound:
    return Bound(name, value, baseline, limit, PASS if is_met else FAIL, reason)


def _megabytes(num_bytes: int | None) -> float | None:
    return None if num_bytes is None else round(num_bytes / _BYTES_PER_MB, 1)
