"""How equal two trainings of the same inputs and settings are.

none       Parameter servers: the order of updates is that of the fastest worker.
seeded     Initial values, order of the images, distortions and masks of dropout are functions of
           `train.seed` and the step. TensorFlow may add up in another order each time; the
           difference of a rounding grows with the steps.
bit-equal  Besides, every operation gives the same bits each time. Holds for one build of TensorFlow
           on one kind of machine with the same number of threads, and for a training that was
           killed and went on. Not where the watchdog or a lack of memory interfered: what they do
           depends on when a checkpoint was due; nor under a time budget: a clock ends its phases.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.framework import config as tf_config

NOT_EQUAL, SEEDED, BIT_EQUAL = "none", "seeded", "bit-equal"


def make_deterministic() -> None:
    """Operations of this process give the same bits each time; there is no way back."""
    tf.config.experimental.enable_op_determinism()


def determinism_facts(
    num_repairs: int, *, is_asynchronous: bool = False, has_budget: bool = False
) -> dict[str, Any]:
    """What to write down of a training of this process.

    Args:
        num_repairs: How often the watchdog or a lack of memory interfered.
        is_asynchronous: Workers updated the variables without an order.
        has_budget: A clock ended the phases, and so bent the learning rates.
    """
    is_enabled = bool(tf_config.is_op_determinism_enabled())
    is_repeatable = is_enabled and num_repairs == 0 and not has_budget
    seeded = BIT_EQUAL if is_repeatable else SEEDED
    return {
        "level": NOT_EQUAL if is_asynchronous else seeded,
        "op_determinism": is_enabled,
        "num_repairs": num_repairs,
    }
