"""Our own TFX artifact types; the others are TFX's standard ones."""

from __future__ import annotations

from tfx.types import artifact


class LabelMap(artifact.Artifact):
    """labels.txt and label_map.json: class names by class index."""

    TYPE_NAME = "SlimWorksLabelMap"


class IngestReport(artifact.Artifact):
    """summary.json, rejects.jsonl, duplicates.jsonl, outliers.jsonl and thumbnails/."""

    TYPE_NAME = "SlimWorksIngestReport"
