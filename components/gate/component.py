"""TFX component that lets a candidate pass on evidence."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

import slimworks
from slimworks.components.artifacts import LabelMap
from slimworks.components.gate import executor
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.driver import SHADOW_LOG, GateDriver


class GateSpec(component_spec.ComponentSpec):
    """Evaluation, model and label map in; blessing out."""

    PARAMETERS = {  # noqa: RUF012  # TFX reads plain class attributes
        "config": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
        # JSON of {"by", "reason"}; empty: nobody pushes past a refusal.
        "force": component_spec.ExecutionParameter(type=str, optional=True),
        # Set by the driver at launch.
        SHADOW_LOG: component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "label_map": component_spec.ChannelParameter(type=LabelMap),
        "examples": component_spec.ChannelParameter(
            type=standard_artifacts.Examples, optional=True
        ),
        "baseline_model": component_spec.ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
    }
    OUTPUTS = {  # noqa: RUF012
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Gate(base_component.BaseComponent):
    """Blesses the candidate, or says why not."""

    SPEC_CLASS = GateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = GateDriver  # type: ignore[assignment]  # TFX annotates neither interface

    def __init__(
        self,
        evaluation: channel.BaseChannel,
        model: channel.BaseChannel,
        label_map: channel.BaseChannel,
        config: GateConfig,
        baseline_model: channel.BaseChannel | None = None,
        examples: channel.BaseChannel | None = None,
        force: str = "",
    ) -> None:
        """Declares the node.

        Args:
            evaluation: Predictions and metrics of the candidate (and of the baseline).
            model: The candidate.
            label_map: Classes by class index.
            config: Thresholds.
            baseline_model: The model that the evaluation compared with.
            examples: What the candidate was trained and evaluated with.
            force: JSON of {"by", "reason"}: who blesses the candidate in any case, and why.
        """
        spec = GateSpec(
            evaluation=evaluation,
            model=model,
            label_map=label_map,
            baseline_model=baseline_model,
            examples=examples,
            force=force,
            config=config.canonical_json(),
            code_version=slimworks.__version__,
            blessing=channel.Channel(type=standard_artifacts.ModelBlessing),
        )
        super().__init__(spec=spec)
