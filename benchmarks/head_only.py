"""Ten epochs of head-only training on cached features, against one forward pass over the images.

Sides, on the same stored images, in CPU seconds, reading and preprocessing included:

* forward: one pass over both splits in inference mode, with the tracing that it takes;
* cached: the network is cut, features are computed and written, and the head trains ten epochs on
  them, with an evaluation after each;
* images: the same epochs with frozen layers in inference mode, but through the whole network;
* tf_slim: TF-Slim's way, one TF1 graph in training mode with the head's variables to train.

The last two are measured over `--slow-epochs` and scaled to ten. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import numpy as np
import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.nets import nets_factory
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.preprocessing import serialization
from slimworks.components.preprocessing.families import get_preprocessing
from slimworks.components.trainer import steps
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.dataset import StoredExamples
from slimworks.components.trainer.features import feature_feed
from slimworks.components.trainer.feeds import Feed, image_feed
from slimworks.components.trainer.losses import training_loss
from slimworks.components.trainer.optimizers import Optimizer

EPOCHS, NUM_CLASSES, RATE = 10, 5, 0.01
CONFIG = TrainConfig.model_validate({"augmentation": {"enabled": False}})


def _example(image_id: int, pixels: np.ndarray) -> bytes:
    def text(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    label = tf.train.Int64List(value=[image_id % NUM_CLASSES])
    features = {
        contracts.IMAGE_PIXELS: text(serialization.serialize_stored(tf.constant(pixels)).numpy()),
        contracts.IMAGE_ID: text(b"%064d" % image_id),
        contracts.CLASS_INDEX: tf.train.Feature(int64_list=label),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_examples(folder: Path, net: str, image_size: int, num_images: int) -> StoredExamples:
    """Random images, nine tenths of them in the train split."""
    preprocessing = get_preprocessing(get_net(net).preprocessing)
    size = preprocessing.stored_size(image_size)
    random = np.random.default_rng(0)
    num_eval = max(num_images // 10, 1)
    for split, ids in (("eval", range(num_eval)), ("train", range(num_eval, num_images))):
        target = contracts.split_folder(folder, split)
        target.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(target / "data_tfrecord-00000-of-00001")) as writer:
            for image_id in ids:
                pixels = random.integers(0, 256, (size, size, 3), np.uint8)
                writer.write(_example(image_id, pixels))
    return StoredExamples(str(folder), size, 3, image_size, preprocessing, NUM_CLASSES)


def _plan(examples: StoredExamples, epochs: int) -> dict[str, int]:
    batch_size = min(CONFIG.batch_size, examples.count("train"))
    per_epoch = examples.count("train") // batch_size
    return {
        "batch_size": batch_size,
        "steps_per_epoch": per_epoch,
        "first_step": 0,
        "num_steps": per_epoch * epochs,
    }


class Head:
    """A module and the head's variables."""

    def __init__(self, net: str, image_size: int) -> None:
        self.module = SlimModule(get_net(net), NUM_CLASSES, image_size, 3, CONFIG.weight_decay)
        scopes = self.module.spec.head_scopes
        self.variables = {
            name: variable
            for name, variable in self.module.trainable_by_name.items()
            if name.startswith(scopes) and "Aux" not in name
        }

    def train(self, feed: Feed, examples: StoredExamples, epochs: int) -> None:
        """Trains, and evaluates after each epoch."""
        variables = list(self.variables.values())
        optimizer = Optimizer(CONFIG, self.variables, dict.fromkeys(self.variables, 1.0))
        optimizer.learning_rate.assign(RATE)
        plan = _plan(examples, epochs)
        loss = training_loss(CONFIG, list)
        step = steps.TrainStep(feed.forward, loss, variables, optimizer, plan["batch_size"])
        traced = tf.function(step, autograph=False)
        eval_step = steps.eval_step_of(feed.logits)
        for number, batch in enumerate(feed.train_batches(**plan), start=1):
            traced(batch, tf.constant(number, tf.int64))
            if number % plan["steps_per_epoch"] == 0:
                steps.evaluate_split(eval_step, feed.eval_batches(64))


def forward_pass(head: Head, examples: StoredExamples) -> None:
    """Every image of both splits once."""
    feed = image_feed(examples, CONFIG, head.module, ())
    logits = tf.function(feed.logits, autograph=False, reduce_retracing=True)
    whole_batches = feed.train_batches(**_plan(examples, 1))
    for batches in (whole_batches, feed.eval_batches(64)):
        for batch in batches:
            logits(batch.inputs)


def train_cached(head: Head, examples: StoredExamples, root: Path) -> None:
    """The head on features that are computed and written first."""
    feed = feature_feed(
        examples, CONFIG, head.module, head.variables, root, num_epochs=EPOCHS, is_alone=True
    )
    assert feed is not None
    head.train(feed, examples, EPOCHS)


def train_on_images(head: Head, examples: StoredExamples, epochs: int) -> None:
    """The head behind the whole network."""
    feed = image_feed(examples, CONFIG, head.module, head.variables)
    head.train(feed, examples, epochs)


def train_as_tf_slim(net: str, batches: Iterable[Any], image_size: int) -> None:
    """TF-Slim's own way; without its evaluation, which is another program."""
    tf1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        images = tf1.placeholder(tf.float32, [None, image_size, image_size, 3])
        targets = tf1.placeholder(tf.float32, [None, NUM_CLASSES])
        build = nets_factory.get_network_fn(net, NUM_CLASSES, CONFIG.weight_decay, is_training=True)
        tf1.losses.softmax_cross_entropy(targets, build(images)[0])
        scopes = get_net(net).head_scopes
        trained = [v for v in tf1.trainable_variables() if v.op.name.startswith(scopes)]
        optimizer = tf1.train.MomentumOptimizer(RATE, CONFIG.momentum)
        update = optimizer.minimize(
            tf1.losses.get_total_loss(), var_list=[v for v in trained if "Aux" not in v.op.name]
        )
        step = tf.group(update, *tf1.get_collection(tf1.GraphKeys.UPDATE_OPS))
        start = tf1.global_variables_initializer()
    # Not `with session`: that would make its graph the default, and tf.data needs the eager mode.
    with contextlib.closing(tf1.Session(graph=graph)) as session:
        session.run(start)
        for batch in batches:
            values = {images: batch.inputs.numpy(), targets: batch.targets.numpy()}
            session.run(step, values)


def _seconds(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measure_round(
    options: argparse.Namespace, examples: StoredExamples, root: Path
) -> dict[str, float]:
    """Runs every side once; CPU seconds."""
    net, size, slow = options.net, examples.image_size, options.slow_epochs
    head = Head(net, size)
    found = {
        "forward": _seconds(lambda: forward_pass(head, examples)),
        "cached": _seconds(lambda: train_cached(head, examples, root)),
    }
    if slow:
        found["images"] = _seconds(lambda: train_on_images(head, examples, slow)) * EPOCHS / slow
        batches = image_feed(examples, CONFIG, head.module, ()).train_batches(
            **_plan(examples, slow)
        )
        found["tf_slim"] = _seconds(lambda: train_as_tf_slim(net, batches, size)) * EPOCHS / slow
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", default="mobilenet_v1")
    parser.add_argument("--image-size", type=int, help="by default the net's own")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--slow-epochs", type=int, default=1, help="0 leaves the slow sides out")
    options = parser.parse_args()
    image_size = options.image_size or get_net(options.net).default_image_size
    rounds = []
    with tempfile.TemporaryDirectory(prefix="slimworks-bench-") as folder:
        examples = write_examples(Path(folder) / "stored", options.net, image_size, options.images)
        for number in range(options.repeats):
            rounds.append(measure_round(options, examples, Path(folder) / f"features{number}"))
    ratios = [one["cached"] / one["forward"] for one in rounds]
    result = {
        "benchmark": "head_only",
        "ratio": round(statistics.median(ratios), 3),
        "against": "one forward pass over the same images, CPU seconds, same run",
        "net": options.net,
        "image_size": image_size,
        "images": options.images,
        "epochs": EPOCHS,
        "repeats": options.repeats,
        "cpu_seconds": {
            key: round(statistics.median(one[key] for one in rounds), 1) for key in rounds[0]
        },
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
