"""A distributed training as a Kubeflow TFJob, whose operator starts the pods and sets TF_CONFIG."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from slimworks.components import pod_security
from slimworks.components.errors import ConfigError
from slimworks.components.pod_secrets import (
    Secrets,
    secret_mounts,
    secret_variables,
    secret_volumes,
)
from slimworks.components.trainer.cluster import WORKER_MODULE
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.launch import MAX_RESTARTS, SEVERAL_PROCESSES

# The operator wants these names, and takes its own defaults otherwise.
_CONTAINER, _PORT_NAME, _PORT = "tensorflow", "tfjob-port", 2222
_SCRATCH_SIZE, _SHARED_MEMORY_SIZE = "20Gi", "4Gi"  # emptied with the pod
_VOLUME, _SHARED_MEMORY, _SCRATCH = "workspace", "shared-memory", "scratch"


@dataclasses.dataclass(frozen=True)
class PodSettings:
    """What each pod of a training gets.

    Attributes:
        image: Container image with SlimWorks; empty: that of the pod that starts the job.
        volume_claim: PersistentVolumeClaim that holds inputs, work and output; several pods must
            be able to write to it (ReadWriteMany).
        workspace: Where it is mounted, the same as where the training was prepared.
        cpu: Cores, in Kubernetes' words ("4", "500m"); empty: no request.
        memory: Such as "8Gi"; empty: no request.
        gpus: Of each pod that trains.
        cpu_limit: Cores at most; empty: no limit.
        gpu_type: Resource of the GPUs.
        node_selector: Labels of the nodes.
        tolerations: Taints tolerated, in Kubernetes' words.
        secrets: What else the pods see: see `pod_secrets`.
        image_pull_secrets: Secrets of the image's registry.
    """

    image: str
    volume_claim: str
    workspace: str
    cpu: str = ""
    memory: str = ""
    gpus: int = 0
    cpu_limit: str = ""
    gpu_type: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tolerations: Sequence[Mapping[str, str]] = ()
    secrets: Secrets = ()
    image_pull_secrets: Sequence[str] = ()


def tfjob_manifest(
    name: str, job_path: str, config: TrainConfig, pod: PodSettings, namespace: str = ""
) -> dict[str, Any]:
    """Returns the TFJob of a training.

    Args:
        name: Of the job.
        job_path: The training.json (see job.py), as the pods see it.
        config: Training settings: distribution, workers, parameter_servers.
        pod: Of each process.
        namespace: Empty: the one that the manifest is applied in.

    Raises:
        ConfigError: The settings ask for one process.
    """
    replicas = _replicas(config)
    metadata: dict[str, Any] = {"name": name, "labels": {"app.kubernetes.io/name": "slimworks"}}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": metadata,
        "spec": {
            "runPolicy": {
                # Parameter servers never end by themselves; logs of the others stay.
                "cleanPodPolicy": "Running",
                # One pod's death ends all: each counts.
                "backoffLimit": MAX_RESTARTS * sum(replicas.values()),
            },
            "tfReplicaSpecs": {
                kind: {
                    "replicas": count,
                    # Again after a kill or a lost pod (137, 138), not after a wrong setting (2).
                    "restartPolicy": "ExitCode",
                    "template": _pod(job_path, pod, pod.gpus if _trains(kind, config) else 0),
                }
                for kind, count in replicas.items()
            },
        },
    }


def _replicas(config: TrainConfig) -> dict[str, int]:
    """Pods by kind. With a chief the operator knows when the job is done."""
    if config.distribution == "parameter_server":
        return {"Chief": 1, "Worker": config.workers, "PS": config.parameter_servers}
    if config.distribution not in SEVERAL_PROCESSES or config.workers == 1:
        raise ConfigError(
            f"train.distribution is {config.distribution} and train.workers {config.workers}: one "
            "process needs no TFJob.",
            "Set train.distribution=multi_worker and train.workers=2 or more.",
        )
    return {"Chief": 1, "Worker": config.workers - 1}


def _trains(kind: str, config: TrainConfig) -> bool:
    return kind == "Worker" or (kind == "Chief" and config.distribution == "multi_worker")


def _pod(job_path: str, pod: PodSettings, gpus: int) -> dict[str, Any]:
    volumes, mounts = _volumes(pod, gpus)
    container = {
        "name": _CONTAINER,
        "image": pod.image,
        "command": ["python", "-m", WORKER_MODULE, job_path],
        "ports": [{"name": _PORT_NAME, "containerPort": _PORT}],
        # HOME has caches: all else is read-only.
        "env": [{"name": "HOME", "value": "/tmp"}, *secret_variables(pod.secrets)],
        "resources": _resources(pod, gpus),
        "securityContext": pod_security.restricted_container(),
        "volumeMounts": mounts,
    }
    spec = {
        "containers": [container],
        "volumes": volumes,
        "nodeSelector": dict(pod.node_selector),
        "tolerations": [dict(toleration) for toleration in pod.tolerations],
        "imagePullSecrets": [{"name": name} for name in pod.image_pull_secrets],
        "automountServiceAccountToken": False,
        "securityContext": pod_security.restricted_pod(),
        "terminationGracePeriodSeconds": pod_security.GRACE_SECONDS,
    }
    return {
        # A service mesh would stand between the workers.
        "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": {key: value for key, value in spec.items() if value not in ({}, [])},
    }


def _volumes(pod: PodSettings, gpus: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes of a pod, and where its container mounts them."""
    volumes: list[dict[str, Any]] = [
        {"name": _VOLUME, "persistentVolumeClaim": {"claimName": pod.volume_claim}},
        {"name": _SCRATCH, "emptyDir": {"sizeLimit": _SCRATCH_SIZE}},
        *secret_volumes(pod.secrets),
    ]
    mounts = [
        {"name": _VOLUME, "mountPath": pod.workspace},
        {"name": _SCRATCH, "mountPath": "/tmp"},
        *secret_mounts(pod.secrets),
    ]
    if gpus:  # NCCL exchanges through it; a container's 64 MiB are too little
        memory = {"medium": "Memory", "sizeLimit": _SHARED_MEMORY_SIZE}
        volumes.append({"name": _SHARED_MEMORY, "emptyDir": memory})
        mounts.append({"name": _SHARED_MEMORY, "mountPath": "/dev/shm"})
    return volumes, mounts


def _resources(pod: PodSettings, gpus: int) -> dict[str, Any]:
    requests = {"cpu": pod.cpu, "memory": pod.memory}
    gpu_limit = {pod.gpu_type: str(gpus)} if gpus else {}
    limits = {"cpu": pod.cpu_limit, "memory": pod.memory, **gpu_limit}
    both = {"requests": requests, "limits": limits}
    kept = {side: {k: v for k, v in given.items() if v} for side, given in both.items()}
    return {side: given for side, given in kept.items() if given}
