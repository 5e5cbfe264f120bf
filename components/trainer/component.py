"""TFX component: transformed examples -> a trained, exported model."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

import slimworks
from slimworks.components.artifacts import LabelMap
from slimworks.components.trainer import executor
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig


class TrainerSpec(component_spec.ComponentSpec):
    """Transformed examples, transform graph and label map in; model out."""

    PARAMETERS = {  # noqa: RUF012  # TFX reads plain class attributes
        "model_config": component_spec.ExecutionParameter(type=str),
        "config": component_spec.ExecutionParameter(type=str),
        "export_config": component_spec.ExecutionParameter(type=str),
        "checkpoint_state": component_spec.ExecutionParameter(type=str),
        "work": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
        # Digest of the source of a user's own network.
        "net_source": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
        "label_map": component_spec.ChannelParameter(type=LabelMap),
    }
    OUTPUTS = {  # noqa: RUF012
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
    }


class Trainer(base_component.BaseComponent):
    """Trains a TF-Slim network and exports it."""

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        examples: channel.BaseChannel,
        transform_graph: channel.BaseChannel,
        label_map: channel.BaseChannel,
        model: ModelConfig,
        train: TrainConfig,
        export: ExportConfig,
        work: str,
        checkpoint_state: str = "",
    ) -> None:
        """Declares the node.

        Args:
            examples: Transformed examples.
            transform_graph: TFT's output.
            label_map: Classes by class index.
            model: Network and input size.
            train: Training settings.
            export: What the exported model answers.
            work: Folder for unfinished trainings.
            checkpoint_state: Changes when the files behind `train.checkpoint_path` do.
        """
        digest = model.source_digest
        spec = TrainerSpec(
            examples=examples,
            transform_graph=transform_graph,
            label_map=label_map,
            model_config=model.canonical_json(),
            config=train.canonical_json(),
            export_config=export.canonical_json(),
            checkpoint_state=checkpoint_state,
            work=work,
            **({"net_source": digest} if digest else {}),
            code_version=slimworks.__version__,
            model=channel.Channel(type=standard_artifacts.Model),
        )
        super().__init__(spec=spec)
