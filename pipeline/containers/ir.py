"""The compiled pipeline as an executor sees it: groups of tasks, and what each container is.

The format is Kubeflow Pipelines v2 IR (PipelineSpec and PlatformSpec) in YAML:
https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from slimworks.components.errors import ConfigError

ROOT = "root"
_ALWAYS = "ALL_UPSTREAM_TASKS_COMPLETED"
_UNITS = {
    "": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Retry:
    """How often a failed container is tried again, and after which pauses."""

    retries: int = 0
    backoff_seconds: float = 0.0
    factor: float = 2.0
    max_seconds: float = 3600.0

    def pauses(self) -> list[float]:
        """Seconds before each further try."""
        return [
            min(self.backoff_seconds * self.factor**number, self.max_seconds)
            for number in range(self.retries)
        ]


@dataclasses.dataclass(frozen=True)
class Task:
    """A task of a group.

    Attributes:
        name: Unique in its group.
        component: What it runs: a container, or another group.
        after: Tasks of the group that must end first.
        inputs: Its parameters, as the IR says where they come from.
        condition: CEL expression that must hold; empty: none.
        is_always_run: Runs whatever became of the tasks before: an exit handler.
        retry: Of its container.
    """

    name: str
    component: str
    after: tuple[str, ...]
    inputs: Mapping[str, Mapping[str, Any]]
    condition: str
    is_always_run: bool
    retry: Retry


@dataclasses.dataclass(frozen=True)
class Container:
    """What a step runs, with its placeholders, and what it gets.

    Attributes:
        image: Container image.
        command: In place of the image's entry point.
        args: Follow the command.
        environment: Variables with their values.
        cpus: Cores at most; None: all.
        memory_bytes: Memory at most; None: all.
        gpus: How many.
        timeout_seconds: It is stopped after so long; None: never.
        secret_variables: (secret, key, variable).
        secret_folders: (secret, folder in the container).
        volumes: (claim, folder in the container).
    """

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    environment: Mapping[str, str]
    cpus: float | None = None
    memory_bytes: int | None = None
    gpus: int = 0
    timeout_seconds: int | None = None
    secret_variables: tuple[tuple[str, str, str], ...] = ()
    secret_folders: tuple[tuple[str, str], ...] = ()
    volumes: tuple[tuple[str, str], ...] = ()


class CompiledPipeline:
    """A compiled pipeline.

    Attributes:
        name: Of the pipeline.
        defaults: Of its parameters.
    """

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        """Takes the PipelineSpec and, where there is one, the PlatformSpec."""
        self._spec = documents[0]
        platforms = documents[1]["platforms"] if len(documents) > 1 else {}
        self._platform: Mapping[str, Any] = (
            platforms.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
        )
        self.name: str = self._spec["pipelineInfo"]["name"]
        declared = self._spec["root"].get("inputDefinitions", {}).get("parameters", {})
        self.defaults: dict[str, Any] = {
            key: one.get("defaultValue") for key, one in declared.items()
        }

    @classmethod
    def read(cls, path: Path) -> CompiledPipeline:
        """Reads a YAML file.

        Raises:
            ConfigError: It is no compiled pipeline.
        """
        try:
            documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
            return cls(documents)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, IndexError,
                ValueError, AttributeError, RecursionError):  # fmt: skip
            raise ConfigError(
                f"{path} is no compiled pipeline.",
                "Write one: slimworks compile --config pipeline.yaml --output FILE",
            ) from None

    def component(self, name: str) -> Mapping[str, Any]:
        """A component, or the root."""
        if name == ROOT:
            root: Mapping[str, Any] = self._spec["root"]
            return root
        component: Mapping[str, Any] = self._spec["components"][name]
        return component

    def is_group(self, component: str) -> bool:
        """Whether a component is a group of tasks."""
        return "dag" in self.component(component)

    def tasks(self, component: str) -> dict[str, Task]:
        """Tasks of a group by name.

        Raises:
            ConfigError: A task needs what only Kubeflow does.
        """
        listed = self.component(component)["dag"]["tasks"]
        return {name: _task(name, one) for name, one in listed.items()}

    def steps(self) -> dict[str, Container]:
        """Containers of all steps, by task."""
        found: dict[str, Container] = {}
        pending = [ROOT]
        while pending:
            for name, task in self.tasks(pending.pop()).items():
                if self.is_group(task.component):
                    pending.append(task.component)
                else:
                    found[name] = self.container(task.component)
        return found

    def container(self, component: str) -> Container:
        """The container of a component.

        Raises:
            ConfigError: It is none: an importer or a resolver.
        """
        label = self.component(component)["executorLabel"]
        executor = self._spec["deploymentSpec"]["executors"][label]
        if "container" not in executor:
            raise _not_here(f"{label} is a {', '.join(executor)}")
        spec, platform = executor["container"], self._platform.get(label, {})
        resources = spec.get("resources", {})
        return Container(
            image=spec["image"],
            command=tuple(spec.get("command", ())),
            args=tuple(spec.get("args", ())),
            environment={one["name"]: one["value"] for one in spec.get("env", ())},
            cpus=_cores(resources),
            memory_bytes=_memory(resources),
            gpus=int(resources.get("accelerator", {}).get("resourceCount", 0)),
            timeout_seconds=int(platform.get("activeDeadlineSeconds", 0)) or None,
            secret_variables=tuple(
                (secret["secretName"], key["secretKey"], key["envVar"])
                for secret in platform.get("secretAsEnv", ())
                for key in secret["keyToEnv"]
            ),
            secret_folders=tuple(
                (secret["secretName"], secret["mountPath"])
                for secret in platform.get("secretAsVolume", ())
            ),
            volumes=tuple(
                (volume["constant"], volume["mountPath"]) for volume in platform.get("pvcMount", ())
            ),
        )


def _task(name: str, spec: Mapping[str, Any]) -> Task:
    if unknown := {"parameterIterator", "artifactIterator"} & set(spec):
        raise _not_here(f"{name} has a {unknown.pop()}")
    inputs = spec.get("inputs", {})
    if "artifacts" in inputs:
        raise _not_here(f"{name} reads an artifact of Kubeflow's")
    trigger, retry = spec.get("triggerPolicy", {}), spec.get("retryPolicy", {})
    return Task(
        name=name,
        component=spec["componentRef"]["name"],
        after=tuple(spec.get("dependentTasks", ())),
        inputs=inputs.get("parameters", {}),
        condition=trigger.get("condition", ""),
        is_always_run=trigger.get("strategy") == _ALWAYS,
        retry=Retry(
            retries=int(retry.get("maxRetryCount", 0)),
            backoff_seconds=_seconds(retry.get("backoffDuration", "0s")),
            factor=float(retry.get("backoffFactor", 2.0)),
            max_seconds=_seconds(retry.get("backoffMaxDuration", "3600s")),
        ),
    )


def _not_here(what: str) -> ConfigError:
    return ConfigError(
        f"The compiled pipeline cannot run in containers on one machine: {what}.",
        "Run it on Kubeflow: slimworks submit",
    )


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def _cores(resources: Mapping[str, Any]) -> float | None:
    text = str(resources.get("resourceCpuLimit", resources.get("cpuLimit", "")))
    if not text:
        return None
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _memory(resources: Mapping[str, Any]) -> int | None:
    if "resourceMemoryLimit" not in resources:
        limit = resources.get("memoryLimit")  # in GB, where an older kfp compiled
        return None if limit is None else int(float(limit) * 10**9)
    found = re.fullmatch(r"(\d+)([A-Za-z]*)", resources["resourceMemoryLimit"])
    assert found is not None, resources  # our own settings allow no other
    return int(found[1]) * _UNITS[found[2]]
