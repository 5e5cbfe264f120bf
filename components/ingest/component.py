"""The Ingest component: labelled photos in, checked examples out."""

from __future__ import annotations

import json

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from slimworks import __version__
from slimworks.components.artifacts import IngestReport, LabelMap
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.driver import IngestDriver
from slimworks.components.ingest.executor import IngestExecutor

# Settings that change what is done with the images or where, not the images. The folder of
# downloads stays: the driver needs it.
NOT_IN_KEY = (
    "stop_above_drift", "retrain_min_drift", "retrain_min_new_images", "beam_pipeline_args",
)  # fmt: skip


class IngestSpec(component_spec.ComponentSpec):
    """Parameters and outputs of Ingest."""

    PARAMETERS = {  # noqa: RUF012
        "source": component_spec.ExecutionParameter(type=str),
        "config": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
        "state": component_spec.ExecutionParameter(type=str),
        # For the driver, which empties it: a result does not depend on how it was computed.
        "beam_pipeline_args": component_spec.ExecutionParameter(type=str, optional=True),
        # Set by the driver at launch.
        "source_state": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {}  # noqa: RUF012
    OUTPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "label_map": component_spec.ChannelParameter(type=LabelMap),
        "report": component_spec.ChannelParameter(type=IngestReport),
    }


class Ingest(base_beam_component.BaseBeamComponent):
    """Checks, splits and writes labelled images.

    Outputs: `examples` (splits train, eval, test), `label_map`, `report`.
    """

    SPEC_CLASS = IngestSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(IngestExecutor)
    DRIVER_CLASS = IngestDriver  # type: ignore[assignment]  # TFX annotates neither interface

    def __init__(self, source: str, config: DataConfig, state: str) -> None:
        """Makes the node.

        Args:
            source: As `data.source`, resolved.
            config: The `data` section.
            state: Folder that keeps what ingest remembers from run to run.
        """
        spec = IngestSpec(
            source=source,
            # The source has a parameter of its own, resolved: its spelling must not matter.
            config=config.canonical_json(exclude=("source", *NOT_IN_KEY)),
            code_version=__version__,
            state=state,
            beam_pipeline_args=json.dumps(config.beam_pipeline_args),
            examples=channel.Channel(type=standard_artifacts.Examples),
            label_map=channel.Channel(type=LabelMap),
            report=channel.Channel(type=IngestReport),
        )
        super().__init__(spec=spec)
        if config.beam_pipeline_args:
            self.with_beam_pipeline_args(list(config.beam_pipeline_args))
