from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components import processor
from slimworks.components.errors import ConfigError
from slimworks.components.trainer.precision import bfloat16_if


def _convolve() -> np.ndarray:
    images = tf.random.stateless_uniform([2, 16, 16, 32], [0, 0])
    weights = tf.random.stateless_uniform([3, 3, 32, 32], [0, 1])
    return _convolution(images, weights).numpy()


@tf.function(autograph=False)
def _convolution(images: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu(tf.nn.conv2d(images, weights, 1, "SAME"))


@pytest.mark.skipif(
    not processor.cpu_flags() & processor.BFLOAT16_FLAGS, reason="no bfloat16 instructions here"
)
def test_bfloat16_changes_results_within_only() -> None:
    before = _convolve()
    with bfloat16_if(True):
        within = _convolve()
    after = _convolve()
    np.testing.assert_array_equal(after, before)
    assert not np.array_equal(within, before)
    np.testing.assert_allclose(within, before, rtol=0.02)


def test_nothing_changes_unless_asked_for() -> None:
    before = _convolve()
    with bfloat16_if(False):
        np.testing.assert_array_equal(_convolve(), before)


def test_processor_without_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "cpu_flags", lambda: frozenset({"avx2"}))
    with pytest.raises(ConfigError) as caught, bfloat16_if(True):
        pass
    assert caught.value.cause == (
        "train.bfloat16 is set, but this processor has neither avx512_bf16 nor amx_bf16."
    )
    assert "slimworks doctor" in caught.value.fix
