"""The TFX component: spec and channels. Light to import."""

from __future__ import annotations

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from slimworks import __version__
from slimworks.components.transform import executor
from slimworks.components.transform.config import TransformSettings


class TransformSpec(component_spec.ComponentSpec):
    """Inputs, outputs and properties of Transform."""

    PARAMETERS = {  # noqa: RUF012 (TFX's own interface)
        "config": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        "transform_graph": component_spec.ChannelParameter(type=standard_artifacts.TransformGraph),
        "transformed_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }


class Transform(base_beam_component.BaseBeamComponent):
    """Decodes and resizes images with a graph that is later attached to the exported model."""

    SPEC_CLASS = TransformSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.TransformExecutor)

    def __init__(
        self,
        examples: channel.BaseChannel,
        settings: TransformSettings,
        schema: channel.BaseChannel | None = None,
    ) -> None:
        """Builds the node.

        Args:
            examples: Examples written by ingest, with the splits train and eval.
            settings: Family, size and channels of the stored images, defaults filled in.
            schema: Schema of the examples, for lineage only: the features are fixed.
        """
        super().__init__(
            TransformSpec(
                examples=examples,
                schema=schema,
                config=settings.canonical_json(),
                code_version=__version__,
                transform_graph=channel.Channel(type=standard_artifacts.TransformGraph),
                transformed_examples=channel.Channel(type=standard_artifacts.Examples),
            )
        )
