"""A step in micro-batches, one after the other: the memory of one, the gradients of all.

Losses, L2 terms and dropout masks are those of the whole batch. Batch norm is not: it normalises
each micro-batch by its own statistics, and its moving averages are updated once for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from slimworks.components.nets import randomness
from slimworks.components.trainer.dataset import Batch

# A part of a batch -> its terms of the gradients and of the metrics.
GradientsOf = Callable[[Batch], tuple[Sequence[tf.Tensor | None], Sequence[tf.Tensor]]]


def accumulate(
    gradients_of: GradientsOf,
    batch: Batch,
    *,
    micro_batch_size: int,
    variables: Sequence[tf.Variable],
    num_metrics: int,
    first_image: tf.Tensor | int = 0,
) -> tuple[list[tf.Tensor | None], list[tf.Tensor]]:
    """Adds up gradients and metrics over the micro-batches of a batch; call it while tracing.

    Args:
        gradients_of: Called once, to build the computation of one micro-batch.
        batch: Of a known size.
        micro_batch_size: Images at a time; the last time may have fewer.
        variables: What the gradients are of; a gradient may be None.
        num_metrics: How many scalars `gradients_of` returns.
        first_image: Position of the batch's first image in the batch of all replicas.
    """
    batch_size = int(batch.inputs.shape[0])
    is_connected = [True] * len(variables)

    def add(start: tf.Tensor, *sums: tf.Tensor) -> list[tf.Tensor]:
        part = _part(batch, start, micro_batch_size)
        with randomness.images_from(first_image + tf.cast(start, tf.int64)):
            gradients, metrics = gradients_of(part)
        is_connected[:] = [gradient is not None for gradient in gradients]
        terms = [
            tf.zeros_like(total) if term is None else tf.convert_to_tensor(term)
            for total, term in zip(sums, [*gradients, *metrics], strict=True)
        ]
        added = [total + term for total, term in zip(sums, terms, strict=True)]
        return [start + micro_batch_size, *added]

    zeros = [tf.zeros(variable.shape, variable.dtype) for variable in variables]
    _, *sums = tf.while_loop(
        lambda start, *_: start < batch_size,
        add,
        [tf.constant(0), *zeros, *[tf.constant(0.0)] * num_metrics],
        parallel_iterations=1,  # ten at once would need the memory of ten
    )
    found = zip(sums[: len(variables)], is_connected, strict=True)
    return [total if connected else None for total, connected in found], sums[len(variables) :]


def _part(batch: Batch, start: tf.Tensor, size: int) -> Batch:
    """Images `start` .. `start + size`, or to the end."""
    parts = [tensor[start : start + size] for tensor in batch]
    if batch.inputs.shape[0] % size == 0:
        parts = [tf.ensure_shape(part, [size, *part.shape[1:]]) for part in parts]
    return Batch(*parts)
