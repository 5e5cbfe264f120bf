"""Holds each split's statistics against the schema; an anomaly stops the run."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.statistics.schema import read_schema
from slimworks.components.statistics.statistics import read_statistics

_LOGGER = logging.getLogger(__name__)


def describe_anomalies(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """One phrase per anomaly: feature, what is wrong with it, the values."""
    return [
        f"{name}: {anomaly.short_description} ({anomaly.description.rstrip('. ')})"
        for name, anomaly in sorted(anomalies.anomaly_info.items())
    ]


def validate_statistics(
    statistics_dir: str,
    schema_dir: str,
    output_dir: str,
    splits: Sequence[str] = contracts.SPLITS,
) -> None:
    """Writes `Split-<split>/SchemaDiff.pb` for each split.

    Raises:
        DataError: A split does not fit the schema; all splits' anomalies are written first.
    """
    schema = read_schema(schema_dir)
    found = {}
    for split in splits:
        anomalies = tfdv.validate_statistics(read_statistics(statistics_dir, split), schema)
        path = contracts.split_folder(output_dir, split) / contracts.ANOMALIES_FILE
        files.write_bytes(path, anomalies.SerializeToString(deterministic=True))
        found[split] = describe_anomalies(anomalies)
    num_anomalies = sum(map(len, found.values()))
    _LOGGER.info("validation: %d anomalies in %s; %s", num_anomalies, ", ".join(splits), output_dir)
    _require_none(found, output_dir)


def _require_none(found: dict[str, list[str]], output_dir: str) -> None:
    phrases = [f"{phrase} in the {split} split" for split in found for phrase in found[split]]
    if not phrases:
        return
    more = f"; {len(phrases) - 1} more" if len(phrases) > 1 else ""
    raise DataError(
        f"The examples do not fit their schema: {phrases[0]}{more}.",
        "Write them again: slimworks run --no-cache=ingest. All anomalies are in "
        f"{os.path.join(output_dir, 'Split-*', contracts.ANOMALIES_FILE)}.",
    )
