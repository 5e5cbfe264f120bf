"""Answers of the finished network to some eval images, by the path that training reads.

The evaluator holds the exported model against them (evaluator/as_trained.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from slimworks.components.trainer import dataset
from slimworks.components.trainer.training import Training

# Any fault of preparation or weights shows on a few images; one batch costs next to nothing.
NUM_IMAGES = 32


def trained_answers(training: Training) -> dict[str, Any]:
    """Content of trained_answers.json: "image_ids" [N] and "probabilities" [N][K], uncalibrated.

    The network has the weights that are exported: call it where they are applied.
    """
    network = tf.function(
        lambda inputs: tf.nn.softmax(training.module.forward(inputs, is_training=False).logits),
        autograph=False,
    )
    found: dict[str, Any] = {"image_ids": [], "probabilities": []}
    for batch in dataset.eval_batches(training.examples, "eval", NUM_IMAGES).take(1):
        probabilities = network(batch.inputs).numpy()
        if np.isfinite(probabilities).all():  # NaN: the gate finds it by itself, JSON has none
            found["image_ids"] = [image_id.decode() for image_id in batch.ids.numpy()]
            found["probabilities"] = [[round(float(p), 7) for p in row] for row in probabilities]
    return found
