"""TFX component that publishes a blessed, replayed model."""

from __future__ import annotations

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from slimworks import __version__
from slimworks.components.pusher import executor
from slimworks.components.pusher.config import PushConfig
from slimworks.components.pusher.driver import PusherDriver


class PusherSpec(component_spec.ComponentSpec):
    """A model and what speaks for it in; the pushed model out."""

    PARAMETERS = {  # noqa: RUF012  # TFX reads plain class attributes
        "config": component_spec.ExecutionParameter(type=str),
        "base_path": component_spec.ExecutionParameter(type=str),
        "code_version": component_spec.ExecutionParameter(type=str),
        # Set by the driver at launch.
        "published": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "replay": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
    }
    OUTPUTS = {  # noqa: RUF012
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }


class Pusher(base_component.BaseComponent):
    """Publishes the model as the next version. Output: `pushed_model`."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = PusherDriver  # type: ignore[assignment]  # TFX annotates neither interface

    def __init__(
        self,
        model: channel.BaseChannel,
        blessing: channel.BaseChannel,
        replay: channel.BaseChannel,
        evaluation: channel.BaseChannel,
        config: PushConfig,
        base_path: str,
    ) -> None:
        """Makes the node.

        Args:
            model: The candidate.
            blessing: The gate's decision on it.
            replay: Proof that its server answers as evaluated.
            evaluation: Its metrics, for the ledger.
            config: The `push` section.
            base_path: Folder that model servers watch, with one folder per version.
        """
        spec = PusherSpec(
            model=model,
            blessing=blessing,
            replay=replay,
            evaluation=evaluation,
            config=config.canonical_json(
                exclude=("base_path",)
            ),  # resolved: a parameter of its own
            base_path=base_path,
            code_version=__version__,
            pushed_model=channel.Channel(type=standard_artifacts.PushedModel),
        )
        super().__init__(spec=spec)
