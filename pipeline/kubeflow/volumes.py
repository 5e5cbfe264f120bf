"""Which claims the containers mount, and where."""

from __future__ import annotations

from pathlib import PurePosixPath

from slimworks.components.errors import ConfigError
from slimworks.pipeline.config import PipelineConfig


def require_volume(config: PipelineConfig, what: str) -> None:
    """Raises ConfigError for a workspace in a bucket, which `what` cannot work with."""
    if config.kubeflow.is_in_bucket:
        raise ConfigError(
            f"{what} needs a volume, and kubeflow.workspace is {config.kubeflow.workspace}.",
            "Give the folder where a volume is mounted: kubeflow.workspace /workspace.",
        )


def claims(config: PipelineConfig) -> dict[str, str]:
    """Claim by folder: the workspace and, where models are published elsewhere, `push.base_path`.

    A workspace in a bucket has none.

    Raises:
        ConfigError: No claim holds that folder, or one is named for nothing.
    """
    kubeflow = config.kubeflow
    mounts = {} if kubeflow.is_in_bucket else {kubeflow.workspace: kubeflow.volume_claim}
    base_path = str(config.push.base_path or "")
    is_below = PurePosixPath(base_path).is_relative_to(kubeflow.folder)
    if (
        kubeflow.is_in_bucket
        and base_path
        and "://" not in base_path
        and (is_below or not kubeflow.models_claim)
    ):
        raise ConfigError(
            f"push.base_path is {base_path}, and the workspace is {kubeflow.workspace}: that "
            "folder ends with the step's container.",
            f"Give a prefix, such as {kubeflow.workspace}/serving, or leave out push.base_path.",
        )
    is_elsewhere = bool(base_path) and not ("://" in base_path or is_below)
    if is_elsewhere and not kubeflow.models_claim:
        raise ConfigError(
            f"push.base_path is {base_path}: no volume is mounted there, only the workspace "
            f"{kubeflow.workspace}.",
            "Name its claim: kubeflow.models_claim; or leave out push.base_path.",
        )
    if kubeflow.models_claim and not is_elsewhere:
        raise ConfigError(
            f"kubeflow.models_claim is {kubeflow.models_claim}, and models are published to "
            f"{base_path or 'the workspace'}.",
            "Set push.base_path to where it is to be mounted, or leave it out.",
        )
    return {**mounts, base_path: kubeflow.models_claim} if is_elsewhere else mounts
