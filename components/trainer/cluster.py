"""Who takes part in a training: the tasks of TF_CONFIG. Importable without TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from slimworks.components.errors import ConfigError, nearest
from slimworks.components.trainer.config import TrainConfig

TF_CONFIG = "TF_CONFIG"
WORKER_MODULE = "slimworks.components.trainer.worker"
CHIEF, WORKER, PARAMETER_SERVER = "chief", "worker", "ps"
_TASK_TYPES = (CHIEF, WORKER, PARAMETER_SERVER)
_EXAMPLE = (
    'Write it like {"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
    '"task": {"type": "worker", "index": 0}}.'
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The tasks of a training, and which of them this process is.

    Attributes:
        addresses: "host:port" of every task, by task type (chief, worker, ps) and index.
        task_type: Of this process.
        task_index: Of this process, among those of its type.
    """

    addresses: Mapping[str, tuple[str, ...]]
    task_type: str
    task_index: int

    @property
    def is_chief(self) -> bool:
        """This process writes what there is to write: the chief or, without one, worker 0."""
        first = CHIEF if self.addresses.get(CHIEF) else WORKER
        return (self.task_type, self.task_index) == (first, 0)

    @property
    def num_workers(self) -> int:
        """Processes that train; a chief trains too, but where it leads parameter servers."""
        workers = len(self.addresses.get(WORKER, ()))
        has_servers = bool(self.addresses.get(PARAMETER_SERVER))
        return workers if has_servers else workers + len(self.addresses.get(CHIEF, ()))

    @property
    def worker_index(self) -> int:
        """Number of this process among those that train, from 0; without parameter servers."""
        if self.task_type == CHIEF:
            return 0
        return self.task_index + len(self.addresses.get(CHIEF, ()))

    @property
    def is_on_one_machine(self) -> bool:
        """All addresses are of one host."""
        hosts = {address.rpartition(":")[0] for kind in self.addresses.values() for address in kind}
        return len(hosts) == 1

    def to_tf_config(self) -> str:
        """The value of TF_CONFIG that says the same."""
        cluster = {kind: list(hosts) for kind, hosts in self.addresses.items()}
        task = {"type": self.task_type, "index": self.task_index}
        return json.dumps({"cluster": cluster, "task": task})


def cluster_from_environment() -> Cluster | None:
    """The cluster of TF_CONFIG; None where it names no other task than this one.

    Raises:
        ConfigError: TF_CONFIG cannot be understood.
    """
    text = os.environ.get(TF_CONFIG, "").strip()
    return parse_tf_config(text) if text else None


def parse_tf_config(text: str) -> Cluster | None:
    """As `cluster_from_environment`, of a text."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"TF_CONFIG is no JSON: {error}.", _EXAMPLE) from None
    if not isinstance(value, dict) or not isinstance(value.get("cluster", {}), dict):
        raise ConfigError(f"TF_CONFIG is {text!r}, expected an object with a cluster.", _EXAMPLE)
    addresses = {kind: _hosts(kind, hosts) for kind, hosts in value.get("cluster", {}).items()}
    if sum(len(hosts) for hosts in addresses.values()) <= 1:
        return None  # managed trainings on one machine set it too
    return Cluster(addresses, *_task(value.get("task"), addresses))


def _hosts(kind: str, hosts: Any) -> tuple[str, ...]:
    if kind not in _TASK_TYPES:
        names = f"Name them {', '.join(_TASK_TYPES)}.{nearest(kind, _TASK_TYPES)}"
        if kind == "master":
            names = "Call it chief."
        raise ConfigError(f"TF_CONFIG has tasks of the type {kind!r}.", names)
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ConfigError(f"TF_CONFIG: cluster.{kind} is {hosts!r}, expected a list.", _EXAMPLE)
    return tuple(hosts)


def _task(task: Any, addresses: Mapping[str, tuple[str, ...]]) -> tuple[str, int]:
    if not isinstance(task, dict) or "type" not in task or "index" not in task:
        raise ConfigError(f"TF_CONFIG: task is {task!r}: which task is this?", _EXAMPLE)
    kind, index = task["type"], task["index"]
    hosts = addresses.get(kind, ())
    # Some launchers write the index as text.
    if not str(index).isdecimal() or int(index) >= len(hosts):
        raise ConfigError(
            f"TF_CONFIG: the task {kind} {index} is not in the cluster, which has "
            f"{len(hosts)} of that type.",
            "Give each process the same cluster and its own task.",
        )
    return kind, int(index)


def require_chief(cluster: Cluster, job_path: str | os.PathLike[str]) -> None:
    """Raises ConfigError in a process that only helps: it is started in another way."""
    if not cluster.is_chief:
        raise ConfigError(
            f"TF_CONFIG makes this process {cluster.task_type} {cluster.task_index}, which writes "
            "no model.",
            f"Start the chief so, and this one as: python -m {WORKER_MODULE} {job_path}",
        )


def check_cluster(cluster: Cluster | None, config: TrainConfig) -> None:
    """Compares TF_CONFIG with the settings.

    Raises:
        ConfigError: They do not fit.
    """
    if cluster is None:
        if config.distribution == "multi_worker" and config.workers == 1:
            raise ConfigError(
                "train.distribution is multi_worker, but train.workers is 1 and TF_CONFIG names no "
                "other process.",
                "Set train.workers=2 or more, or train.distribution=none.",
            )
        return
    tasks = ", ".join(f"{len(hosts)} {kind}" for kind, hosts in cluster.addresses.items())
    wanted = "parameter_server" if cluster.addresses.get(PARAMETER_SERVER) else "multi_worker"
    if config.distribution != wanted:
        raise ConfigError(
            f"TF_CONFIG names {tasks}, but train.distribution is {config.distribution}.",
            f"Set train.distribution={wanted}, or unset TF_CONFIG to train in one process.",
        )
    if wanted == "parameter_server" and len(cluster.addresses.get(CHIEF, ())) != 1:
        raise ConfigError(
            f"TF_CONFIG names {tasks}: parameter servers need one chief.",
            'Add "chief": ["host:port"] to its cluster.',
        )
    if config.workers not in (1, cluster.num_workers):
        raise ConfigError(
            f"train.workers is {config.workers}, but TF_CONFIG names {tasks}.",
            f"Set train.workers={cluster.num_workers}, or leave it out.",
        )
