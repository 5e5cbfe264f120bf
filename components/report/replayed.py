"""What real images came to that went through a server with the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from slimworks.components.report import wording
from slimworks.components.report.verdict import NEUTRAL, TONES

_PROTOCOLS = {"grpc": "gRPC", "rest": "REST"}


@dataclasses.dataclass(frozen=True)
class ReplayRow:
    """One bound of the replay; figures are texts, empty where there is none."""

    title: str
    tone: str
    verdict: str
    value: str
    baseline: str
    limit: str
    reason: str


@dataclasses.dataclass(frozen=True)
class ReplayView:
    """Plain figures, and the bounds; replays before format 2 have no bounds."""

    facts: Sequence[tuple[str, str]]
    rows: Sequence[ReplayRow]

    @property
    def has_baseline(self) -> bool:
        """The baseline was served beside it."""
        return any(row.baseline for row in self.rows)


def replay_view(replay: Mapping[str, Any] | None) -> ReplayView | None:
    """View of replay.json; None without it. What is nested is left to the file itself."""
    if replay is None:
        return None
    facts = [
        (wording.words(key.removesuffix("_bytes")), _plain(key, value))
        for key, value in replay.items()
        if isinstance(value, (str, int, float)) and key != "format"
    ]
    return ReplayView(facts, [_row(bound) for bound in replay.get("bounds") or ()])


def _row(bound: Mapping[str, Any]) -> ReplayRow:
    first, _, rest = bound["name"].partition("/")
    title = f"{wording.words(rest)} ({_PROTOCOLS.get(first, first)})" if rest else first
    return ReplayRow(
        title=title if rest else wording.words(first),
        tone=TONES.get(bound["verdict"], NEUTRAL),
        verdict=bound["verdict"],
        value=_figure(bound.get("value")),
        baseline=_figure(bound.get("baseline")),
        limit=_figure(bound.get("limit")),
        reason=bound.get("reason") or "",
    )


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _plain(key: str, value: str | int | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_bytes") and not isinstance(value, str):
        return wording.size(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
