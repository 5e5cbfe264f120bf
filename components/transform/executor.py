"""Glue between TFX and `transform`."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils

from slimworks.components.transform.config import TransformSettings


class TransformExecutor(base_executor.BaseExecutor):
    """Unpacks artifacts, transforms, records the splits."""

    def Do(  # noqa: N802 (TFX's own interface)
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the transform graph and the transformed examples.

        Raises:
            DataError: An image cannot be decoded, or a shard is missing or damaged.
        """
        from slimworks.components.transform import transform

        settings = TransformSettings.model_validate_json(exec_properties["config"])
        transformed = artifact_utils.get_single_instance(output_dict["transformed_examples"])
        transform.transform(
            artifact_utils.get_single_uri(input_dict["examples"]),
            transform.TransformOutputs(
                graph_dir=artifact_utils.get_single_uri(output_dict["transform_graph"]),
                examples_dir=transformed.uri,
            ),
            settings,
            beam_pipeline_args=getattr(self._context, "beam_pipeline_args", None) or (),
        )
        transformed.split_names = artifact_utils.encode_split_names(
            list(transform.TRANSFORMED_SPLITS)
        )
