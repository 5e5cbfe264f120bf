"""TFX glue of the evaluator."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils


class Executor(base_executor.BaseExecutor):
    """Unpacks artifacts, evaluates, packs."""

    def Do(  # noqa: N802  # TFX's name
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs `evaluate.evaluate` on the artifacts' folders."""
        from slimworks.components import contracts
        from slimworks.components.evaluator import evaluate
        from slimworks.components.evaluator.config import EvaluateConfig

        baseline = input_dict.get("baseline_model")
        evaluate.evaluate(
            model_dir=artifact_utils.get_single_uri(input_dict["model"]),
            examples_dir=artifact_utils.get_single_uri(input_dict["examples"]),
            label_map=contracts.LabelMap.read(
                artifact_utils.get_single_uri(input_dict["label_map"])
            ),
            output_dir=artifact_utils.get_single_uri(output_dict["evaluation"]),
            config=EvaluateConfig.model_validate_json(exec_properties["config"]),
            # A resolver that finds no blessed model gives an empty list.
            baseline_model_dir=artifact_utils.get_single_uri(baseline) if baseline else None,
        )
