"""What drift decides: whether the run stops, trains, or has nothing to do."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.statistics import spans as groups
from slimworks.components.statistics.config import DriftConfig
from slimworks.components.statistics.drift import MIN_IMAGES, Comparison, compare
from slimworks.components.statistics.spans import Spans
from slimworks.components.statistics.statistics import read_span_statistics

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Drift:
    """What is new in the data and what follows from it.

    Attributes:
        spans: What was compared.
        latest: The newest span against the one before it.
        untrained: All images since the last span that was trained on, against all up to it; None
            where no model was judged yet.
        retrain: False where a trigger is set and none is reached.
        reasons: Why, in sentences.
    """

    spans: Spans
    latest: Comparison
    untrained: Comparison | None
    retrain: bool
    reasons: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """What drift.json holds."""
        since = self.untrained and {
            "trained_span": self.spans.trained_span,
            **self.untrained.to_json(),
        }
        return {
            "span": self.spans.span,
            "previous_span": self.spans.previous_span,
            **self.latest.to_json(),
            "since_trained": since,
            "retrain": self.retrain,
            "reasons": list(self.reasons),
        }


def judge(
    spans: Spans, latest: Comparison, untrained: Comparison | None, config: DriftConfig
) -> Drift:
    """Decides whether to train: always, unless a trigger is set and none is reached."""
    found = _trigger(spans, latest, untrained, config)
    if not config.has_triggers:
        reasons = [describe(spans, latest)]
    elif untrained is None:
        reasons = ["No model was trained and judged yet: no trigger is needed."]
    else:
        reasons = found or [_nothing_to_do(spans, latest, untrained, config), _advice(config)]
    retrain = bool(found) or not config.has_triggers or untrained is None
    return Drift(spans, latest, untrained, retrain, reasons)


def _trigger(
    spans: Spans, latest: Comparison, untrained: Comparison | None, config: DriftConfig
) -> list[str]:
    """The triggers that are reached, in words."""
    if untrained is None or untrained.num_images == 0:
        return []  # nothing is new, whatever the newest span was like
    found = []
    wanted = config.retrain_min_new_images
    if wanted is not None and untrained.num_images >= wanted:
        found.append(
            f"{untrained.num_images} new images since span {spans.trained_span} reach "
            f"data.retrain_min_new_images ({wanted})."
        )
    drifted = _merged(latest, untrained, config.retrain_min_drift)
    if drifted:
        found.append(
            f"Drift of {_listed(drifted)} reaches data.retrain_min_drift "
            f"({config.retrain_min_drift:g})."
        )
    return found


def _merged(
    latest: Comparison, untrained: Comparison | None, threshold: float | None
) -> dict[str, float]:
    """Features over a threshold, in the newest span or in all that is new together.

    Both, because drift that was seen and not trained on would otherwise be the measure of the
    next span, and pass.
    """
    over = latest.above(threshold)
    for feature, distance in (untrained.above(threshold) if untrained else {}).items():
        over[feature] = max(distance, over.get(feature, 0.0))
    return dict(sorted(over.items(), key=lambda item: -item[1]))


def _listed(distances: Mapping[str, float], most: int = 3) -> str:
    shown = [f"{feature} {distance:.2f}" for feature, distance in list(distances.items())[:most]]
    more = len(distances) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def describe(spans: Spans, latest: Comparison) -> str:
    """One sentence on the newest span."""
    if spans.previous_span is None:
        return f"Span {spans.span} is the first: there is nothing to compare it with."
    start = f"Span {spans.span}: {_images(latest.num_images)}, "
    return start + _largest(latest, f"against span {spans.previous_span}") + "."


def _images(number: int) -> str:
    return f"{number} new image" + "s" * (number != 1)


def _largest(comparison: Comparison, against: str = "") -> str:
    if not comparison.is_enough_data or comparison.largest is None:
        fewer = min(comparison.num_images, comparison.num_previous_images)
        return f"too few to speak of drift: {fewer} of at least {MIN_IMAGES}"
    feature, distance = comparison.largest
    return f"largest drift {distance:.2f} of {feature}{against and f' {against}'}"


def _weight(comparison: Comparison) -> tuple[bool, float]:
    return comparison.is_enough_data, comparison.largest[1] if comparison.largest else 0.0


def _nothing_to_do(
    spans: Spans, latest: Comparison, untrained: Comparison, config: DriftConfig
) -> str:
    since = f"since span {spans.trained_span}, the last that was trained on"
    if not untrained.num_images:
        return f"Nothing to do: no new image {since}."
    parts = [f"{_images(untrained.num_images)} {since}"]
    if config.retrain_min_new_images is not None:
        parts[0] += f" (data.retrain_min_new_images is {config.retrain_min_new_images})"
    if config.retrain_min_drift is not None:
        judged = max((latest, untrained), key=_weight)
        parts.append(f"{_largest(judged)} (data.retrain_min_drift is {config.retrain_min_drift:g})")
    return f"Nothing to do: {'; '.join(parts)}."


def _advice(config: DriftConfig) -> str:
    names = ("retrain_min_drift", "retrain_min_new_images")
    unset = [f"--set data.{name}=null" for name in names if getattr(config, name) is not None]
    return f"To train all the same: {' '.join(unset)}"


def require_little_drift(drift: Drift, config: DriftConfig) -> None:
    """Stops the run where new images are too far from those before.

    Raises:
        DataError: A distance exceeds `stop_above_drift`.
    """
    limit = config.stop_above_drift
    over = _merged(drift.latest, drift.untrained, limit)
    over = {feature: distance for feature, distance in over.items() if distance > (limit or 0)}
    if over:
        raise DataError(
            f"Span {drift.spans.span} drifted: {_listed(over)} (data.stop_above_drift is "
            f"{limit:g}; 0 is equal, 1 is nothing in common).",
            "Look at the new images; take away what does not belong, or accept them, until there "
            "is a newer span: --set data.stop_above_drift=null",
        )


def write_drift(
    statistics_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    config: DriftConfig,
) -> Drift:
    """Compares the spans of a statistics artifact and writes drift.json.

    Raises:
        DataError: The newest span drifted by more than `stop_above_drift`; drift.json is written.
    """
    spans = Spans.read(statistics_dir)
    read = {
        group: read_span_statistics(statistics_dir, group)
        for group in (groups.LATEST, groups.PREVIOUS, groups.UNTRAINED, groups.TRAINED)
    }
    latest = compare(read[groups.LATEST], read[groups.PREVIOUS])
    untrained = None
    if spans.trained_span is not None:
        untrained = compare(read[groups.UNTRAINED], read[groups.TRAINED])
    drift = judge(spans, latest, untrained, config)
    path = Path(output_dir) / contracts.DRIFT_FILE
    files.write_json(path, drift.to_json())
    _LOGGER.info("drift: %s %s", describe(spans, latest), path)
    require_little_drift(drift, config)
    return drift
