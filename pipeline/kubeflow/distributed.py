"""A training of several pods: what the pod that starts them is told (see trainer/tfjob_run.py)."""

from __future__ import annotations

import dataclasses
import json

from slimworks.components.trainer.launch import SEVERAL_PROCESSES
from slimworks.components.trainer.tfjob import PodSettings
from slimworks.pipeline.config import PipelineConfig
from slimworks.pipeline.kubeflow.config import StepConfig
from slimworks.pipeline.kubeflow.volumes import require_volume


def is_distributed(config: PipelineConfig) -> bool:
    """Whether the trainer starts a TFJob."""
    return config.train.distribution in SEVERAL_PROCESSES and config.train.workers > 1


def tfjob_variable(config: PipelineConfig, image: str) -> str:
    """Value of `TFJOB_VARIABLE`; empty where one process trains."""
    if not is_distributed(config):
        return ""
    require_volume(config, "A training of several pods")
    kubeflow, step = config.kubeflow, config.kubeflow.step("trainer")
    pod = PodSettings(
        image=image,
        volume_claim=kubeflow.volume_claim,
        workspace=kubeflow.workspace,
        cpu=step.cpu or "",
        cpu_limit=step.cpu_limit or "",
        memory=step.memory or "",
        gpus=step.gpus or 0,
        gpu_type=str(step.gpu_type),
        node_selector=step.node_selector or {},
        tolerations=tolerations(step),
        secrets=[secret.model_dump() for secret in kubeflow.secrets],
        image_pull_secrets=kubeflow.image_pull_secrets,
    )
    return json.dumps(dataclasses.asdict(pod), sort_keys=True)


def tolerations(step: StepConfig) -> list[dict[str, str]]:
    """Taints that a step's pod tolerates, as Kubernetes writes them."""
    return [
        {key: value for key, value in toleration.model_dump().items() if value}
        for toleration in step.tolerations or ()
    ]


def waiting_step(default: StepConfig, trainer: StepConfig) -> StepConfig:
    """What the trainer's own pod gets while it only waits: no GPU, but the trainer's patience."""
    kept = ("retries", "backoff_seconds", "backoff_factor", "max_backoff_seconds", "cache")
    given = {name: getattr(trainer, name) for name in (*kept, "timeout_seconds")}
    return default.model_copy(update=given)
