"""Three small components on the examples' metadata: Statistics, SchemaInference, Validation."""

from __future__ import annotations

from tfx.dsl.components.base import base_beam_component, base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from slimworks import __version__
from slimworks.components.artifacts import IngestReport, LabelMap
from slimworks.components.statistics import executor
from slimworks.components.statistics.config import DriftConfig
from slimworks.components.statistics.driver import StatisticsDriver, ValidationDriver


class StatisticsSpec(component_spec.ComponentSpec):
    """Parameters, inputs and outputs of Statistics."""

    PARAMETERS = {  # noqa: RUF012
        "code_version": component_spec.ExecutionParameter(type=str),
        "has_triggers": component_spec.ExecutionParameter(type=int),
        # Set by the driver at launch.
        "span": component_spec.ExecutionParameter(type=int, optional=True),
        "previous_span": component_spec.ExecutionParameter(type=int, optional=True),
        "trained_span": component_spec.ExecutionParameter(type=int, optional=True),
        "previous_statistics": component_spec.ExecutionParameter(type=str, optional=True),
        "trained_statistics": component_spec.ExecutionParameter(type=str, optional=True),
        "state_id": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "ingest_report": component_spec.ChannelParameter(type=IngestReport),
    }
    OUTPUTS = {  # noqa: RUF012
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics)
    }


class Statistics(base_beam_component.BaseBeamComponent):
    """Computes TFDV statistics of the metadata. Output: `statistics`."""

    SPEC_CLASS = StatisticsSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.StatisticsExecutor)
    DRIVER_CLASS = StatisticsDriver  # type: ignore[assignment]  # TFX annotates neither interface

    def __init__(
        self, examples: channel.BaseChannel, ingest_report: channel.BaseChannel, has_triggers: bool
    ) -> None:
        """Makes the node.

        Args:
            examples: Ingested examples.
            ingest_report: Says which span is the newest.
            has_triggers: Training waits for drift or new images, counted from the last model.
        """
        spec = StatisticsSpec(
            code_version=__version__,
            has_triggers=int(has_triggers),
            examples=examples,
            ingest_report=ingest_report,
            statistics=channel.Channel(type=standard_artifacts.ExampleStatistics),
        )
        super().__init__(spec=spec)


class SchemaInferenceSpec(component_spec.ComponentSpec):
    """Parameters, inputs and outputs of SchemaInference."""

    PARAMETERS = {"code_version": component_spec.ExecutionParameter(type=str)}  # noqa: RUF012
    INPUTS = {  # noqa: RUF012
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "label_map": component_spec.ChannelParameter(type=LabelMap),
    }
    OUTPUTS = {  # noqa: RUF012
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema)
    }


class SchemaInference(base_component.BaseComponent):
    """Infers the schema from statistics and label map. Output: `schema`."""

    SPEC_CLASS = SchemaInferenceSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.SchemaInferenceExecutor)

    def __init__(self, statistics: channel.BaseChannel, label_map: channel.BaseChannel) -> None:
        spec = SchemaInferenceSpec(
            code_version=__version__,
            statistics=statistics,
            label_map=label_map,
            schema=channel.Channel(type=standard_artifacts.Schema),
        )
        super().__init__(spec=spec)


class ValidationSpec(component_spec.ComponentSpec):
    """Parameters, inputs and outputs of Validation."""

    PARAMETERS = {  # noqa: RUF012
        "config": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
        # Set by the driver at launch.
        "is_due": component_spec.ExecutionParameter(type=int, optional=True),
        "is_too_soon": component_spec.ExecutionParameter(type=int, optional=True),
        "earlier_models": component_spec.ExecutionParameter(type=str, optional=True),
        "live_log": component_spec.ExecutionParameter(type=str, optional=True),
        "live_evaluation": component_spec.ExecutionParameter(type=str, optional=True),
        "live_model": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {  # noqa: RUF012
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies)
    }


class Validation(base_component.BaseComponent):
    """Holds statistics against the schema, and the newest span against the one before.

    Anomalies and too much drift stop the run. Output: `anomalies`, whose custom property `retrain`
    is 0 where training waits for more.
    """

    SPEC_CLASS = ValidationSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.ValidationExecutor)
    DRIVER_CLASS = ValidationDriver  # type: ignore[assignment]  # TFX annotates neither interface

    def __init__(
        self, statistics: channel.BaseChannel, schema: channel.BaseChannel, config: DriftConfig
    ) -> None:
        spec = ValidationSpec(
            code_version=__version__,
            config=config.canonical_json(),
            statistics=statistics,
            schema=schema,
            anomalies=channel.Channel(type=standard_artifacts.ExampleAnomalies),
        )
        super().__init__(spec=spec)
