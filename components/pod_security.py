"""What a pod and its containers say to meet Kubernetes' Pod Security level `restricted`."""

from __future__ import annotations

from typing import Any

USER = 10001  # of the volume, as in k8s/base/pipeline/pod.yaml
GRACE_SECONDS = 120  # SIGTERM: a training ends its step and writes a checkpoint to the volume


def restricted_pod() -> dict[str, Any]:
    """`securityContext` of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def restricted_container() -> dict[str, Any]:
    """`securityContext` of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
