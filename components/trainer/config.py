"""Sections `model` and `train`: TF-Slim's words wherever TF-Slim has one."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import pydantic
from pydantic import Field

from slimworks.components.checkpoints.names import parse_name_map
from slimworks.components.errors import ConfigError
from slimworks.components.nets import own_nets
from slimworks.components.nets.registry import check_image_size, get_net
from slimworks.components.nets.spec import NetSpec
from slimworks.components.preprocessing.config import AugmentationSettings
from slimworks.components.settings import Settings
from slimworks.components.trainer.deployment_flags import refuse_deployment_flags

Optimizer = Literal["adadelta", "adagrad", "adam", "ftrl", "momentum", "rmsprop", "sgd"]
DecayType = Literal["fixed", "exponential", "polynomial", "cosine"]
Balance = Literal["none", "weights", "sample", "focal"]
DistributionKind = Literal["none", "mirrored", "multi_worker", "parameter_server"]

DEFAULT_EPOCHS, MAX_EPOCHS, DEFAULT_STEPS = 20, 60, 200


class ModelConfig(Settings):
    """Which network, and the size of its input."""

    # The smallest registered net that has a published ImageNet checkpoint: a laptop's first run
    # ends in minutes. `slimworks nets` lists the others.
    net: str = Field(
        "mobilenet_v1_025",
        description="Network; `slimworks nets` lists them. Or one of your own: MODULE:FUNCTION, "
        "such as my_nets:my_net.",
    )
    image_size: int | None = Field(
        None, ge=8, le=1024, description="Input side in pixels; null: the net's own."
    )

    @pydantic.field_validator("net")
    @classmethod
    def _known(cls, name: str) -> str:
        # One's own is looked for and built when its record is needed, not whenever one reads this.
        return own_nets.check_name(name) if own_nets.is_own(name) else get_net(name).name

    @pydantic.model_validator(mode="after")
    def _large_enough(self) -> ModelConfig:
        if self.image_size is not None and not own_nets.is_own(self.net):
            check_image_size(self.spec, self.image_size)
        return self

    @property
    def spec(self) -> NetSpec:
        """The record of the network; one's own is imported and built for it."""
        return get_net(self.net, self.image_size)

    @property
    def resolved_image_size(self) -> int:
        """Input side in pixels, the net's default where none is set."""
        return self.image_size or self.spec.default_image_size

    @property
    def source_digest(self) -> str:
        """Digest of the source of one's own network; empty for those of `slimworks nets`."""
        return own_nets.source_digest(self.net) if own_nets.is_own(self.net) else ""


class ExportConfig(Settings):
    """What the exported model answers; filled from the section `serving`."""

    top_k: int | None = Field(None, ge=1, description="Classes in an answer; null: five.")
    min_probability: float = Field(
        0.0, ge=0, le=1, description="`is_known` is false below this top probability."
    )
    temperature_scaling: bool = Field(
        True, description="Calibrate probabilities by a temperature fitted on the eval split."
    )
    min_precision: float | None = Field(
        None, gt=0, lt=1, description="Precision of each class's answers that are known."
    )
    known_by: Literal["probability", "energy", "distance", "none"] = Field(
        "distance", description="How images unlike the training images are told."
    )
    known_rate: float = Field(
        0.99, gt=0, le=1, description="Fraction of the eval images that are known."
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
    budget_seconds: float | None = Field(
        None,
        gt=0,
        description="Wall time of a whole run, from its start to the push (of `slimworks train`: "
        "its own), as --budget gives it: as many steps as fit are trained, at most those of "
        "max_number_of_steps or epochs; null: no limit.",
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
    num_epochs_per_decay: float | None = Field(
        None,
        gt=0,
        description="Epochs per factor of the exponential decay (null: 2), or until a polynomial "
        "or cosine decay is at its end (null: all; TF-Slim: 2).",
    )
    warmup_epochs: float | None = Field(
        None,
        ge=0,
        description="Linear warm-up from 0, in epochs; null: 1, at most a fifth of the training.",
    )
    head_epochs: float | None = Field(
        None,
        ge=0,
        description="Of the epochs, how many first train nothing but what the checkpoint lacks "
        "(the head), where it lacks something and no trainable_scopes are set; null: a quarter, at "
        "least 1 (of short trainings half), at most 5; 0: none, as in TF-Slim.",
    )
    layer_learning_rates: Literal["auto", "equal"] | dict[str, float] = Field(
        "auto",
        description="Factors of the learning rate by scope (regular expressions from the start; "
        "the first that matches counts; 0 freezes; 1 where none matches). auto: with a new head "
        "on a checkpoint's layers, 0.02 for the first to 0.2 for the last of these; equal: 1 for "
        "all, as in TF-Slim.",
    )
    moving_average_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Keeps exponential moving averages of all variables, which are evaluated and "
        "exported in their place; null: none.",
    )
    early_stopping_epochs: int | None = Field(
        None,
        ge=1,
        description="Stops after so many epochs without a better evaluation; null: never. The best "
        "model is exported in any case.",
    )
    quantize_delay: int = Field(
        -1, description="TF-Slim's quantization-aware training: not to be had, so always negative."
    )
    weight_decay: float = Field(0.00004, ge=0, description="L2 factor: factor * sum(w^2) / 2.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Main and auxiliary loss.")
    balance: Balance = Field(
        "none",
        description="What to do about classes with few images: weights (each counts more in the "
        "loss), sample (each is drawn more often), focal (images that are recognised already count "
        "less).",
    )
    focal_gamma: float = Field(
        2.0, ge=0, le=10, description="How much less, with balance: focal; 0 is cross entropy."
    )
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
    # Where only the head trains, the layers before it make the same of an image in every epoch.
    cache_features: Literal["auto"] | bool = Field(
        "auto",
        description="Run frozen layers once an image and train on their output, which is kept in "
        "the work folder; images are not augmented then. auto: while only the head trains, unless "
        "`augmentation` differs from its defaults. true: wherever the first layers are frozen.",
    )
    feature_cache_gb: float = Field(
        10.0, gt=0, description="Disk space of these outputs; the longest unused go first."
    )
    num_readers: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Images that are read at the same time; null: tf.data chooses. TF-Slim: 4.",
    )
    num_preprocessing_threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Images that are prepared at the same time; null: tf.data chooses. TF-Slim: 4.",
    )
    seed: int = Field(0, ge=0, description="Seeds initial values, order and distortions.")
    deterministic: bool = Field(
        False,
        description="Every operation gives the same bits each time: trainings of the same inputs "
        "on the same kind of machine are equal to the last bit, killed and resumed ones too.",
    )
    # Opt-in: its accuracy has not been shown to be equal; docs/performance.md has its speed.
    bfloat16: bool = Field(
        False,
        description="Multiply in bfloat16 while training: faster on processors that have "
        "instructions for it (`slimworks doctor`), less exact. The model stays float32.",
    )
    log_every_n_steps: int = Field(10, ge=1, description="Steps between lines of metrics.jsonl.")
    save_summaries_secs: float = Field(
        0.0,
        ge=0,
        description="Least seconds between TensorBoard's training scalars; 0: as often as "
        "metrics.jsonl.",
    )
    profile_steps: tuple[int, int] | None = Field(
        None,
        description="TensorBoard's profiler runs from the first to the second of these steps, such "
        "as [10, 20]; null: never.",
    )
    save_interval_secs: float = Field(
        30.0, ge=0, description="Least seconds between checkpoints; one is written at the end too."
    )

    distribution: DistributionKind = Field(
        "none",
        description="Who trains: none (one process, one device), mirrored (all GPUs of this "
        "machine), multi_worker (several processes, together), parameter_server (several, each "
        "for itself, as TF-Slim's without sync_replicas).",
    )
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Processes that train, with multi_worker or parameter_server: on this machine, "
        "or pods of a TFJob. TF_CONFIG, where it is set, must agree.",
    )
    parameter_servers: int = Field(
        1, ge=1, le=64, description="Processes that hold the variables, with parameter_server."
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _no_deployment_flags(cls, values: Any) -> Any:
        if isinstance(values, dict):
            refuse_deployment_flags(values)
        return values

    @pydantic.model_validator(mode="after")
    def _distribution_fits(self) -> TrainConfig:
        if self.workers > 1 and self.distribution not in ("multi_worker", "parameter_server"):
            raise ConfigError(
                f"train.workers is {self.workers}, but train.distribution is {self.distribution}.",
                "Set train.distribution=multi_worker; mirrored uses all GPUs in one process.",
            )
        if self.deterministic and self.distribution == "parameter_server":
            raise ConfigError(
                "train.deterministic is true, but with train.distribution=parameter_server the "
                "order of updates depends on which worker is faster.",
                "Set train.distribution=multi_worker, or train.deterministic=false.",
            )
        return self

    @pydantic.model_validator(mode="after")
    def _budget_of_one_process(self) -> TrainConfig:
        if self.budget_seconds is not None and self.distribution not in ("none", "mirrored"):
            raise ConfigError(
                f"A time budget does not go with train.distribution={self.distribution}: "
                "processes would plan different numbers of steps.",
                "Leave the budget out and set train.max_number_of_steps.",
            )
        return self

    @pydantic.field_validator("checkpoint_name_map")
    @classmethod
    def _valid_name_map(cls, name_map: dict[str, str]) -> dict[str, str]:
        parse_name_map(name_map)
        return name_map

    @pydantic.field_validator("profile_steps")
    @classmethod
    def _valid_profile(cls, steps: tuple[int, int] | None) -> tuple[int, int] | None:
        if steps is not None and not 0 <= steps[0] < steps[1]:
            raise ConfigError(
                f"train.profile_steps is {list(steps)}, expected [from, to] with 0 <= from < to.",
                "Give a few steps after the first ones: --set train.profile_steps=[10,20]",
            )
        return steps

    @pydantic.field_validator("quantize_delay")
    @classmethod
    def _no_quantization(cls, delay: int) -> int:
        if delay >= 0:
            raise ConfigError(
                f"train.quantize_delay is {delay}, but TensorFlow 2 has no tf.contrib.quantize, "
                "which TF-Slim rewrites its training graph with.",
                "Leave it out and quantize the trained model: slimworks export --help",
            )
        return delay

    @pydantic.field_validator("layer_learning_rates")
    @classmethod
    def _valid_factors(cls, rates: str | dict[str, float]) -> str | dict[str, float]:
        for scope, factor in rates.items() if isinstance(rates, dict) else ():
            _require_expression("train.layer_learning_rates", scope)
            if not 0 <= factor < math.inf:
                raise ConfigError(
                    f"train.layer_learning_rates: the factor of {scope!r} is {factor}, expected a "
                    "number of at least 0.",
                    "Write 0.1 for a tenth of the learning rate, 0 to freeze.",
                )
        return rates

    @pydantic.field_validator("trainable_scopes")
    @classmethod
    def _valid_scopes(cls, scopes: list[str] | None) -> list[str] | None:
        for scope in scopes or ():
            _require_expression("train.trainable_scopes", scope)
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


def _require_expression(setting: str, scope: str) -> None:
    try:
        re.compile(scope)
    except re.error as error:
        raise ConfigError(
            f"{setting}: {scope!r} is no regular expression: {error}.",
            "Mend it; a plain scope such as InceptionV3/Logits needs no signs.",
        ) from None
