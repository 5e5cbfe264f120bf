"""Which example comes when: a function of the seed and the epoch, so that nothing is remembered.

Every worker, and every attempt after a kill, computes the same order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

# Epoch int64 [] -> numbers of examples int64 [D], those of the epoch first.
Order = Callable[[tf.Tensor], tf.Tensor]


def shuffled_order(num_examples: int, seed: int) -> Order:
    """Every example once an epoch; each of the possible orders is as likely."""

    def order(epoch: tf.Tensor) -> tf.Tensor:
        return tf.random.experimental.stateless_shuffle(
            tf.range(num_examples, dtype=tf.int64), seed=tf.stack([seed, epoch])
        )

    return order


def balanced_order(class_indices: np.ndarray, num_draws: int, seed: int) -> Order:
    """Every class as often as any other (`balance: sample`).

    The draws go round the classes, each round in another order. Within a class they go round its
    examples, each round in another order and on from one epoch to the next: no example comes an
    n-th time before the others of its class came n - 1 times.

    Args:
        class_indices: Class of each example, integers [M].
        num_draws: Least number of draws an epoch.
        seed: Of all orders.
    """
    numbers = np.argsort(class_indices, kind="stable")  # of the examples, sorted by class
    counts = np.unique(class_indices, return_counts=True)[1]
    starts = np.cumsum(counts) - counts
    num_rounds = -(-num_draws // len(counts))

    def order(epoch: tf.Tensor) -> tf.Tensor:
        draws = tf.map_fn(
            lambda group: _draws(group[0], group[1], epoch * num_rounds, num_rounds, seed),
            (tf.range(len(counts), dtype=tf.int64), tf.constant(counts, tf.int64)),
            fn_output_signature=tf.TensorSpec([num_rounds], tf.int64),
        )
        places = tf.constant(starts, tf.int64)[:, tf.newaxis] + draws  # [classes, rounds]
        keys = tf.random.stateless_uniform(
            [num_rounds, len(counts)], tf.random.fold_in(tf.stack([seed, epoch]), -1)
        )
        by_round = tf.gather(tf.transpose(places), tf.argsort(keys), batch_dims=1)
        return tf.gather(tf.constant(numbers, tf.int64), tf.reshape(by_round, [-1]))

    return order


def _draws(
    group: tf.Tensor, count: tf.Tensor, first: tf.Tensor, num_draws: int, seed: int
) -> tf.Tensor:
    """Draws number `first` .. `first + num_draws - 1` of one class: int64 [num_draws] < count."""
    first_pass, last_pass = first // count, (first + num_draws - 1) // count
    passes = tf.map_fn(
        lambda number: tf.random.experimental.stateless_shuffle(
            tf.range(count), seed=tf.random.fold_in(tf.stack([seed, group]), number)
        ),
        tf.range(first_pass, last_pass + 1),
    )
    start = first - first_pass * count
    return tf.ensure_shape(tf.reshape(passes, [-1])[start : start + num_draws], [num_draws])
