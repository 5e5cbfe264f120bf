"""Compiles to Kubeflow Pipelines v2 YAML: one container task a node, each running `run_node`.

Every container builds the pipeline anew from the configuration, so that a run's parameters (data,
settings, window) need no new YAML, and what depends on files is looked up where they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from slimworks.components import files
from slimworks.components.errors import ConfigError
from slimworks.components.nets import own_nets
from slimworks.components.trainer.tfjob_run import TFJOB_VARIABLE
from slimworks.pipeline import dag, tfx_import
from slimworks.pipeline.config import PipelineConfig, pipeline_name
from slimworks.pipeline.kubeflow import graph
from slimworks.pipeline.kubeflow.config import PASSWORD_VARIABLE, StepConfig
from slimworks.pipeline.kubeflow.distributed import tfjob_variable, tolerations, waiting_step
from slimworks.pipeline.kubeflow.outputs import OUTCOME, REFUSED, REPORT
from slimworks.pipeline.kubeflow.volumes import claims

COMMAND = ("python", "-m", "slimworks.pipeline.run_node")
# The run's parameters: what `submit` and a schedule may give.
PARAMETERS = ("config", "data", "overrides", "window", "run_name")
_PUSH = ("replay", "pusher")  # what a refusal of the gate makes needless
# Settings that say how the YAML is made, not what a step does: not in the `config` parameter.
_OF_THE_STEPS = {"workspace", "scratch", "metadata"}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What was compiled.

    Attributes:
        name: Pipeline name on Kubeflow.
        steps: In order.
        text: The YAML: the pipeline, and what Kubernetes gives its pods.
    """

    name: str
    steps: list[str]
    text: str


def kubeflow_locations(config: PipelineConfig, name: str) -> dag.Locations:
    """Folders on the volume that every container mounts at `kubeflow.workspace`.

    With a workspace in a bucket they are each container's own, and models go to that bucket.
    """
    home = f"{config.kubeflow.folder.rstrip('/')}/{name}"
    base_path = config.push.base_path or f"{config.kubeflow.workspace.rstrip('/')}/{name}/serving"
    return dag.Locations(
        source=str(config.data.source),
        pipeline_root=f"{home}/artifacts",
        work=f"{home}/work",
        state=f"{home}/state",
        base_path=f"{base_path}/{config.serving.model_name or name}",
    )


def compile_to_kubeflow(config: PipelineConfig, image: str, output: Path) -> list[str]:
    """Writes the YAML, replaced atomically, and returns the steps in order."""
    compiled = compile_text(config, image)
    files.write_text(output, compiled.text)
    return compiled.steps


def compile_text(config: PipelineConfig, image: str, has_cluster: bool = True) -> Compiled:
    """Returns the compiled pipeline, the same text for the same configuration.

    Args:
        config: The configuration; `data.source` is a path as the containers see it.
        image: Container image that has SlimWorks installed.
        has_cluster: Whether the trainer may start a TFJob; otherwise its processes share one
            container.

    Raises:
        ConfigError: No data source, a network that only this machine has, kfp-kubernetes is
            missing, or a rule of `graph` is broken.
    """
    if not config.data.source:
        raise ConfigError(
            "No data: data.source is not set.",
            "Give the folder as the containers see it: --data /workspace/photos.",
        )
    own_nets.require_installed(config.model.net, image)
    kubernetes = _kubernetes()
    tfx_import.load()
    from kfp import compiler

    name = config.name or pipeline_name(str(config.data.source))
    locations = kubeflow_locations(config, name)
    ir = dag.compile_pipeline(dag.build_pipeline(config, name, locations))
    nodes = {n.pipeline_node.node_info.id: sorted(n.pipeline_node.upstream_nodes) for n in ir.nodes}
    tasks = _Tasks(kubernetes, config, image, graph_digest(nodes), has_cluster)
    pipeline = tasks.pipeline(nodes, _defaults(config, name), name.replace("_", "-"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        text = path.read_text(encoding="utf-8")
    graph.check(list(yaml.safe_load_all(text)), nodes, config.kubeflow)
    steps = list(nodes) if config.kubeflow.plain else [*nodes, REPORT]
    return Compiled(name.replace("_", "-"), steps, text)


def graph_digest(nodes: Mapping[str, list[str]]) -> str:
    """Digest of the steps and of what each waits for."""
    return hashlib.sha256(json.dumps(nodes, sort_keys=True).encode()).hexdigest()[:16]


def _kubernetes() -> Any:
    try:
        from kfp import kubernetes
    except ImportError:
        raise ConfigError(
            "kfp-kubernetes, which mounts the workspace volume, is not installed: with Python 3.10 "
            "it cannot be installed beside TFX.",
            "Compile with Python 3.11.",
        ) from None
    return kubernetes


def _defaults(config: PipelineConfig, name: str) -> dict[str, Any]:
    """Defaults of the run's parameters, by name: see PARAMETERS."""
    settings = config.model_dump(mode="json", exclude_defaults=True, by_alias=True)
    data = {key: value for key, value in settings.pop("data", {}).items() if key != "source"}
    if data:
        settings["data"] = data
    settings["name"] = name
    settings.pop("containers", None)
    kubeflow = settings.pop("kubeflow", {})
    if kept := {key: value for key, value in kubeflow.items() if key in _OF_THE_STEPS}:
        settings["kubeflow"] = kept
    return {
        "config": settings,
        "data": str(config.data.source),
        "overrides": [],
        "window": 0,
        "run_name": "",
    }


class _Tasks:
    """Makes the tasks of one pipeline."""

    def __init__(
        self, kubernetes: Any, config: PipelineConfig, image: str, digest: str, has_cluster: bool
    ) -> None:
        self._kubernetes, self._config = kubernetes, config.kubeflow
        self._image, self._digest = image, digest
        self._tfjob = tfjob_variable(config, image) if has_cluster else ""
        self._claims = claims(config)

    def pipeline(
        self, nodes: Mapping[str, list[str]], defaults: Mapping[str, Any], name: str
    ) -> Any:
        """Returns the kfp pipeline of nodes, each with the names of those that it waits for."""
        from kfp import dsl

        def build(*arguments: Any) -> None:
            given = dict(zip(defaults, arguments, strict=True))
            if self._config.plain:
                self._add_nodes(nodes, given)
                return
            report = self._task(REPORT, given)
            with dsl.ExitHandler(report, name="run"):
                self._add_nodes(nodes, given)

        types = {key: type(value) for key, value in defaults.items()}
        _sign(build, "build", types, None, defaults)
        description = "SlimWorks: photos to a pushed model."
        return dsl.pipeline(name=name, description=description)(build)

    def _add_nodes(self, nodes: Mapping[str, list[str]], given: Mapping[str, Any]) -> None:
        from kfp import dsl

        tasks: dict[str, Any] = {}
        push: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        for node in [node for node in nodes if node not in _PUSH]:
            tasks[node] = self._task(node, given).after(*(tasks[above] for above in nodes[node]))
        if not self._config.plain:
            push = dsl.If(tasks["gate"].outputs[OUTCOME] != REFUSED, name="not-refused")
        with push:
            for node in _PUSH:
                tasks[node] = self._task(node, given).after(
                    *(tasks[above] for above in nodes[node])
                )

    def _task(self, step: str, given: Mapping[str, Any]) -> Any:
        from kfp import dsl

        settings = self._config.step(step)
        flags = [] if settings.cache else ["--no-cache"]
        component = _component(step, self._image, ["--graph", self._digest, *flags])
        task = component(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER, **given)
        task.set_display_name(step)
        # A cache hit of Kubeflow's would skip the launcher, which has a better cache.
        task.set_caching_options(False)
        if step == "trainer" and self._tfjob:
            task.set_env_variable(TFJOB_VARIABLE, self._tfjob)
            settings = waiting_step(self._config.step("default"), settings)
        self._give_resources(task, settings)
        self._give_volume_and_secrets(task)
        return task

    def _give_resources(self, task: Any, step: StepConfig) -> None:
        if step.cpu:
            task.set_cpu_request(step.cpu)
        if step.cpu_limit:
            task.set_cpu_limit(step.cpu_limit)
        if step.memory:
            task.set_memory_request(step.memory).set_memory_limit(step.memory)
        if step.gpus:
            task.set_accelerator_type(step.gpu_type).set_accelerator_limit(step.gpus)
        if step.retries:
            task.set_retry(
                num_retries=step.retries,
                backoff_duration=f"{step.backoff_seconds}s",
                backoff_factor=step.backoff_factor,
                backoff_max_duration=f"{step.max_backoff_seconds}s",
            )
        if step.timeout_seconds:
            self._kubernetes.set_timeout(task, step.timeout_seconds)
        for label, value in (step.node_selector or {}).items():
            self._kubernetes.add_node_selector(task, label, value)
        for toleration in tolerations(step):
            self._kubernetes.add_toleration(task, **toleration)

    def _give_volume_and_secrets(self, task: Any) -> None:
        config = self._config
        for mount_path, claim in self._claims.items():
            self._kubernetes.mount_pvc(task, pvc_name=claim, mount_path=mount_path)
        if config.is_in_bucket:
            size = config.scratch_size or None
            self._kubernetes.empty_dir_mount(task, "scratch", config.scratch, size_limit=size)
        if config.metadata.secret:
            keys = {config.metadata.secret_key: PASSWORD_VARIABLE}
            self._kubernetes.use_secret_as_env(task, config.metadata.secret, keys)
        for secret in config.secrets:
            if secret.env:
                self._kubernetes.use_secret_as_env(task, secret.name, secret.env)
            if secret.mount_path:
                self._kubernetes.use_secret_as_volume(task, secret.name, secret.mount_path)
        if config.image_pull_secrets:
            self._kubernetes.set_image_pull_secrets(task, config.image_pull_secrets)


def _component(step: str, image: str, fixed: list[str]) -> Callable[..., Any]:
    """The container component of a step: its command line, and what it shows in the UI."""
    from kfp import dsl

    inputs = {
        "run_id": str, "config": dict, "data": str, "overrides": list, "window": int,
        "run_name": str,
    }  # fmt: skip
    outputs: dict[str, Any] = {
        "evaluator": {
            "metrics": dsl.Output[dsl.Metrics],
            "confusion_matrix": dsl.Output[dsl.ClassificationMetrics],
        },
        "gate": {"table": dsl.Output[dsl.HTML], OUTCOME: dsl.OutputPath(str)},
        REPORT: {"report_page": dsl.Output[dsl.HTML]},
    }.get(step, {})

    def container(*values: Any) -> Any:
        named = dict(zip([*inputs, *outputs], values, strict=True))
        arguments: list[Any] = ["--node", step, *fixed]
        for name in inputs:
            arguments += [f"--{name.replace('_', '-')}", named[name]]
        if outputs:
            arguments += ["--executor-input", "{{$}}"]
        for name in outputs:
            value = named[name]
            arguments += [f"--{name.replace('_', '-')}", getattr(value, "path", value)]
        return dsl.ContainerSpec(image=image, command=list(COMMAND), args=arguments)

    _sign(container, step, {**inputs, **outputs}, dsl.ContainerSpec, {})
    component: Callable[..., Any] = dsl.container_component(container)
    return component


def _sign(
    function: Any, name: str, types: Mapping[str, Any], result: Any, defaults: Mapping[str, Any]
) -> None:
    """Gives a function the signature that kfp reads names, types and defaults from."""
    empty = inspect.Parameter.empty
    parameters = [
        inspect.Parameter(
            key,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            annotation=kind,
            default=defaults.get(key, empty),
        )
        for key, kind in types.items()
    ]
    function.__name__ = name
    function.__annotations__ = dict(types) if result is None else {**types, "return": result}
    function.__signature__ = inspect.Signature(
        parameters, return_annotation=inspect.Signature.empty if result is None else result
    )
