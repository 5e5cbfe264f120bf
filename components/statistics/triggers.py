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
from slimworks.components.statistics import learning_curve
from slimworks.components.statistics import spans as groups
from slimworks.components.statistics.config import DriftConfig, RetrainConfig
from slimworks.components.statistics.drift import MIN_IMAGES, Comparison, compare
from slimworks.components.statistics.learning_curve import Point
from slimworks.components.statistics.live_drift import NO_LOG, LiveDrift
from slimworks.components.statistics.live_drift import sentence as live_sentence
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
        live: Logged requests against the training images; None where no log is configured.
    """

    spans: Spans
    latest: Comparison
    untrained: Comparison | None
    retrain: bool
    reasons: Sequence[str]
    live: LiveDrift | None = None

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
            "live": self.live and self.live.to_json(),
            "retrain": self.retrain,
            "reasons": list(self.reasons),
        }


@dataclasses.dataclass(frozen=True)
class Past:
    """What earlier runs say about training again.

    Attributes:
        is_due: The last model was judged `max_days` ago.
        is_too_soon: It was judged less than `min_days` ago.
        points: Earlier models, oldest first.
        num_train_images: Of the present data.
    """

    is_due: bool = False
    is_too_soon: bool = False
    points: Sequence[Point] = ()
    num_train_images: int = 0


_NO_PAST = Past()


def judge(
    spans: Spans,
    latest: Comparison,
    untrained: Comparison | None,
    config: DriftConfig,
    past: Past = _NO_PAST,
    live: LiveDrift | None = None,
) -> Drift:
    """Decides whether to train: always, unless `retrain` has triggers that are not reached."""
    retrain, reasons = _decided(spans, latest, untrained, config, past, live)
    return Drift(spans, latest, untrained, retrain, reasons, live)


def _decided(
    spans: Spans,
    latest: Comparison,
    untrained: Comparison | None,
    config: DriftConfig,
    past: Past,
    live: LiveDrift | None,
) -> tuple[bool, list[str]]:
    """Whether to train, and why."""
    if not config.has_triggers:
        return True, [describe(spans, latest)]
    if untrained is None:
        return True, ["No model was trained and judged yet: no trigger is needed."]
    since = f"since span {spans.trained_span}, the last that was trained on"
    if untrained.num_images == 0:
        warning = _live_warning(live, config.retrain.min_live_drift)
        return False, [f"Nothing to do: no new image {since}.", *warning, _ADVICE]
    triggers = _triggers(spans, latest, untrained, config.retrain, past, live)
    if past.is_too_soon:
        reason = f"the last model is not {config.retrain.min_days:g} days old (retrain.min_days)"
        triggers = [Trigger(False, reason)]
    wanted = all if config.retrain.when == "all" else any
    # `retrain.min_days` alone: it is old enough, and nothing else was asked for.
    retrain = wanted(trigger.is_reached for trigger in triggers) if triggers else True
    if retrain:
        reasons = [f"{_sentence(trigger.text)}." for trigger in triggers if trigger.is_reached]
        return True, reasons or [describe(spans, latest)]
    missing = "; ".join(trigger.text for trigger in triggers if not trigger.is_reached)
    known = "" if config.retrain.min_new_images else f"{_images(untrained.num_images)} {since}; "
    return False, [f"Nothing to do: {known}{missing}.", _ADVICE]


_ADVICE = "To train all the same: --set retrain.when=always"


@dataclasses.dataclass(frozen=True)
class Trigger:
    """One reason to train, and whether it holds."""

    is_reached: bool
    text: str


def _triggers(
    spans: Spans,
    latest: Comparison,
    untrained: Comparison,
    config: RetrainConfig,
    past: Past,
    live: LiveDrift | None,
) -> list[Trigger]:
    """The triggers that are set."""
    found = []
    if (wanted := config.min_new_images) is not None:
        reached = untrained.num_images >= wanted
        text = f"{_images(untrained.num_images)} since span {spans.trained_span}"
        tail = f" reach retrain.min_new_images ({wanted})"
        if not reached:
            tail = f", the last that was trained on (retrain.min_new_images is {wanted})"
        found.append(Trigger(reached, text + tail))
    if config.min_drift is not None:
        found.append(_drift_trigger(latest, untrained, config.min_drift))
    if config.min_live_drift is not None:
        found.append(_live_trigger(live or NO_LOG, config.min_live_drift))
    if config.max_days is not None:
        text = f"the last model is {config.max_days:g} days old (retrain.max_days)"
        if not past.is_due:
            text = f"the last model is not {config.max_days:g} days old yet (retrain.max_days)"
        found.append(Trigger(past.is_due, text))
    if config.min_gain is not None:
        found.append(_gain_trigger(past, config.min_gain))
    return found


def _drift_trigger(latest: Comparison, untrained: Comparison, threshold: float) -> Trigger:
    drifted = _merged(latest, untrained, threshold)
    if drifted:
        text = f"drift of {_listed(drifted)} reaches retrain.min_drift ({threshold:g})"
        return Trigger(True, text)
    judged = max((latest, untrained), key=_weight)
    return Trigger(False, f"{_largest(judged)} (retrain.min_drift is {threshold:g})")


def _live_trigger(live: LiveDrift, threshold: float) -> Trigger:
    drifted = live.above(threshold)
    if drifted:
        text = f"live drift of {_listed(drifted)} reaches retrain.min_live_drift ({threshold:g})"
        return Trigger(True, text)
    return Trigger(False, f"{live_sentence(live)} (retrain.min_live_drift is {threshold:g})")


def _live_warning(live: LiveDrift | None, threshold: float | None) -> list[str]:
    """What the same images cannot mend."""
    drifted = live.above(threshold) if live else {}
    if not drifted:
        return []
    return [
        f"Live requests drifted ({_listed(drifted)}), and there is nothing new to train on: add "
        "labelled images of what is sent now."
    ]


def _gain_trigger(past: Past, wanted: float) -> Trigger:
    curve = learning_curve.fit(past.points)
    if curve is None:
        # Not knowing is no reason to wait: only models make it known.
        text = (
            "the expected gain is unknown: there are fewer than "
            f"{learning_curve.MIN_POINTS} earlier models of this kind with different numbers of "
            "images (retrain.min_gain)"
        )
        return Trigger(True, text)
    before, now = past.points[-1].num_train_images, past.num_train_images
    gain = curve.gain(before, now)
    text = (
        f"{now:,} training images instead of {before:,} promise an accuracy {gain:.4f} higher by "
        f"the learning curve (retrain.min_gain is {wanted:g})"
    )
    return Trigger(gain >= wanted, text)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


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
    past: Past = _NO_PAST,
    live: LiveDrift | None = None,
) -> Drift:
    """Compares the spans of a statistics artifact and writes drift.json.

    Args:
        statistics_dir: Statistics of the splits and of groups of spans.
        output_dir: Receives drift.json.
        config: Limits and triggers.
        past: What earlier runs say.
        live: Logged requests against the training images, where a log is configured.

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
    drift = judge(spans, latest, untrained, config, past, live)
    path = Path(output_dir) / contracts.DRIFT_FILE
    files.write_json(path, drift.to_json())
    _LOGGER.info("drift: %s %s", describe(spans, latest), path)
    require_little_drift(drift, config)
    return drift
