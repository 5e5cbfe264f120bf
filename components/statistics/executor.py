"""Unpack artifacts, call the pure functions, pack: one executor per component."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils

from slimworks.components import contracts
from slimworks.components.contracts import LabelMap

Artifacts = dict[str, list[artifact.Artifact]]


def _splits(artifacts: Artifacts, key: str) -> list[str]:
    names = artifact_utils.get_single_instance(artifacts[key]).split_names
    return artifact_utils.decode_split_names(names) if names else list(contracts.SPLITS)


def _set_splits(artifacts: Artifacts, key: str, splits: list[str]) -> None:
    instance = artifact_utils.get_single_instance(artifacts[key])
    instance.split_names = artifact_utils.encode_split_names(splits)


class StatisticsExecutor(base_executor.BaseExecutor):
    """Computes the statistics of each split."""

    def Do(  # noqa: N802
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes one FeatureStats.pb a split."""
        from slimworks.components.statistics.statistics import compute_statistics

        del exec_properties
        splits = _splits(input_dict, "examples")
        compute_statistics(
            artifact_utils.get_single_uri(input_dict["examples"]),
            artifact_utils.get_single_uri(output_dict["statistics"]),
            splits,
            getattr(self._context, "beam_pipeline_args", None) or (),
        )
        _set_splits(output_dict, "statistics", splits)


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
    """Validates the statistics of each split."""

    def Do(  # noqa: N802
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes one SchemaDiff.pb a split.

        Raises:
            DataError: A split does not fit the schema.
        """
        from slimworks.components.statistics.validation import validate_statistics

        del exec_properties
        splits = _splits(input_dict, "statistics")
        _set_splits(output_dict, "anomalies", splits)
        validate_statistics(
            artifact_utils.get_single_uri(input_dict["statistics"]),
            artifact_utils.get_single_uri(input_dict["schema"]),
            artifact_utils.get_single_uri(output_dict["anomalies"]),
            splits,
        )
