"""Kubernetes Secrets as a pod names them: variables of a container, or folders of files.

A secret is {"name": of the Secret, "env": {key: variable}, "mount_path": folder or ""}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Secrets = Sequence[Mapping[str, Any]]


def secret_variables(secrets: Secrets) -> list[dict[str, Any]]:
    """`env` of a container."""
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret["name"], "key": key}}}
        for secret in secrets
        for key, variable in secret["env"].items()
    ]


def secret_volumes(secrets: Secrets) -> list[dict[str, Any]]:
    """`volumes` of a pod."""
    return [
        {"name": secret["name"], "secret": {"secretName": secret["name"]}}
        for secret in secrets
        if secret["mount_path"]
    ]


def secret_mounts(secrets: Secrets) -> list[dict[str, Any]]:
    """`volumeMounts` of a container."""
    return [
        {"name": secret["name"], "mountPath": secret["mount_path"], "readOnly": True}
        for secret in secrets
        if secret["mount_path"]
    ]
