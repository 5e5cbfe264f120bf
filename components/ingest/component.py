"""The Ingest component: labelled photos in, checked examples out."""

from __future__ import annotations

from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from slimworks import __version__
from slimworks.components.artifacts import IngestReport, LabelMap
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.driver import IngestDriver
from slimworks.components.ingest.executor import IngestExecutor


class IngestSpec(component_spec.ComponentSpec):
    """Parameters and outputs of Ingest."""

    PARAMETERS = {  # noqa: RUF012
        "source": component_spec.ExecutionParameter(type=str),
        "config": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
        "label_map_state": component_spec.ExecutionParameter(type=str),
        # Set by the driver at launch.
        "source_digest": component_spec.ExecutionParameter(type=str, optional=True),
        "class_names": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {}  # noqa: RUF012
    OUTPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "label_map": component_spec.ChannelParameter(type=LabelMap),
        "report": component_spec.ChannelParameter(type=IngestReport),
    }


class Ingest(base_beam_component.BaseBeamComponent):
    """Checks, splits and writes the images below a folder of class folders.

    Outputs: `examples` (splits train, eval, test), `label_map`, `report`.
    """

    SPEC_CLASS = IngestSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(IngestExecutor)
    DRIVER_CLASS = IngestDriver  # type: ignore[assignment]  # TFX annotates neither interface

    def __init__(self, source: str, config: DataConfig, label_map_state: str) -> None:
        """Makes the node.

        Args:
            source: Folder that holds one folder per class.
            config: The `data` section.
            label_map_state: Folder that keeps label_map.json from run to run.
        """
        spec = IngestSpec(
            source=source,
            # The source has a parameter of its own, resolved: its spelling must not matter.
            config=config.canonical_json(exclude=("source",)),
            code_version=__version__,
            label_map_state=label_map_state,
            examples=channel.Channel(type=standard_artifacts.Examples),
            label_map=channel.Channel(type=LabelMap),
            report=channel.Channel(type=IngestReport),
        )
        super().__init__(spec=spec)
