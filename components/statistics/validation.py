"""Holds each split's statistics against the schema; an anomaly stops the run."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.statistics.schema import read_schema
from slimworks.components.statistics.statistics import read_statistics

_LOGGER = logging.getLogger(__name__)


# Largest difference of a class's share between the train split and another one: what chance does
# to a split of n images (three standard deviations of a share are at most 1.5 / sqrt(n)), and
# what a comparison of accuracies can live with on top.
ALLOWED_SKEW = 0.15


def allowed_skew(num_examples: int) -> float:
    """Threshold of the L-infinity distance between class shares for a split of this size."""
    return ALLOWED_SKEW + 1.5 / math.sqrt(max(num_examples, 1))


def describe_anomalies(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """One phrase per anomaly: feature, what is wrong with it, the values."""
    return [
        _phrase(name, reason)
        for name, info in sorted(anomalies.anomaly_info.items())
        for reason in info.reason
    ]


def _phrase(name: str, reason: anomalies_pb2.AnomalyInfo.Reason) -> str:
    if reason.type == anomalies_pb2.AnomalyInfo.COMPARATOR_L_INFTY_HIGH:
        class_name = reason.description.rpartition(": ")[2].rstrip(". ")
        return f"the share of the class {class_name!r} is far from that of the train split"
    return f"{name}: {reason.short_description} ({reason.description.rstrip('. ')})"


def _compare(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    train: statistics_pb2.DatasetFeatureStatisticsList,
    schema: schema_pb2.Schema,
) -> anomalies_pb2.Anomalies:
    """Holds a split against the schema, and its mix of classes against the train split's."""
    with_skew = schema_pb2.Schema()
    with_skew.CopyFrom(schema)
    classes = tfdv.get_feature(with_skew, contracts.CLASS_NAME)
    num_examples = int(statistics.datasets[0].num_examples)
    classes.skew_comparator.infinity_norm.threshold = allowed_skew(num_examples)
    return tfdv.validate_statistics(statistics, with_skew, serving_statistics=train)


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
    train = read_statistics(statistics_dir, "train")
    found = {}
    for split in splits:
        anomalies = _compare(read_statistics(statistics_dir, split), train, schema)
        path = contracts.split_folder(output_dir, split) / contracts.ANOMALIES_FILE
        files.write_bytes(path, anomalies.SerializeToString(deterministic=True))
        found[split] = describe_anomalies(anomalies)
    num_anomalies = sum(map(len, found.values()))
    _LOGGER.info("validation: %d anomalies in %s; %s", num_anomalies, ", ".join(splits), output_dir)
    _require_none(found)


def _require_none(found: dict[str, list[str]]) -> None:
    phrases = [f"{phrase} in the {split} split" for split in found for phrase in found[split]]
    if not phrases:
        return
    more = f"; {len(phrases) - 1} more" if len(phrases) > 1 else ""
    raise DataError(
        f"The examples do not fit: {phrases[0]}{more}.",
        "For shares: choose smaller groups (data.group_regex), another data.split_seed, or add "
        "photos. For values: write the examples again: slimworks run --no-cache=ingest",
    )
