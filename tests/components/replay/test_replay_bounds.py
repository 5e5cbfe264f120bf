"""What figures are held to."""

from __future__ import annotations

from typing import Any

import pytest

from slimworks.components.replay.bounds import Bound, bounds_of
from slimworks.components.replay.comparison import repeat_difference
from slimworks.components.replay.config import ReplaySettings
from slimworks.components.replay.result import SideResult
from slimworks.components.replay.tally import ProtocolResult

SETTINGS = ReplaySettings(num_images=8, tolerance=1e-3, timeout_seconds=60.0)


def side(
    p50: float = 20.0, p99: float = 40.0, memory_mb: float | None = 500.0, **changes: Any
) -> SideResult:
    values = {
        "num_images": 8, "max_probability_difference": 1e-6, "num_top1_mismatches": 0,
        "latency_ms": {"p50": p50, "p99": p99}, "mismatches": (),
    }  # fmt: skip
    repeated = changes.pop("repeat", 0.0)
    result = ProtocolResult(**{**values, **changes})
    memory = None if memory_mb is None else int(memory_mb * 2**20)
    return SideResult({"grpc": result, "rest": result}, repeated, memory)


def verdicts(
    candidate: SideResult, baseline: SideResult | None = None, **settings: Any
) -> dict[str, str]:
    found = bounds_of(candidate, baseline, SETTINGS.model_copy(update=settings))
    return {bound.name: bound.verdict for bound in found}


def failed(*arguments: Any, **settings: Any) -> list[str]:
    return [name for name, verdict in verdicts(*arguments, **settings).items() if verdict == "fail"]


def named(name: str, *arguments: Any, **settings: Any) -> Bound:
    found = bounds_of(*arguments, SETTINGS.model_copy(update=settings))
    return next(bound for bound in found if bound.name == name)


def test_every_figure_has_a_bound() -> None:
    figures = ["top1_agreement", "max_probability_difference", "latency_p50_ms", "latency_p99_ms"]
    expected = [f"{protocol}/{figure}" for protocol in ("grpc", "rest") for figure in figures]
    assert list(verdicts(side())) == [*expected, "repeat_difference", "peak_memory_mb"]
    assert failed(side()) == []
    assert failed(side(), side()) == []


def test_wrong_answers_fail_by_both_protocols() -> None:
    wrong = side(num_top1_mismatches=1, max_probability_difference=0.3)
    assert failed(wrong) == [
        f"{protocol}/{figure}"
        for protocol in ("grpc", "rest")
        for figure in ("top1_agreement", "max_probability_difference")
    ]
    assert named("rest/top1_agreement", wrong, None).value == 7 / 8


@pytest.mark.parametrize("difference", [None, 0.00101])
def test_difference_that_is_no_number_or_too_large_fails(difference: float | None) -> None:
    assert "grpc/max_probability_difference" in failed(side(max_probability_difference=difference))


@pytest.mark.parametrize("repeat", [None, 2e-5])
def test_answer_that_changes_fails(repeat: float | None) -> None:
    assert failed(side(repeat=repeat)) == ["repeat_difference"]
    assert failed(side(repeat=1e-6)) == []


def test_latency_is_held_to_the_baselines() -> None:
    baseline = side(p50=100.0, p99=200.0)
    assert failed(side(p50=299.0, p99=599.0), baseline) == []
    assert failed(side(p50=301.0, p99=599.0), baseline) == [
        "grpc/latency_p50_ms", "rest/latency_p50_ms",
    ]  # fmt: skip
    assert failed(side(p50=299.0, p99=601.0, num_images=100), baseline) == [
        "grpc/latency_p99_ms", "rest/latency_p99_ms",
    ]  # fmt: skip
    assert failed(side(p50=301.0, p99=599.0), baseline, max_latency_ratio=4.0) == []


def test_the_slowest_of_few_requests_refuses_nobody() -> None:
    slow, baseline = side(p99=9_000.0, num_images=99), side(num_images=99)
    assert failed(slow, baseline) == []
    bound = named("rest/latency_p99_ms", slow, baseline)
    assert (bound.limit, bound.baseline) == (None, 40.0)
    assert bound.reason == "not compared: the slowest of 99 requests"
    assert len(failed(slow, baseline, max_latency_ms=8_000.0)) == 2


def test_small_latencies_are_noise() -> None:
    assert failed(side(p50=200.0, p99=249.0), side(p50=1.0, p99=2.0)) == []
    bound = named("grpc/latency_p50_ms", side(p50=200.0), side(p50=1.0))
    assert (bound.limit, bound.baseline) == (250.0, 1.0)
    assert bound.reason == "up to 250 ms nothing is refused"


def test_largest_latency_counts_without_a_baseline() -> None:
    assert failed(side(p50=9.0, p99=31.0), max_latency_ms=30.0) == [
        "grpc/latency_p99_ms", "rest/latency_p99_ms",
    ]  # fmt: skip
    assert named("grpc/latency_p99_ms", side(), None, max_latency_ms=30.0).reason == (
        "serving.replay_max_latency_ms"
    )
    assert failed(side(p99=10_000.0)) == []
    assert named("grpc/latency_p99_ms", side(), None).reason == "no baseline to compare with"


def test_memory_is_held_to_the_baselines() -> None:
    assert failed(side(memory_mb=1_000), side(memory_mb=100)) == [], "below the floor"
    assert failed(side(memory_mb=2_100), side(memory_mb=1_000)) == ["peak_memory_mb"]
    assert failed(side(memory_mb=1_900), side(memory_mb=1_000)) == []
    assert failed(side(memory_mb=600), max_memory_mb=512.0) == ["peak_memory_mb"]


def test_unknown_memory_fails_only_where_a_limit_is_set() -> None:
    assert failed(side(memory_mb=None), side(memory_mb=100)) == []
    assert failed(side(memory_mb=None), max_memory_mb=512.0) == ["peak_memory_mb"]
    assert named("peak_memory_mb", side(memory_mb=None), None).reason == (
        "the server's memory is not known here"
    )


@pytest.mark.parametrize(
    ("second", "difference"),
    [
        (((2, 1), (0.7, 0.2)), 0.0),
        (((1, 2), (0.2, 0.7)), 0.0),
        (((2, 1), (0.6, 0.3)), 0.1),
        (((2, 0), (0.7, 0.1)), 0.2),  # the lacking class counts as nothing
    ],
)
def test_difference_of_two_answers(second: Any, difference: float) -> None:
    assert repeat_difference(((2, 1), (0.7, 0.2)), second) == pytest.approx(difference)


def test_answer_without_numbers_differs_from_itself() -> None:
    answer = ((0,), (float("nan"),))
    assert repeat_difference(answer, answer) != repeat_difference(answer, answer), "NaN"
