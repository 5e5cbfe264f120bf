"""Unpack artifacts, call the pure functions, pack: one executor per component."""

from __future__ import annotations

import json
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils

from slimworks.components import contracts
from slimworks.components.contracts import LabelMap
from slimworks.components.statistics.config import DriftConfig
from slimworks.components.statistics.lineage import EARLIER, SPAN, STATE_ID
from slimworks.components.statistics.spans import Spans

RETRAIN = "retrain"  # custom property of the anomalies: 0 where no trigger is reached

Artifacts = dict[str, list[artifact.Artifact]]


def _splits(artifacts: Artifacts, key: str) -> list[str]:
    names = artifact_utils.get_single_instance(artifacts[key]).split_names
    return artifact_utils.decode_split_names(names) if names else list(contracts.SPLITS)


def _set_splits(artifacts: Artifacts, key: str, splits: list[str]) -> None:
    instance = artifact_utils.get_single_instance(artifacts[key])
    instance.split_names = artifact_utils.encode_split_names(splits)


class StatisticsExecutor(base_executor.BaseExecutor):
    """Computes the statistics of each split and group of spans."""

    def Do(  # noqa: N802
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes one FeatureStats.pb a split and one a group of spans."""
        from slimworks.components.statistics.statistics import compute_statistics

        spans = Spans(
            exec_properties["span"],
            exec_properties["previous_span"] or None,
            exec_properties["trained_span"] or None,
        )
        splits = _splits(input_dict, "examples")
        compute_statistics(
            artifact_utils.get_single_uri(input_dict["examples"]),
            artifact_utils.get_single_uri(output_dict["statistics"]),
            splits,
            getattr(self._context, "beam_pipeline_args", None) or (),
            spans,
            {group: uri for group, name in EARLIER.items() if (uri := exec_properties[name])},
        )
        _set_splits(output_dict, "statistics", splits)
        statistics = artifact_utils.get_single_instance(output_dict["statistics"])
        statistics.set_int_custom_property(SPAN, spans.span)
        statistics.set_string_custom_property(STATE_ID, exec_properties[STATE_ID])


class SchemaInferenceExecutor(base_executor.BaseExecutor):
    """Infers the schema."""

    def Do(  # noqa: N802
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes schema.pbtxt."""
        from slimworks.components.statistics.schema import infer_schema

        del exec_properties
        infer_schema(
            artifact_utils.get_single_uri(input_dict["statistics"]),
            LabelMap.read(artifact_utils.get_single_uri(input_dict["label_map"])),
            artifact_utils.get_single_uri(output_dict["schema"]),
        )


class ValidationExecutor(base_executor.BaseExecutor):
    """Validates the statistics of each split, and looks for drift."""

    def Do(  # noqa: N802
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes one SchemaDiff.pb a split, and drift.json.

        Raises:
            DataError: A split does not fit the schema, or the newest span drifted too far.
        """
        from slimworks.components.statistics.learning_curve import Point
        from slimworks.components.statistics.statistics import num_examples
        from slimworks.components.statistics.triggers import Past, write_drift
        from slimworks.components.statistics.validation import validate_statistics

        splits = _splits(input_dict, "statistics")
        _set_splits(output_dict, "anomalies", splits)
        statistics = artifact_utils.get_single_uri(input_dict["statistics"])
        anomalies = artifact_utils.get_single_instance(output_dict["anomalies"])
        validate_statistics(
            statistics, artifact_utils.get_single_uri(input_dict["schema"]), anomalies.uri, splits
        )
        config = DriftConfig.model_validate_json(exec_properties["config"])
        past = Past(
            is_due=bool(exec_properties["is_due"]),
            is_too_soon=bool(exec_properties["is_too_soon"]),
            points=[Point(*values) for values in json.loads(exec_properties["earlier_models"])],
            num_train_images=num_examples(statistics, "train"),
        )
        live = _live_drift(statistics, config, exec_properties)
        drift = write_drift(statistics, anomalies.uri, config, past, live)
        anomalies.set_int_custom_property(RETRAIN, int(drift.retrain))


def _live_drift(statistics: str, config: DriftConfig, properties: dict[str, Any]) -> Any:
    """Logged requests against all images up to the last span that was trained on."""
    from slimworks.components.statistics import live_drift, spans
    from slimworks.components.statistics.statistics import read_span_statistics

    if config.retrain.request_log is None:
        return None
    if not properties["live_log"]:
        return live_drift.NO_LOG
    reference = live_drift.read_reference(
        read_span_statistics(statistics, spans.TRAINED),
        properties["live_evaluation"] or None,
        properties["live_model"] or None,
    )
    return live_drift.measure(config.retrain.request_log, reference)
