"""Unpacks artifacts and exec properties, ingests, packs."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils

from slimworks.components import contracts
from slimworks.components.ingest.config import DataConfig


class IngestExecutor(base_executor.BaseExecutor):
    """Runs `ingest`."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes examples, label map and report.

        Raises:
            DataError: The data cannot be used.
        """
        from slimworks.components.ingest.ingest import IngestOutputs, ingest

        examples = artifact_utils.get_single_instance(output_dict["examples"])
        outputs = IngestOutputs(
            examples=examples.uri,
            label_map=artifact_utils.get_single_uri(output_dict["label_map"]),
            report=artifact_utils.get_single_uri(output_dict["report"]),
        )
        config = DataConfig.model_validate_json(exec_properties["config"])
        summary = ingest(
            exec_properties["source"],
            outputs,
            config,
            exec_properties["state"],
            getattr(self._context, "beam_pipeline_args", None) or (),
            source_state=exec_properties["source_state"],
        )
        examples.split_names = artifact_utils.encode_split_names(list(contracts.SPLITS))
        # TFX's own properties of an ExampleGen's output.
        examples.span = summary.span
        examples.set_string_custom_property("input_fingerprint", summary.source_digest)
