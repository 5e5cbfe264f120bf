"""The `containers` section: how `slimworks run --runner containers` uses podman or docker."""

from __future__ import annotations

import re
from typing import Literal

import pydantic
from pydantic import Field

from slimworks.components.settings import Settings

MAX_PARALLEL_STEPS = 2  # training and Beam use all cores by themselves


class ContainersConfig(Settings):
    """How the compiled pipeline runs in containers on this machine."""

    engine: Literal["auto", "podman", "docker"] = Field(
        "auto", description="auto: podman where it is installed, else docker."
    )
    network: str = Field(
        "",
        description="Network of the steps that need one (a remote source, a database, a tracker); "
        "empty: the engine's own. The others have none.",
    )
    network_steps: list[str] = Field(
        default_factory=list, description="Further steps that need the network."
    )
    parallel_steps: int = Field(
        MAX_PARALLEL_STEPS, ge=1, le=16, description="Containers at once, at most."
    )
    mounts: list[str] = Field(
        default_factory=list,
        description="Further folders that the steps may read, such as those that links lead to.",
    )
    env: list[str] = Field(
        default_factory=list,
        description="Environment variables of this machine that every step sees.",
    )
    secret_folders: dict[str, str] = Field(
        default_factory=dict,
        description="Folder that stands for a Secret of kubeflow.secrets with a mount_path.",
    )

    @pydantic.field_validator("env")
    @classmethod
    def _are_names(cls, names: list[str]) -> list[str]:
        for name in names:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} is no name of a variable; values are never settings.")
        return names
