"""Sections `model` and `train`: TF-Slim's words wherever TF-Slim has one."""

from __future__ import annotations

import math
import re
from typing import Literal

import pydantic
from pydantic import Field

from slimworks.components.checkpoints.names import parse_name_map
from slimworks.components.errors import ConfigError
from slimworks.components.nets.registry import check_image_size, get_net
from slimworks.components.preprocessing.config import AugmentationSettings
from slimworks.components.settings import Settings

Optimizer = Literal["adadelta", "adagrad", "adam", "ftrl", "momentum", "rmsprop", "sgd"]
DecayType = Literal["fixed", "exponential", "polynomial", "cosine"]

DEFAULT_EPOCHS, MAX_EPOCHS, DEFAULT_STEPS = 20, 60, 200


class ModelConfig(Settings):
    """Which network, and the size of its input."""

    # The smallest registered net that has a published ImageNet checkpoint: a laptop's first run
    # ends in minutes. `slimworks nets` lists the others.
    net: str = Field("mobilenet_v1_025", description="Network; `slimworks nets` lists them.")
    image_size: int | None = Field(
        None, ge=8, le=1024, description="Input side in pixels; null: the net's own."
    )

    @pydantic.field_validator("net")
    @classmethod
    def _known(cls, name: str) -> str:
        return get_net(name).name

    @pydantic.model_validator(mode="after")
    def _large_enough(self) -> ModelConfig:
        if self.image_size is not None:
            check_image_size(get_net(self.net), self.image_size)
        return self

    @property
    def resolved_image_size(self) -> int:
        """Input side in pixels, the net's default where none is set."""
        return self.image_size or get_net(self.net).default_image_size


class ExportConfig(Settings):
    """What the exported model answers; filled from the section `serving`."""

    top_k: int | None = Field(None, ge=1, description="Classes in an answer; null: five.")
    min_probability: float = Field(
        0.0, ge=0, le=1, description="`is_known` is false below this top probability."
    )


class TrainConfig(Settings):
    """How the network is trained. Defaults are for fine-tuning a few thousand photos."""

    checkpoint_path: str | None = Field(
        None, description="TF-Slim checkpoint (file or folder) to start from; null: from scratch."
    )
    checkpoint_exclude_scopes: Literal["auto"] | list[str] = Field(
        "auto",
        description="Name prefixes not to restore; auto: the head where its class count differs.",
    )
    ignore_missing_vars: bool = Field(
        False, description="Skip variables that the checkpoint lacks instead of stopping."
    )
    # From the checkpoint's names to the network's, as one reads it: vgg_16/ -> ssd_vgg_512/.
    checkpoint_name_map: dict[str, str] = Field(
        default_factory=dict,
        description="Start of the checkpoint's names: start of the network's names instead, where "
        "they differ, such as {vgg_16/: ssd_vgg_512/}. With `re:` in front, the first is a regular "
        "expression from the start and the second may use its groups (\\1). The first pair that "
        "matches a name counts.",
    )
    # What TF-Slim's published averages were measured with.
    checkpoint_moving_averages: bool = Field(
        True,
        description="Start from a variable's exponential moving average where the checkpoint has "
        "one.",
    )
    trainable_scopes: list[str] | None = Field(
        None, description="Scopes to train (regular expressions from the start); null: all."
    )
    # 20 passes are enough for some hundred photos; of fewer photos they are too few steps for the
    # head to settle, so small sets are passed more often.
    epochs: float | None = Field(
        None,
        gt=0,
        description="Passes over the train split; null: 20, or as many as make 200 steps, at most "
        "60.",
    )
    max_number_of_steps: int | None = Field(
        None, ge=1, description="Steps to train; overrides epochs."
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Images per step.")
    optimizer: Optimizer = Field("momentum", description="Update rule, with TF-Slim's settings.")
    # Chosen on 800 flower photos and the bundled digits with batch 32; a fine-tuned net wants a
    # smaller step than a fresh one.
    learning_rate: float | None = Field(
        None, gt=0, description="Initial learning rate; null: 0.01 from a checkpoint, else 0.05."
    )
    learning_rate_decay_type: DecayType = Field("cosine", description="Shape of the decay.")
    end_learning_rate: float = Field(
        0.0001, ge=0, description="Final rate of the polynomial and cosine decays."
    )
    learning_rate_decay_factor: float = Field(
        0.94, gt=0, le=1, description="Factor of the exponential decay."
    )
    num_epochs_per_decay: float = Field(
        2.0, gt=0, description="Epochs per factor of the exponential decay."
    )
    warmup_epochs: float = Field(1.0, ge=0, description="Linear warm-up from 0, in epochs.")
    weight_decay: float = Field(0.00004, ge=0, description="L2 factor: factor * sum(w^2) / 2.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Main and auxiliary loss.")
    batch_norm_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay of the moving statistics; null: the net's own, but short enough to "
        "forget the start ten times over in the planned number of steps.",
    )
    adadelta_rho: float = Field(0.95, description="Adadelta decay.")
    adagrad_initial_accumulator_value: float = Field(0.1, description="Adagrad start value.")
    adam_beta1: float = Field(0.9, description="Adam first moment decay.")
    adam_beta2: float = Field(0.999, description="Adam second moment decay.")
    # TF-Slim's 1.0 makes Adam nearly SGD on small sets.
    opt_epsilon: float = Field(1e-3, gt=0, description="Epsilon of Adadelta, Adam and RMSProp.")
    ftrl_learning_rate_power: float = Field(-0.5, le=0, description="FTRL power.")
    ftrl_initial_accumulator_value: float = Field(0.1, description="FTRL start value.")
    ftrl_l1: float = Field(0.0, ge=0, description="FTRL L1 strength.")
    ftrl_l2: float = Field(0.0, ge=0, description="FTRL L2 strength.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of the momentum optimizer.")
    rmsprop_momentum: float = Field(0.9, ge=0, lt=1, description="RMSProp momentum.")
    rmsprop_decay: float = Field(0.9, gt=0, lt=1, description="RMSProp decay.")
    augmentation: AugmentationSettings = Field(
        default_factory=AugmentationSettings, description="Distortions of the training images."
    )
    seed: int = Field(0, ge=0, description="Seeds initial values, order and distortions.")
    log_every_n_steps: int = Field(10, ge=1, description="Steps between lines of metrics.jsonl.")
    save_interval_secs: float = Field(
        30.0, ge=0, description="Least seconds between checkpoints; one is written at the end too."
    )

    @pydantic.field_validator("checkpoint_name_map")
    @classmethod
    def _valid_name_map(cls, name_map: dict[str, str]) -> dict[str, str]:
        parse_name_map(name_map)
        return name_map

    @pydantic.field_validator("trainable_scopes")
    @classmethod
    def _valid_scopes(cls, scopes: list[str] | None) -> list[str] | None:
        for scope in scopes or ():
            try:
                re.compile(scope)
            except re.error as error:
                raise ConfigError(
                    f"train.trainable_scopes: {scope!r} is no regular expression: {error}.",
                    "Mend it; a plain scope such as InceptionV3/Logits needs no signs.",
                ) from None
        return scopes

    def num_steps(self, steps_per_epoch: int) -> int:
        """Steps to train: `max_number_of_steps`, or those of `epochs`."""
        if self.max_number_of_steps is not None:
            return self.max_number_of_steps
        if self.epochs is not None:
            return math.ceil(self.epochs * steps_per_epoch)
        most = MAX_EPOCHS * steps_per_epoch
        return max(DEFAULT_EPOCHS * steps_per_epoch, min(DEFAULT_STEPS, most))

    @property
    def resolved_learning_rate(self) -> float:
        """Initial learning rate, the default for fine-tuning or for scratch where none is set."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 0.01 if self.checkpoint_path else 0.05
