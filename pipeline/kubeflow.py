"""Compiles to Kubeflow Pipelines v2 YAML: one container task a node, each running `run_node`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slimworks.components import files
from slimworks.components.errors import ConfigError
from slimworks.pipeline import dag, tfx_import
from slimworks.pipeline.config import PipelineConfig, pipeline_name

COMMAND = ("python", "-m", "slimworks.pipeline.run_node")


def kubeflow_locations(config: PipelineConfig, name: str) -> dag.Locations:
    """Folders on the volume that every container mounts at `kubeflow.workspace`."""
    home = f"{config.kubeflow.workspace.rstrip('/')}/{name}"
    base_path = config.push.base_path or f"{home}/serving"
    return dag.Locations(
        source=str(config.data.source),
        pipeline_root=f"{home}/artifacts",
        work=f"{home}/work",
        state=f"{home}/state",
        base_path=f"{base_path}/{config.serving.model_name or name}",
    )


def compile_to_kubeflow(config: PipelineConfig, image: str, output: Path) -> list[str]:
    """Writes the YAML and returns the steps in order.

    Args:
        config: The configuration; `data.source` is a path as the containers see it.
        image: Container image that has SlimWorks installed.
        output: Where the YAML goes; replaced atomically.

    Raises:
        ConfigError: No data source.
    """
    if not config.data.source:
        raise ConfigError(
            "No data: data.source is not set.",
            "Give the folder as the containers see it: --data /workspace/photos.",
        )
    tfx_import.load()
    from kfp import compiler

    name = config.name or pipeline_name(str(config.data.source))
    locations = kubeflow_locations(config, name)
    ir = dag.compile_pipeline(dag.build_pipeline(config, name, locations))
    metadata = f"{config.kubeflow.workspace.rstrip('/')}/{name}/metadata.sqlite"
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "pipeline.yaml")
        compiler.Compiler().compile(_pipeline(ir, name, config, image, metadata), path)
        files.write_bytes(output, Path(path).read_bytes())
    return [node.pipeline_node.node_info.id for node in ir.nodes]


def _pipeline(ir: Any, name: str, config: PipelineConfig, image: str, metadata: str) -> Any:
    from kfp import dsl

    try:
        from kfp import kubernetes
    except ImportError:
        raise ConfigError(
            "kfp-kubernetes, which mounts the workspace volume, is not installed: with Python 3.10 "
            "it cannot be installed beside TFX.",
            "Compile with Python 3.11.",
        ) from None

    from slimworks.pipeline.run_node import encode_node

    def build() -> None:
        tasks: dict[str, Any] = {}
        for node in (n.pipeline_node for n in ir.nodes):
            node_id = node.node_info.id
            component = _component(node_id, image, encode_node(ir, node_id), metadata)
            task = component(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
            task.set_display_name(node_id)
            # A cache hit of Kubeflow's would skip the launcher, which has a better cache.
            task.set_caching_options(False)
            task.after(*(tasks[upstream] for upstream in sorted(node.upstream_nodes)))
            kubernetes.mount_pvc(
                task,
                pvc_name=config.kubeflow.volume_claim,
                mount_path=config.kubeflow.workspace,
            )
            tasks[node_id] = task

    build.__annotations__ = {}  # kfp takes the text "None" for an artifact's type
    return dsl.pipeline(
        name=name.replace("_", "-"), description="SlimWorks: photos to a pushed model."
    )(build)


def _component(node_id: str, image: str, encoded: str, metadata: str) -> Callable[..., Any]:
    from kfp import dsl

    def container(run_id: str) -> Any:
        arguments: list[Any] = [
            "--node", node_id, "--run-id", run_id, "--metadata", metadata, "--ir", encoded,
        ]  # fmt: skip
        return dsl.ContainerSpec(image=image, command=list(COMMAND), args=arguments)

    container.__name__ = node_id
    # The annotations are texts here; kfp wants the types.
    container.__annotations__ = {"run_id": str, "return": dsl.ContainerSpec}
    component: Callable[..., Any] = dsl.container_component(container)
    return component
