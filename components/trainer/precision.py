"""bfloat16 on processors: oneDNN multiplies in it; variables and sums stay float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from slimworks.components import processor
from slimworks.components.errors import ConfigError

_OPTION = "auto_mixed_precision_onednn_bfloat16"


@contextlib.contextmanager
def bfloat16_if(is_wanted: bool) -> Iterator[None]:
    """Functions that run within multiply in bfloat16. Of this process; not of its GPUs.

    Args:
        is_wanted: `train.bfloat16`; otherwise nothing is changed.

    Raises:
        ConfigError: This processor has no instructions for it: it would be slower.
    """
    if not is_wanted:
        yield
        return
    flags = processor.cpu_flags()
    if flags and not flags & processor.BFLOAT16_FLAGS:
        raise ConfigError(
            "train.bfloat16 is set, but this processor has neither avx512_bf16 nor amx_bf16.",
            "Leave it out, or train on a machine where `slimworks doctor` lists one of them.",
        )
    # Functions are made ready again for each setting, and these are kept.
    tf.config.optimizer.set_experimental_options({_OPTION: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_OPTION: False})
