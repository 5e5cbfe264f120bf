"""The settings of NASNet and PNASNet, settable as TF-Slim's users set them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(kw_only=True)
class HParams:
    """What one network of the family consists of; stands in for `tf.contrib.training.HParams`.

    Attributes:
        stem_multiplier: Factor on the channels of the stem's convolution, > 0.
        drop_path_keep_prob: Fraction of the paths that the last cell keeps at the end of training,
            in (0, 1]; 1 for no drop path.
        num_cells: Number of cells after the stem, NASNet's reduction cells not counted.
        use_aux_head: Training adds an auxiliary head.
        num_conv_filters: Channels of each operation in the first cells.
        dense_dropout_keep_prob: Fraction of the pooled features that training keeps, in (0, 1].
        filter_scaling_rate: Factor on the channels at every reduction.
        num_reduction_layers: Number of times that the resolution is halved after the stem.
        data_format: "NHWC", or "NCHW": TensorFlow builds it everywhere and runs it on GPUs only.
            Images are [N, H, W, C] in both cases, end points are in this format.
        skip_reduction_layer_input: The cell after a reduction takes its second input from two cells
            before the reduction instead of from the one before.
        total_training_steps: Optimiser updates after which drop path has its full strength.
        use_bounded_activation: ReLU6 instead of ReLU, and clipped sums, for quantised inference.
    """

    stem_multiplier: float
    drop_path_keep_prob: float
    num_cells: int
    use_aux_head: bool = True
    num_conv_filters: int
    dense_dropout_keep_prob: float
    filter_scaling_rate: float = 2.0
    num_reduction_layers: int = 2
    data_format: str = "NHWC"
    skip_reduction_layer_input: bool
    total_training_steps: int = 250_000
    use_bounded_activation: bool = False

    def set_hparam(self, name: str, value: Any) -> None:
        """Sets one attribute by name; 0 and 1 stand for False and True.

        Raises:
            ValueError: No attribute has this name, or the value is of another type.
        """
        known = [field.name for field in dataclasses.fields(self)]
        if name not in known:
            raise ValueError(f"Unknown hyperparameter {name!r}, known: {', '.join(known)}.")
        kind = type(getattr(self, name))
        if isinstance(value, str) != (kind is str) or kind(value) != value:
            raise ValueError(f"{name} is {value!r}, expected a value of type {kind.__name__}.")
        setattr(self, name, kind(value))

    def values(self) -> dict[str, Any]:
        """Returns all settings by name."""
        return dataclasses.asdict(self)

    def override_from_dict(self, values: Mapping[str, Any]) -> HParams:
        """Sets several attributes by name, as `set_hparam` does, and returns itself."""
        for name, value in values.items():
            self.set_hparam(name, value)
        return self


def resolve(config: HParams | None, default: HParams, is_training: bool) -> HParams:
    """Returns the settings to build with, as a copy; paths are dropped in training only.

    Raises:
        ValueError: Unknown data format.
    """
    hparams = copy.copy(default if config is None else config)
    if hparams.data_format not in ("NHWC", "NCHW"):
        raise ValueError(f"data_format is {hparams.data_format!r}, expected 'NHWC' or 'NCHW'.")
    if not is_training:
        hparams.drop_path_keep_prob = 1.0
    return hparams
