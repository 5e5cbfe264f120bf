"""What a shadow found, as one HTML page that loads nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from slimworks.components.report import wording
from slimworks.components.report.rendering import render
from slimworks.components.serving.logged import Answer
from slimworks.components.shadow.tally import CANDIDATE, PRIMARY, ShadowResult


@dataclasses.dataclass(frozen=True)
class Tile:
    """One key figure."""

    label: str
    value: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Shown:
    """One image that the two answer differently."""

    picture: str | None
    primary: str
    primary_probability: float
    candidate: str
    candidate_probability: float


def shadow_page(result: ShadowResult, facts: Mapping[str, Any]) -> str:
    """The page as text.

    Args:
        result: The figures.
        facts: "primary" and "candidate" as `Side.to_json` describes them, "log" or "listen",
            "seconds".
    """
    return render(
        "shadow.html.j2",
        {
            "title": "Shadow report",
            "result": result,
            "tiles": _tiles(result),
            "sides": [(side, _described(facts.get(side))) for side in (PRIMARY, CANDIDATE)],
            "source": facts.get("log") or facts.get("listen") or "",
            "latencies": [_latency(side, result) for side in (PRIMARY, CANDIDATE)],
            "shown": [
                Shown(found.picture, *_best(found.primary), *_best(found.candidate))
                for found in result.disagreements
            ],
            "seconds": facts["seconds"],
        },
    )


def _best(answer: Answer) -> tuple[str, float]:
    return answer.class_names[0], answer.probabilities[0]


def _tiles(result: ShadowResult) -> Sequence[Tile]:
    num_failed = sum(result.errors[CANDIDATE].values())
    same = f"{result.num_agreeing:,} of {result.num_images:,} images"
    difference = result.differences.get("p99")
    return (
        Tile("Same best class", wording.percent(result.agreement), same),
        Tile("Probabilities differ by", wording.decimal(difference), "at most, in 99% of images"),
        Tile("Latency p99", _ratio(result.latency_ratio), "candidate over primary"),
        Tile("Failed requests", wording.count(num_failed), f"of {result.num_requests:,}"),
    )


def _ratio(ratio: float | None) -> str:
    return wording.NOTHING if ratio is None else f"{ratio:.2f}×"


def _latency(side: str, result: ShadowResult) -> tuple[str, str, str, str]:
    """Side, p50, p99 in milliseconds, and failures by status."""
    figures = result.latency_ms[side]
    failures = ", ".join(f"{count} {code}" for code, count in result.errors[side].items())
    return (
        wording.words(side), wording.figure(figures.get("p50")), wording.figure(figures.get("p99")),
        failures or "none",
    )  # fmt: skip


def _described(side: Mapping[str, Any] | None) -> str:
    if side is None:
        return "the answers in the log"
    place = side["address"] or f"SavedModel {side['digest'][:12]}"
    if "version" in side:
        return f"{place}, version {side['version']}"
    return f"{place}, label {side['label']}" if "label" in side else place
