"""TFX glue of the gate."""

from __future__ import annotations

import json
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils


class Executor(base_executor.BaseExecutor):
    """Unpacks artifacts, decides, packs. A refusal is a result, not an error."""

    def Do(  # noqa: N802  # TFX's name
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs `blessing.bless` and marks the artifact for resolvers."""
        from slimworks.components import contracts
        from slimworks.components.gate import blessing
        from slimworks.components.gate.config import GateConfig

        baseline, examples = input_dict.get("baseline_model"), input_dict.get("examples")
        force = exec_properties.get("force")
        output = artifact_utils.get_single_instance(output_dict["blessing"])
        decided = blessing.bless(
            evaluation_dir=artifact_utils.get_single_uri(input_dict["evaluation"]),
            model_dir=artifact_utils.get_single_uri(input_dict["model"]),
            label_map=contracts.LabelMap.read(
                artifact_utils.get_single_uri(input_dict["label_map"])
            ),
            output_dir=output.uri,
            config=GateConfig.model_validate_json(exec_properties["config"]),
            # A resolver that finds no blessed model gives an empty list.
            baseline_model_dir=artifact_utils.get_single_uri(baseline) if baseline else None,
            examples_dir=artifact_utils.get_single_uri(examples) if examples else None,
            force=json.loads(force) if force else None,
        )
        output.set_int_custom_property("blessed", int(decided.blessed))
        # TFX's own name; by it the next run finds its baseline.
        model = artifact_utils.get_single_instance(input_dict["model"])
        output.set_int_custom_property("current_model_id", model.id)
        output.set_string_custom_property("verdict", decided.verdict)
