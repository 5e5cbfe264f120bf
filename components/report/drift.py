"""The newest span against the one before it, as the validation measured it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

_NAMES = {
    "image/class/text": "Class",
    "image/original_format": "File format",
    "image/colorspace": "Colour or grey",
    "image/channels": "Channels",
    "image/brightness": "Brightness",
    "image/sharpness": "Sharpness",
    "image/height": "Height",
    "image/width": "Width",
    "predicted_class": "Predicted class",
    "confidence": "Confidence",
    "is_known": "Known images",
}
_MEASURES = {
    "l_infinity": "L-infinity: share",
    "jensen_shannon": "Jensen-Shannon",
}


@dataclasses.dataclass(frozen=True)
class DriftRow:
    """Distance of one feature, 0 (equal) to 1 (nothing in common)."""

    feature: str
    distance: float
    measure: str


@dataclasses.dataclass(frozen=True)
class DriftTable:
    """One comparison; `sentence` says of what with what."""

    sentence: str
    rows: Sequence[DriftRow]
    is_enough_data: bool


@dataclasses.dataclass(frozen=True)
class DriftView:
    """What drift.json says."""

    reasons: Sequence[str]
    tables: Sequence[DriftTable]


def drift_view(drift: Mapping[str, Any] | None) -> DriftView | None:
    """View of drift.json; None without it."""
    if drift is None:
        return None
    tables = []
    if drift["previous_span"] is not None:
        tables.append(_table(drift, f"span {drift['span']}", f"span {drift['previous_span']}"))
    since = drift.get("since_trained")
    # Where every span is trained on, both say nearly the same.
    if since and since["num_images"] and since["trained_span"] != drift["previous_span"]:
        trained = since["trained_span"]
        older = "all up to it, which the last model was trained on"
        tables.append(_table(since, f"all spans after span {trained}", older))
    if drift.get("live"):
        tables.append(live_table(drift["live"]))
    return DriftView(drift["reasons"], tables)


def live_table(live: Mapping[str, Any]) -> DriftTable:
    """Logged requests against the model's training images and evaluation."""
    sentence = (
        f"{live['num_images']:,} images of {live['num_requests']:,} logged requests against "
        f"{live['num_reference_images']:,} that the model was trained on, and its answers against "
        f"those to {live['num_reference_answers']:,} test images"
    )
    return DriftTable(sentence, _rows(live), live["is_enough_data"])


def _table(comparison: Mapping[str, Any], newer: str, older: str) -> DriftTable:
    sentence = (
        f"{comparison['num_images']:,} images of {newer} against "
        f"{comparison['num_previous_images']:,} of {older}"
    )
    return DriftTable(sentence, _rows(comparison), comparison["is_enough_data"])


def _rows(comparison: Mapping[str, Any]) -> list[DriftRow]:
    rows = [
        DriftRow(
            _NAMES.get(feature, feature),
            float(found["distance"]),
            _MEASURES.get(found["measure"], found["measure"]),
        )
        for feature, found in comparison["distances"].items()
    ]
    return sorted(rows, key=lambda row: -row.distance)
