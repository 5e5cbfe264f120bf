"""Three small components on the examples' metadata: Statistics, SchemaInference, Validation."""

from __future__ import annotations

from tfx.dsl.components.base import base_beam_component, base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from slimworks import __version__
from slimworks.components.artifacts import LabelMap
from slimworks.components.statistics import executor


class StatisticsSpec(component_spec.ComponentSpec):
    """Parameters, inputs and outputs of Statistics."""

    PARAMETERS = {"code_version": component_spec.ExecutionParameter(type=str)}  # noqa: RUF012
    INPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)
    }
    OUTPUTS = {  # noqa: RUF012
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics)
    }


class Statistics(base_beam_component.BaseBeamComponent):
    """Computes TFDV statistics of the metadata. Output: `statistics`."""

    SPEC_CLASS = StatisticsSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.StatisticsExecutor)

    def __init__(self, examples: channel.BaseChannel) -> None:
        statistics = channel.Channel(type=standard_artifacts.ExampleStatistics)
        spec = StatisticsSpec(code_version=__version__, examples=examples, statistics=statistics)
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

    PARAMETERS = {"code_version": component_spec.ExecutionParameter(type=str)}  # noqa: RUF012
    INPUTS = {  # noqa: RUF012
        "statistics": component_spec.ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {  # noqa: RUF012
        "anomalies": component_spec.ChannelParameter(type=standard_artifacts.ExampleAnomalies)
    }


class Validation(base_component.BaseComponent):
    """Holds statistics against the schema; stops the run on anomalies. Output: `anomalies`."""

    SPEC_CLASS = ValidationSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.ValidationExecutor)

    def __init__(self, statistics: channel.BaseChannel, schema: channel.BaseChannel) -> None:
        anomalies = channel.Channel(type=standard_artifacts.ExampleAnomalies)
        spec = ValidationSpec(
            code_version=__version__, statistics=statistics, schema=schema, anomalies=anomalies
        )
        super().__init__(spec=spec)
