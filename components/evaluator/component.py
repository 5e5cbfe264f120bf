"""TFX component that evaluates a candidate model."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

import slimworks
from slimworks.components.artifacts import LabelMap
from slimworks.components.evaluator import executor
from slimworks.components.evaluator.config import EvaluateConfig


class EvaluatorSpec(component_spec.ComponentSpec):
    """Examples, model and label map in; evaluation out."""

    PARAMETERS = {  # noqa: RUF012  # TFX reads plain class attributes
        "config": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "label_map": component_spec.ChannelParameter(type=LabelMap),
        "baseline_model": component_spec.ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
    }
    OUTPUTS = {  # noqa: RUF012
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
    }


class Evaluator(base_component.BaseComponent):
    """Measures the candidate, and the baseline on the same images."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        examples: channel.BaseChannel,
        model: channel.BaseChannel,
        label_map: channel.BaseChannel,
        config: EvaluateConfig,
        baseline_model: channel.BaseChannel | None = None,
    ) -> None:
        """Declares the node.

        Args:
            examples: Examples with the original encoded images.
            model: The candidate.
            label_map: Classes by class index.
            config: Split, batch size, confidence.
            baseline_model: The last blessed model; a resolver may find none.
        """
        spec = EvaluatorSpec(
            examples=examples,
            model=model,
            label_map=label_map,
            baseline_model=baseline_model,
            config=config.canonical_json(exclude=("worst_mistakes",)),  # the report alone reads it
            code_version=slimworks.__version__,
            evaluation=channel.Channel(type=standard_artifacts.ModelEvaluation),
        )
        super().__init__(spec=spec)
