"""Checks a compiled pipeline before it is used: one readable rule for each mistake.

Kubeflow finds most of them only when the step's turn comes, hours into a run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from slimworks.components.errors import ConfigError
from slimworks.pipeline.kubeflow.config import KubeflowConfig
from slimworks.pipeline.kubeflow.outputs import REPORT

_PLACEHOLDER = re.compile(r"\{\{\$\.(inputs|outputs)\.(parameters|artifacts)\['([^']+)'\]")
_SECRET_WORDS = re.compile(r"(?i)\b[\w.]*(password|secret_access_key|access_token)\b")


class Graph:
    """A compiled pipeline as the rules see it.

    Attributes:
        root: The PipelineSpec.
        platform: What Kubernetes gives each executor, by its label.
        nodes: Steps wanted, each with those that it must wait for.
        config: The `kubeflow` section.
    """

    def __init__(
        self,
        documents: Sequence[Mapping[str, Any]],
        nodes: Mapping[str, list[str]],
        config: KubeflowConfig,
    ) -> None:
        self.root = documents[0]
        platforms = documents[1]["platforms"] if len(documents) > 1 else {}
        self.platform: Mapping[str, Any] = (
            platforms.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
        )
        self.nodes, self.config = nodes, config

    @property
    def executors(self) -> Mapping[str, Any]:
        """Containers by label."""
        executors: Mapping[str, Any] = self.root["deploymentSpec"]["executors"]
        return executors

    def dags(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(name, tasks) of the root and of each group of tasks."""
        yield "root", self.root["root"]["dag"]["tasks"]
        for name, component in self.root["components"].items():
            if "dag" in component:
                yield name, component["dag"]["tasks"]

    def steps(self) -> dict[str, Mapping[str, Any]]:
        """Tasks that are containers, by step."""
        return {
            name: task
            for _, tasks in self.dags()
            for name, task in tasks.items()
            if "executorLabel" in self.component(task)
        }

    def component(self, task: Mapping[str, Any]) -> Mapping[str, Any]:
        """The component of a task; empty where there is none."""
        component: Mapping[str, Any] = self.root["components"].get(task["componentRef"]["name"], {})
        return component

    def groups_of(self, step: str) -> list[str]:
        """Names of the tasks that hold a step, itself first, then its group, its group's group."""
        held = [step]
        while True:
            name = next(name for name, tasks in self.dags() if held[-1] in tasks)
            if name == "root":
                return held
            held.append(
                next(
                    key
                    for _, tasks in self.dags()
                    for key, task in tasks.items()
                    if task["componentRef"]["name"] == name
                )
            )


def check(
    documents: Sequence[Mapping[str, Any]],
    nodes: Mapping[str, list[str]],
    config: KubeflowConfig,
) -> None:
    """Applies every rule.

    Args:
        documents: The YAML: the PipelineSpec, and the PlatformSpec where there is one.
        nodes: Steps wanted, each with those that it must wait for.
        config: The `kubeflow` section.

    Raises:
        ConfigError: The first mistakes, all of one rule.
    """
    graph = Graph(documents, nodes, config)
    for rule, fix in RULES.items():
        mistakes = list(rule(graph))
        if mistakes:
            raise ConfigError(f"The compiled pipeline is wrong: {mistakes[0]}", fix)


def name_is_a_label(graph: Graph) -> Iterator[str]:
    """Kubernetes makes names of pods from it."""
    name = graph.root["pipelineInfo"]["name"]
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        yield f"its name {name!r} is no Kubernetes label (lower-case letters, digits, '-')."


def every_step_is_there(graph: Graph) -> Iterator[str]:
    """Each node once, and the report."""
    wanted = set(graph.nodes) | (set() if graph.config.plain else {REPORT})
    for step in sorted(wanted ^ set(graph.steps())):
        yield f"the step {step} is {'missing' if step in wanted else 'not known'}."


def every_component_is_there(graph: Graph) -> Iterator[str]:
    """A task's component, and its container."""
    for _, tasks in graph.dags():
        for name, task in tasks.items():
            label = graph.component(task).get("executorLabel")
            if not graph.component(task):
                yield f"{name} names a component that is not there."
            elif label is not None and label not in graph.executors:
                yield f"{name} has no container."


def waits_lead_somewhere(graph: Graph) -> Iterator[str]:
    """A task waits for tasks of its own group only, and never in a circle."""
    for group, tasks in graph.dags():
        waits = {name: task.get("dependentTasks", []) for name, task in tasks.items()}
        for name, above in waits.items():
            for missing in set(above) - set(tasks):
                yield f"{name} waits for {missing}, which is not beside it in {group}."
        circle = _circle(waits)
        if circle:
            yield f"{' waits for '.join(circle)}."


def steps_wait_for_what_they_read(graph: Graph) -> Iterator[str]:
    """Through any number of steps between, and through the groups that hold them."""
    waits: dict[str, set[str]] = {}
    for _, tasks in graph.dags():
        for name, task in tasks.items():
            waits[name] = set(task.get("dependentTasks", []))
    steps = graph.steps()
    for step, above in graph.nodes.items():
        if step in steps:
            reached = _reached(graph.groups_of(step), waits)
            for missing in sorted(set(above) - reached):
                yield f"{step} does not wait for {missing}, whose output it reads."


def report_always_runs(graph: Graph) -> Iterator[str]:
    """The exit handler waits for the end of the steps, not for their success."""
    report = graph.steps().get(REPORT)
    if report is None:
        return
    strategy = report.get("triggerPolicy", {}).get("strategy")
    if strategy != "ALL_UPSTREAM_TASKS_COMPLETED":
        yield f"{REPORT} runs only when every step succeeds (trigger {strategy})."


def caching_is_off(graph: Graph) -> Iterator[str]:
    """A hit of Kubeflow's cache would skip our launcher, and with it ML Metadata."""
    for name, task in graph.steps().items():
        if task.get("cachingOptions", {}).get("enableCache"):
            yield f"Kubeflow's cache is on for {name}."


def placeholders_are_declared(graph: Graph) -> Iterator[str]:
    """What a command line refers to is an input or output of its component."""
    for name, task in graph.steps().items():
        component = graph.component(task)
        container = graph.executors[component["executorLabel"]]["container"]
        for text in (*container["command"], *container["args"]):
            for side, kind, key in _PLACEHOLDER.findall(text):
                sides = component.get(
                    "inputDefinitions" if side == "inputs" else "outputDefinitions"
                )
                if key not in (sides or {}).get(kind, {}):
                    yield f"{name} uses {side}.{kind}[{key!r}], which it does not declare."


def inputs_are_given(graph: Graph) -> Iterator[str]:
    """Each declared input has a value."""
    for _, tasks in graph.dags():
        for name, task in tasks.items():
            declared = graph.component(task).get("inputDefinitions", {}).get("parameters", {})
            given = task.get("inputs", {}).get("parameters", {})
            for missing in sorted(set(declared) - set(given)):
                yield f"{name} is not given its input {missing}."


def workspace_is_mounted(graph: Graph) -> Iterator[str]:
    """Every container sees the same volume at the same place; without one, room of its own."""
    kind = "emptyDirMounts" if graph.config.is_in_bucket else "pvcMount"
    for name, task in graph.steps().items():
        label = graph.component(task)["executorLabel"]
        mounts = graph.platform.get(label, {}).get(kind, [])
        if not any(mount["mountPath"] == graph.config.folder for mount in mounts):
            yield f"{name} has no volume at {graph.config.folder}."


def images_are_the_same(graph: Graph) -> Iterator[str]:
    """Artifacts of one version are read by the same version."""
    images = {executor["container"]["image"] for executor in graph.executors.values()}
    if len(images) > 1:
        yield f"its steps have different images: {', '.join(sorted(images))}."


def secrets_are_references(graph: Graph) -> Iterator[str]:
    """Values of secrets are in Kubernetes; the YAML is for everybody to read."""
    settings = graph.root["root"].get("inputDefinitions", {}).get("parameters", {})
    for key in _texts(settings.get("config", {}).get("defaultValue", {})):
        yield f"its configuration holds {key!r} in clear."
    for label, executor in graph.executors.items():
        for variable in executor["container"].get("env", []):
            if _SECRET_WORDS.search(variable["name"]):
                yield f"{label} has {variable['name']} in clear."


def _texts(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, name)
    elif isinstance(value, str) and value and _SECRET_WORDS.fullmatch(key):
        yield key


def _circle(waits: Mapping[str, Sequence[str]]) -> list[str]:
    """Names of a circle of waits, its first again at the end; empty where there is none."""
    for start in waits:
        path, pending = [start], [iter(waits[start])]
        while pending:
            above = next(pending[-1], None)
            if above is None:
                pending.pop()
                path.pop()
            elif above == start:
                return [*path, start]
            elif above not in path and above in waits:
                path.append(above)
                pending.append(iter(waits[above]))
    return []


def _reached(start: Sequence[str], waits: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    pending = list(start)
    while pending:
        for above in waits.get(pending.pop(), set()) - found:
            found.add(above)
            pending.append(above)
    return found


_OURS = "This is a fault of SlimWorks: report it with the configuration."
RULES: dict[Callable[[Graph], Iterator[str]], str] = {
    name_is_a_label: "Give a name of lower-case letters, digits and '-': --set name=NAME.",
    every_component_is_there: _OURS,
    every_step_is_there: _OURS,
    waits_lead_somewhere: _OURS,
    steps_wait_for_what_they_read: _OURS,
    report_always_runs: _OURS,
    caching_is_off: _OURS,
    placeholders_are_declared: _OURS,
    inputs_are_given: _OURS,
    workspace_is_mounted: _OURS,
    images_are_the_same: "Compile with one image for all steps: --image REF.",
    secrets_are_references: "Name a Kubernetes Secret instead: kubeflow.secrets.",
}
