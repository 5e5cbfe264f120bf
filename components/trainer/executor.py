"""TFX glue: unpacks artifacts, trains, packs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from slimworks.components import contracts
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig


class Executor(base_executor.BaseExecutor):
    """Runs `train` for the pipeline."""

    def Do(  # noqa: N802  # TFX's name
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Trains; a killed execution left its checkpoints in the work folder of these inputs."""
        from slimworks.components.trainer.train import TrainInputs, train

        inputs = TrainInputs(
            examples=artifact_utils.get_single_uri(input_dict["examples"]),
            transform_graph=artifact_utils.get_single_uri(input_dict["transform_graph"]),
            label_map=artifact_utils.get_single_uri(input_dict["label_map"]),
        )
        work = work_folder(
            exec_properties, inputs.examples, inputs.transform_graph, inputs.label_map
        )
        model = artifact_utils.get_single_instance(output_dict["model"])
        facts = train(
            inputs,
            model.uri,
            str(work),
            ModelConfig.model_validate_json(exec_properties["model_config"]),
            TrainConfig.model_validate_json(exec_properties["config"]),
            ExportConfig.model_validate_json(exec_properties["export_config"]),
        )
        # Not removed here: a kill before the result is published would train everything again.
        (work / contracts.FINISHED_FILE).touch()
        model.set_string_custom_property("net", facts["net"])
        model.set_int_custom_property("best_step", facts["best_step"])


def work_folder(exec_properties: dict[str, Any], *uris: str) -> Path:
    """Folder of the unfinished training with exactly these inputs and settings."""
    names = ("config", "model_config", "checkpoint_state", "code_version")
    values = [*uris, *(exec_properties[name] for name in names)]
    if source := exec_properties.get("net_source"):
        values.append(source)
    key = json.dumps(values)
    digest = hashlib.sha256(key.encode("utf-8")).hexdigest()[:16]
    return Path(exec_properties["work"]) / f"training-{digest}"
