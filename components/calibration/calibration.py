"""What an exported model needs besides its network to say how sure it is, and when to abstain."""

from __future__ import annotations

import dataclasses

import numpy as np

from slimworks.components.calibration.known import Method


@dataclasses.dataclass(frozen=True, eq=False)
class KnownRule:
    """When an image counts as one of the kind that was trained on.

    Attributes:
        method: What is compared with the threshold: the best calibrated probability, the energy of
            the logits (known.energy), or the distance of the embedding (known.distance).
        threshold: Known from it on; of a distance: up to it.
        class_means: Of the method distance, float32 [K, D] (known.class_means).
    """

    method: Method
    threshold: float
    class_means: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """Applied to logits [N, K] and embeddings [N, D] of the network.

    Attributes:
        temperature: Probabilities are softmax(logits / temperature).
        thresholds: By class index: an answer of that class counts from this probability on; None
            within: it never does. None: every answer counts.
        known: None: every image is known.
    """

    temperature: float = 1.0
    thresholds: tuple[float | None, ...] | None = None
    known: KnownRule | None = None
