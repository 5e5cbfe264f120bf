"""Unpacks artifacts and exec properties, ingests, packs."""

from __future__ import annotations

import json
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils

from slimworks.components import contracts
from slimworks.components.contracts import LabelMap
from slimworks.components.ingest.config import DataConfig


class IngestExecutor(base_executor.BaseExecutor):
    """Runs `ingest` and keeps the label map for the next run."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes examples, label map and report.

        Raises:
            DataError: The data cannot be used, or changed since the driver looked at it.
        """
        from slimworks.components.ingest.ingest import IngestOutputs, ingest

        examples = artifact_utils.get_single_instance(output_dict["examples"])
        outputs = IngestOutputs(
            examples=examples.uri,
            label_map=artifact_utils.get_single_uri(output_dict["label_map"]),
            report=artifact_utils.get_single_uri(output_dict["report"]),
        )
        label_map = LabelMap(tuple(json.loads(exec_properties["class_names"])))
        ingest(
            exec_properties["source"],
            outputs,
            DataConfig.model_validate_json(exec_properties["config"]),
            label_map,
            getattr(self._context, "beam_pipeline_args", None) or (),
            own_folders=(exec_properties["label_map_state"],),
            expected_digest=exec_properties["source_digest"],
        )
        examples.split_names = artifact_utils.encode_split_names(list(contracts.SPLITS))
        label_map.write(exec_properties["label_map_state"])
