"""Side of training_speed.py: Keras Applications and `fit`."""

from __future__ import annotations

import importlib
from typing import Any

import protocol
import tensorflow as tf

NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "inception_v3": ("InceptionV3", {}),
    "mobilenet_v1": ("MobileNet", {}),
    "mobilenet_v1_025": ("MobileNet", {"alpha": 0.25}),
    "resnet_v1_50": ("ResNet50", {}),
    "vgg_16": ("VGG16", {}),
}


def main() -> None:
    """Trains a network of Keras Applications on one batch, again and again."""
    wanted = protocol.options()
    keras = importlib.import_module(wanted.more["keras"])
    name, net_options = NETS[wanted.net]
    turns = protocol.turns(wanted)
    next(turns)
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=(wanted.image_size, wanted.image_size, 3),
        classes=wanted.num_classes,
        classifier_activation=None,
        **net_options,
    )
    batch = tuple(tf.constant(values) for values in protocol.noise(wanted))
    data = tf.data.Dataset.from_tensors(batch).repeat()
    compile_model(keras, model, 1)
    model.fit(data, steps_per_epoch=1, verbose=0)
    compile_model(keras, model, wanted.more["steps_per_execution"])
    for num_steps in turns:
        model.fit(data, steps_per_epoch=num_steps, verbose=0)


def compile_model(keras: Any, model: Any, steps_per_execution: int) -> None:
    """Sets up `fit`. XLA is off: on CPUs it is much slower."""
    model.compile(
        optimizer=keras.optimizers.SGD(1e-3, momentum=0.9),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
        jit_compile=False,
    )


main()
