"""TFX component that proves a candidate through its server."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from slimworks import __version__
from slimworks.components.replay import executor
from slimworks.components.replay.config import ReplaySettings
from slimworks.components.serving.config import ServingConfig


class ReplaySpec(component_spec.ComponentSpec):
    """Examples, models, evaluation and blessing in; infrastructure blessing out."""

    PARAMETERS = {  # noqa: RUF012  # TFX reads plain class attributes
        "config": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {  # noqa: RUF012
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "baseline_model": component_spec.ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
    }
    OUTPUTS = {  # noqa: RUF012
        "replay": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
    }


class Replay(base_component.BaseComponent):
    """Compares served answers with offline predictions. Output: `replay`."""

    SPEC_CLASS = ReplaySpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        examples: channel.BaseChannel,
        model: channel.BaseChannel,
        evaluation: channel.BaseChannel,
        blessing: channel.BaseChannel,
        config: ServingConfig,
        baseline_model: channel.BaseChannel | None = None,
    ) -> None:
        """Makes the node.

        Args:
            examples: Examples with the original encoded images.
            model: The candidate.
            evaluation: Its offline predictions.
            blessing: The gate's; only a blessed model is worth a server.
            config: The `serving` section; only what the replay depends on enters the cache key.
            baseline_model: The last blessed model, served beside it; a resolver may find none.
        """
        spec = ReplaySpec(
            examples=examples,
            model=model,
            evaluation=evaluation,
            blessing=blessing,
            baseline_model=baseline_model,
            config=ReplaySettings.of(config).canonical_json(),
            code_version=__version__,
            replay=channel.Channel(type=standard_artifacts.InfraBlessing),
        )
        super().__init__(spec=spec)
