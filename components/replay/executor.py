"""TFX glue of the replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils

from slimworks.components import contracts, formats
from slimworks.components.replay.config import ReplaySettings

DEFAULT_SPLIT = "test"


class Executor(base_executor.BaseExecutor):
    """Unpacks artifacts, replays, packs."""

    def Do(  # noqa: N802  # TFX's name
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs `replay.replay` on the artifacts' folders and marks the artifact.

        Raises:
            ServingError: As `replay`.
        """
        from slimworks.components.replay.replay import Baseline, replay

        evaluation = Path(artifact_utils.get_single_uri(input_dict["evaluation"]))
        output = artifact_utils.get_single_instance(output_dict["replay"])
        # A resolver that finds no blessed model gives an empty list.
        found = input_dict.get("baseline_model")
        baseline = found and Baseline(
            Path(artifact_utils.get_single_uri(found)) / contracts.SAVED_MODEL_FOLDER,
            evaluation / contracts.BASELINE_PREDICTIONS_FILE,
        )
        replay(
            Path(artifact_utils.get_single_uri(input_dict["model"])) / contracts.SAVED_MODEL_FOLDER,
            artifact_utils.get_single_uri(input_dict["examples"]),
            evaluated_split(evaluation),
            evaluation / contracts.PREDICTIONS_FILE,
            output.uri,
            ReplaySettings.model_validate_json(exec_properties["config"]),
            baseline or None,
        )
        output.set_int_custom_property("blessed", 1)


def evaluated_split(evaluation: Path) -> str:
    """The split that an evaluation says it predicted."""
    metrics = formats.read(evaluation / contracts.EVALUATION_METRICS_FILE)
    return str(metrics.get("split", DEFAULT_SPLIT))
