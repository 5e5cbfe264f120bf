"""TF-Slim's deployment flags: which setting has taken the place of each. No TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slimworks.components.errors import ConfigError

_TASK = "Leave it out: each process learns from TF_CONFIG which task it is; docs/distribution.md."

# Flag -> what to do instead. Upper-case letters stand for the value that was given.
REPLACEMENTS: dict[str, str] = {
    "num_clones": "Write train.distribution: mirrored, which takes every visible GPU; "
    "CUDA_VISIBLE_DEVICES hides some. train.batch_size counts the images of all of them together.",
    "clone_on_cpu": "Leave it out; CUDA_VISIBLE_DEVICES=-1 hides every GPU.",
    "worker_replicas": "Write train.workers: N and train.distribution: multi_worker (synchronous) "
    "or parameter_server (asynchronous).",
    "num_ps_tasks": "Write train.parameter_servers: N and train.distribution: parameter_server.",
    "sync_replicas": "Write train.distribution: multi_worker, which is always synchronous; "
    "parameter_server never is.",
    "replicas_to_aggregate": "Write train.distribution: multi_worker, which adds up the gradients "
    "of all train.workers.",
    "task": _TASK,
    "master": _TASK,
}


def refuse_deployment_flags(values: Mapping[str, Any]) -> None:
    """Raises ConfigError that names the new setting where `values` holds one of the old."""
    for flag, replacement in REPLACEMENTS.items():
        if flag in values:
            raise ConfigError(f"train.{flag} is TF-Slim's flag, not a setting.", replacement)
