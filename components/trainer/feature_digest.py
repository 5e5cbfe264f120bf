"""What a row of features depends on besides the image."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

import slimworks
from slimworks.components.checkpoints.digests import digest_of_variables
from slimworks.components.nets.cut import Cut
from slimworks.components.nets.module import SlimModule
from slimworks.components.trainer.dataset import StoredExamples


@dataclasses.dataclass(frozen=True)
class FeatureKind:
    """One way to make features.

    Attributes:
        about: For people, and for the digest.
        digest: Of all that features depend on, but for the image.
    """

    about: dict[str, Any]
    digest: str


def feature_kind(parts: Cut, module: SlimModule, examples: StoredExamples) -> FeatureKind:
    """Describes the features that `parts` makes of the examples as they are now."""
    about = {
        "slimworks": slimworks.__version__,  # photos are decoded and stored by its rules
        "net": module.spec.name,
        "image_size": examples.image_size,
        "floats": parts.width,
        "preprocessing": {
            "family": examples.preprocessing.family,
            "stored_size": examples.stored_size,
            "num_channels": examples.num_channels,
            "operations": _digest_of_operations(_preparation(examples)),
        },
        "backbone": {
            "operations": _digest_of_operations(parts.operations),
            "weights": digest_of_variables(parts.backbone),
        },
    }
    text = json.dumps(about, sort_keys=True)
    return FeatureKind(about, hashlib.sha256(text.encode()).hexdigest())


def _preparation(examples: StoredExamples) -> list[Any]:
    """Operations that turn stored images into the network's input."""
    size, num_channels = examples.stored_size, examples.num_channels
    with tf.Graph().as_default() as graph:
        stored = tf.compat.v1.placeholder(tf.uint8, [None, size, size, num_channels])
        examples.preprocessing.for_eval(stored, examples.image_size)
    return list(graph.as_graph_def().node)


def _digest_of_operations(nodes: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for node in nodes:
        digest.update(node.SerializeToString(deterministic=True))
    return digest.hexdigest()
