"""Asynchronous training: workers update variables that parameter servers hold, each for itself.

As TF-Slim's with `num_ps_tasks` and without `sync_replicas`: a worker's gradients are applied to
values that others may have changed since it read them, so that no two runs are equal. The chief
hands out the steps, evaluates and writes.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from slimworks.components.trainer import steps
from slimworks.components.trainer.cluster import Cluster
from slimworks.components.trainer.dataset import Batch
from slimworks.components.trainer.distribution import (
    Distribution,
    MakeBatches,
    ReplicaEvalStep,
    ReplicaStep,
    resolver_of,
)


class ParameterServers(Distribution):
    """The chief's view: a step is only handed out, `settle` waits for all of them.

    Each worker reads all images, in an order of its own; each step takes one worker's batch.
    """

    is_asynchronous = True

    def __init__(self, cluster: Cluster) -> None:
        # Without the cluster: there is no other process that decides or writes anything.
        super().__init__(tf.distribute.ParameterServerStrategy(resolver_of(cluster)))
        self._num_workers = cluster.num_workers
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(self.strategy)

    @property
    def facts(self) -> dict[str, Any]:
        """What to write down of it."""
        return {
            **super().facts,
            "num_workers": self._num_workers,
            "batch_norm": "each worker's own batch; one moving average, which all update",
        }

    def batches(self, make: MakeBatches, first_step: int, num_steps: int) -> Iterator[Any]:
        """Yields for each step a batch whose inputs are still the workers' datasets."""

        def of_worker(_: tf.distribute.InputContext) -> tf.data.Dataset:
            # Traced once for all workers, which draw their numbers.
            sequence = tf.random.uniform([], 1, 2**31, tf.int64)
            # A worker may have to do the others' steps too.
            return make(num_steps=first_step + _MOST_STEPS, sequence=sequence)

        dataset = self.strategy.distribute_datasets_from_function(of_worker)
        iterators = iter(self._coordinator.create_per_worker_dataset(dataset))
        ids = tf.constant([], tf.string)  # the workers know them
        for _ in range(first_step, num_steps):
            yield Batch(iterators, None, ids)

    def train_function(self, step: ReplicaStep) -> Callable[[Any, tf.Tensor], steps.BatchMetrics]:
        """Returns (what `batches` yields, step number) -> metrics that wait when they are read."""
        under_way: collections.deque[Any] = collections.deque()

        def replica_step(batch: Batch, number: tf.Tensor) -> tf.Tensor:
            return tf.stack(step(batch, number))

        @tf.function(autograph=False)
        def train_step(iterator: Any, number: tf.Tensor) -> tf.Tensor:
            return self.strategy.run(replica_step, args=(Batch(*next(iterator)), number))

        def hand_out(batch: Batch, number: tf.Tensor) -> steps.BatchMetrics:
            if len(under_way) >= _STEPS_PER_WORKER * self._num_workers:
                under_way.popleft().fetch()
            result = self._coordinator.schedule(train_step, args=(batch.inputs, number))
            under_way.append(result)
            return steps.BatchMetrics(*(_Remote(result, at) for at in range(_NUM_METRICS)))

        return hand_out

    def evaluate(self, eval_step: ReplicaEvalStep, batches: tf.data.Dataset) -> steps.SplitMetrics:
        """The chief evaluates, with the values that the servers hold."""
        return steps.evaluate_split(eval_step, batches)

    def settle(self, variables: Mapping[str, tf.Variable]) -> None:
        """Waits for the steps that were handed out. There is one value of each variable."""
        self._coordinator.join()


# Handed out before the oldest is waited for: a slow worker holds up nobody for a while, and what
# was handed out is soon done.
_STEPS_PER_WORKER = 4

_MOST_STEPS = 2**31
_NUM_METRICS = len(steps.BatchMetrics._fields)


class _Remote:
    """A number that a worker is still computing."""

    def __init__(self, metrics: Any, at: int) -> None:
        self._metrics = metrics
        self._at = at

    def __float__(self) -> float:
        return float(self._metrics.fetch()[self._at])


def serve(cluster: Cluster) -> None:
    """Takes part as a worker or as a parameter server, until the process is ended."""
    server = tf.distribute.Server(
        tf.train.ClusterSpec({kind: list(hosts) for kind, hosts in cluster.addresses.items()}),
        job_name=cluster.task_type,
        task_index=cluster.task_index,
        protocol="grpc",
    )
    server.join()
