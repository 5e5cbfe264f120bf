"""Who computes a step: this process alone, all devices of it, or several processes together.

A step's batch is divided into equal parts, one a replica (a device of a process). The gradients
of the parts are added up, and every replica makes the same update. Batch norm normalises each
part by its own statistics, as TF-Slim's clones do; the moving statistics of the replicas are
averaged before they are used: in evaluations and in checkpoints.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from slimworks.components import contracts
from slimworks.components.errors import ConfigError, TrainingError
from slimworks.components.trainer import steps
from slimworks.components.trainer.cluster import Cluster
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.dataset import Batch
from slimworks.components.trainer.launch import LOST_EXIT_CODE, WORKERS_FOLDER

ReplicaStep = Callable[[Batch, tf.Tensor], steps.BatchMetrics]
ReplicaEvalStep = Callable[[Batch], tuple[tf.Tensor, tf.Tensor]]
# dataset.train_batches, of a training whose other arguments are known.
MakeBatches = Callable[..., tf.data.Dataset]

# What a process sees when another one of its cluster has died.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_SUM = tf.distribute.ReduceOp.SUM
_ON_READ = tf.VariableSynchronization.ON_READ

_log = logging.getLogger(__name__)


class WorkerLostError(TrainingError):
    """Another process of the training has died; all of them go on from the checkpoint."""

    exit_code = LOST_EXIT_CODE


class Distribution:
    """This process's share of a training.

    Attributes:
        strategy: TensorFlow's; its scope is where the variables are created.
        cluster: The processes of the training; None: this one alone.
        num_replicas: Parts that the batch of a step is divided into, over all processes.
        num_shards: Processes that read images.
        shard: Number of this one among them.
        is_asynchronous: The metrics of a step are there long after it was begun.
    """

    is_asynchronous = False

    def __init__(self, strategy: Any = None, cluster: Cluster | None = None) -> None:
        """Takes TensorFlow's strategy; None: one process, one device."""
        self._is_alone = strategy is None
        self.strategy = strategy = strategy or tf.distribute.get_strategy()
        self.cluster = cluster
        self.num_replicas: int = strategy.num_replicas_in_sync
        self.num_shards = cluster.num_workers if cluster else 1
        self.shard = cluster.worker_index if cluster else 0
        self._num_local_replicas = self.num_replicas // self.num_shards

    @property
    def facts(self) -> dict[str, Any]:
        """What to write down of it."""
        return {
            "strategy": type(self.strategy).__name__,
            "num_workers": self.num_shards,
            "num_replicas": self.num_replicas,
            "batch_norm": "each replica's own batch; moving statistics: mean of the replicas",
        }

    @property
    def is_alone(self) -> bool:
        """One process, one device."""
        return self._is_alone

    @property
    def is_chief(self) -> bool:
        """This process writes the results."""
        return self.cluster is None or self.cluster.is_chief

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Variables of the training, slots included, are created in here."""
        return self.strategy.scope()

    def batches(self, make: MakeBatches, first_step: int, num_steps: int) -> Iterable[Any]:
        """This process's part of the batch of each step from `first_step` to `num_steps`."""
        return make(num_steps=num_steps, num_shards=self.num_shards, shard=self.shard)

    def train_function(self, step: ReplicaStep) -> Callable[[Any, tf.Tensor], steps.BatchMetrics]:
        """Returns (this process's batch, step number) -> the whole batch's metrics.

        Args:
            step: What one replica does with its part.
        """

        def replica_step(batch: Batch, number: tf.Tensor) -> tf.Tensor:
            return tf.stack(step(batch, number))

        @tf.function(autograph=False)
        def train_step(batch: Batch, number: tf.Tensor) -> steps.BatchMetrics:
            parts = self.strategy.run(replica_step, args=(batch, number))
            return steps.BatchMetrics(*tf.unstack(self.strategy.reduce(_SUM, parts, axis=None)))

        if self._num_local_replicas == 1:
            return train_step
        return lambda batch, number: train_step(self._divide(batch), number)

    def evaluate(self, eval_step: ReplicaEvalStep, batches: tf.data.Dataset) -> steps.SplitMetrics:
        """Metrics of the split of which `batches` is this process's shard."""
        loss, num_correct, num_images = 0.0, 0.0, 0
        for batch in batches:
            losses, corrects = self.strategy.run(eval_step, args=(self._divide(batch),))
            size = int(batch.targets.shape[0])
            loss += self._local_sum(losses, size)
            num_correct += self._local_sum(corrects, size)
            num_images += size
        loss, num_correct, total = self._sum(loss, num_correct, num_images)
        return steps.SplitMetrics(loss / total, num_correct / total, int(total))

    def settle(self, variables: Mapping[str, tf.Variable]) -> None:
        """Waits for all updates; where each replica has a value of its own, all get the mean."""
        own = [v for v in variables.values() if v.synchronization == _ON_READ]
        if self.num_replicas > 1 and own:
            self._average(own)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag: is it set in any process? All of them must ask at the same step."""
        return tuple(number > 0 for number in self._sum(*flags)) if self.cluster else flags

    def barrier(self) -> None:
        """Waits until every process is here."""
        self.any(False)

    @contextlib.contextmanager
    def own_work_folder(self, folder: str) -> Iterator[str]:
        """Yields `folder`; to other processes than the chief a temporary copy of it.

        All of them do the same, saving included, since reading a moving average takes all; but
        only the chief's files last.
        """
        with contextlib.ExitStack() as stack:
            if not self.is_chief:
                copy = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "work"
                Path(folder).mkdir(parents=True, exist_ok=True)
                leave_out = shutil.ignore_patterns(contracts.LOGS_FOLDER, WORKERS_FOLDER, ".*")
                shutil.copytree(folder, copy, ignore=leave_out)
                folder = str(copy)
            self.barrier()  # the chief changes nothing before all have their copy
            yield folder

    def _divide(self, batch: Batch) -> Any:
        """This process's batch, divided among its replicas."""
        count = self._num_local_replicas
        if count == 1:
            return batch
        size = int(batch.targets.shape[0])
        first = self.shard * count

        def part(context: Any) -> Batch:
            at = context.replica_id_in_sync_group - first
            bounds = slice(size * at // count, size * (at + 1) // count)
            if size < count:  # TensorFlow's fused convolutions fail for no image
                bounds = slice(min(at, size - 1), min(at, size - 1) + 1)
            return Batch(*(value[bounds] for value in batch))

        return self.strategy.experimental_distribute_values_from_function(part)

    def _local_sum(self, values: Any, num_images: int) -> float:
        """Sum over this process's replicas, or over as many as have an image of their own."""
        results = self.strategy.experimental_local_results(values)
        return sum(float(value) for value in results[:num_images])

    def _sum(self, *values: float) -> list[float]:
        """Sums over the processes."""
        if self.cluster is None:
            return list(values)
        total = self._sum_in_graph(tf.constant(values, tf.float64))
        return [float(value) for value in total / self._num_local_replicas]

    @tf.function(autograph=False, reduce_retracing=True)
    def _sum_in_graph(self, values: tf.Tensor) -> tf.Tensor:
        return self.strategy.reduce(_SUM, self.strategy.run(tf.identity, (values,)), axis=None)

    @tf.function(autograph=False)
    def _average(self, variables: list[tf.Variable]) -> None:
        for variable in variables:
            variable.assign(variable.read_value())


def start(config: TrainConfig, cluster: Cluster | None) -> Distribution:
    """Connects the processes and devices of a training; before anything else of TensorFlow runs.

    Raises:
        ConfigError: The devices do not fit the settings.
    """
    distribution: Distribution
    if config.distribution == "none":
        distribution = Distribution()
    elif config.distribution == "mirrored":
        distribution = Distribution(tf.distribute.MirroredStrategy(_devices()))
    elif config.distribution == "multi_worker":
        distribution = _multi_worker(cluster)
    else:
        from slimworks.components.trainer import parameter_servers

        assert cluster is not None
        return parameter_servers.ParameterServers(cluster)
    return distribution


def _multi_worker(cluster: Cluster | None) -> Distribution:
    assert cluster is not None
    resolver = resolver_of(cluster)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    return Distribution(strategy, cluster)


def resolver_of(cluster: Cluster) -> Any:
    """The cluster in TensorFlow's form."""
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({kind: list(hosts) for kind, hosts in cluster.addresses.items()}),
        task_type=cluster.task_type,
        task_id=cluster.task_index,
        rpc_layer="grpc",
    )


def _devices() -> list[str]:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:
        _log.info("train.distribution=mirrored: there is one device, %s", devices[0].name)
    return [device.name for device in devices]


def shared_batch_size(batch_size: int, num_train: int, num_replicas: int) -> int:
    """Images of a step: `train.batch_size`, or as many as there are and the replicas can share.

    Raises:
        ConfigError: The replicas cannot share the batch evenly.
    """
    if num_train < num_replicas:
        raise ConfigError(
            f"The train split has {num_train} images, fewer than the {num_replicas} replicas.",
            "Train in one process: --set train.distribution=none --set train.workers=1",
        )
    rest = batch_size % num_replicas
    if rest:
        down = batch_size - rest
        near = f"{down} or {down + num_replicas}" if down else str(num_replicas)
        raise ConfigError(
            f"train.batch_size is {batch_size}, which {num_replicas} replicas cannot share evenly.",
            f"Set train.batch_size to {near}: it counts the images of all replicas together.",
        )
    return min(batch_size, num_train - num_train % num_replicas)


@contextlib.contextmanager
def lost_workers_reported(cluster: Cluster | None) -> Iterator[None]:
    """Within, the death of another process of the cluster becomes a WorkerLostError."""
    try:
        yield
    except _LOST as error:
        if cluster is None:
            raise
        raise WorkerLostError(
            f"Another process of the training is gone ({type(error).__name__}).",
            "Start all of them again: they go on from the last checkpoint.",
        ) from error
