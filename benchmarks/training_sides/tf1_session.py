"""Side of training_speed.py: TF-Slim's way, a TF1 graph and a session."""

from __future__ import annotations

import protocol
import sklearn.metrics  # noqa: F401  # tf_slim imports it; our way to import tf_slim does not
import tensorflow as tf

from slimworks.components.nets import nets_factory
from slimworks.components.nets.slim import slim

tf1 = tf.compat.v1


def main() -> None:
    """Trains as TF-Slim's train_image_classifier.py does, without its queues and summaries."""
    wanted = protocol.options()
    turns = protocol.turns(wanted)
    num_steps = next(turns)
    noise = protocol.noise(wanted)
    with tf.Graph().as_default():
        tf1.train.get_or_create_global_step()
        # Not constants, which the graph's optimizer would look into.
        batches = tf.data.Dataset.from_tensors(noise).repeat()
        images, targets = tf1.data.make_one_shot_iterator(batches).get_next()
        network = nets_factory.get_network_fn(
            wanted.net, wanted.num_classes, weight_decay=4e-5, is_training=True
        )
        logits, end_points = network(images)
        if "AuxLogits" in end_points:
            tf1.losses.softmax_cross_entropy(targets, end_points["AuxLogits"], weights=0.4)
        tf1.losses.softmax_cross_entropy(targets, logits)
        train = slim.learning.create_train_op(
            tf1.losses.get_total_loss(), tf1.train.MomentumOptimizer(1e-3, 0.9)
        )
        threads = tf1.ConfigProto(
            intra_op_parallelism_threads=wanted.threads, inter_op_parallelism_threads=wanted.threads
        )
        with tf1.Session(config=threads) as session:
            session.run(tf1.global_variables_initializer())
            while num_steps:
                for _ in range(num_steps):
                    session.run(train)
                num_steps = next(turns, 0)


main()
