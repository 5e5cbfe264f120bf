"""The same scheduled run for a cluster without Kubeflow: a ConfigMap and a CronJob."""

from __future__ import annotations

from typing import Any

import yaml

from slimworks.components import pod_security
from slimworks.components.errors import (
    EXIT_DATA,
    EXIT_REFUSED,
    EXIT_SERVING,
    EXIT_TRAINING,
    EXIT_USAGE,
    ConfigError,
)
from slimworks.components.pod_secrets import (
    Secrets,
    secret_mounts,
    secret_variables,
    secret_volumes,
)
from slimworks.components.trainer.tfjob_run import TFJOB_VARIABLE
from slimworks.pipeline.config import PipelineConfig, pipeline_name, to_yaml
from slimworks.pipeline.kubeflow.config import StepConfig
from slimworks.pipeline.kubeflow.cron import Cron
from slimworks.pipeline.kubeflow.distributed import (
    is_distributed,
    tfjob_variable,
    tolerations,
    waiting_step,
)
from slimworks.pipeline.kubeflow.volumes import claims, require_volume

_CONFIG_FOLDER, _CONFIG_FILE = "/etc/slimworks", "pipeline.yaml"
_LATE_SECONDS = 600  # a time missed by more is left out: no catch-up
_SCRATCH_SIZE = "20Gi"  # as k8s/base/pipeline/pod.yaml
TFJOB_ACCOUNT = "trainer"  # of k8s/components/tfjob
# Starting again does not help: the settings, the data, the model.
_FINAL = sorted((EXIT_USAGE, EXIT_DATA, EXIT_TRAINING, EXIT_SERVING, EXIT_REFUSED))


def cronjob_yaml(config: PipelineConfig, image: str, cron: Cron) -> str:
    """Returns the manifests as YAML.

    Args:
        config: `kubeflow` says the image, volume, secrets, and by the step `trainer` the
            resources of the one pod that runs every step.
        image: Container image.
        cron: When (UTC).

    Raises:
        ConfigError: No data source, no volume, or none that holds `push.base_path`.
    """
    if not config.data.source:
        raise ConfigError(
            "No data: data.source is not set.",
            "Give the folder as the containers see it: --data /workspace/photos.",
        )
    require_volume(config, "A CronJob")
    name = (config.name or pipeline_name(str(config.data.source))).replace("_", "-")
    labels = {
        "app.kubernetes.io/name": "slimworks",
        "app.kubernetes.io/component": "pipeline",  # k8s/base/network.yaml goes by it
        "app.kubernetes.io/instance": name,
    }
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-config", "labels": labels},
        "data": {_CONFIG_FILE: to_yaml(config)},
    }
    client = {"slimworks/kubernetes-client": "true"} if is_distributed(config) else {}
    job = {
        "backoffLimit": config.kubeflow.step("trainer").retries,
        "podFailurePolicy": {
            "rules": [
                {  # a drained node costs no try
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": "slimworks", "operator": "In", "values": _FINAL,
                    },
                }
            ]
        },
        "template": {
            "metadata": {"labels": {**labels, **client}},
            "spec": _pod(name, image, config),
        },
    }  # fmt: skip
    cronjob = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "schedule": cron.five_fields(),
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": _LATE_SECONDS,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"spec": job},
        },
    }
    for manifest in (config_map, cronjob):
        if config.kubeflow.namespace:
            manifest["metadata"]["namespace"] = config.kubeflow.namespace  # type: ignore[index]
    return yaml.safe_dump_all((config_map, cronjob), sort_keys=False, allow_unicode=True, width=100)


def _pod(name: str, image: str, config: PipelineConfig) -> dict[str, Any]:
    kubeflow, secrets = config.kubeflow, _secrets(config)
    step, starts_tfjob = _step(config), is_distributed(config)
    account = kubeflow.service_account or (TFJOB_ACCOUNT if starts_tfjob else "default")
    volumes = {f"volume-{at}": claim for at, claim in enumerate(claims(config).values())}
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": pod_security.GRACE_SECONDS,
        "serviceAccountName": account,
        "automountServiceAccountToken": starts_tfjob,
        "enableServiceLinks": False,
        "securityContext": pod_security.restricted_pod(),
        "containers": [_container(image, config)],
        "volumes": [
            {"name": "config", "configMap": {"name": f"{name}-config"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": _SCRATCH_SIZE}},
            *(
                {"name": volume, "persistentVolumeClaim": {"claimName": claim}}
                for volume, claim in volumes.items()
            ),
            *secret_volumes(secrets),
        ],
    }
    if kubeflow.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in kubeflow.image_pull_secrets]
    if step.timeout_seconds:
        spec["activeDeadlineSeconds"] = step.timeout_seconds
    if step.node_selector:
        spec["nodeSelector"] = step.node_selector
    if step.tolerations:
        spec["tolerations"] = tolerations(step)
    return spec


def _container(image: str, config: PipelineConfig) -> dict[str, Any]:
    secrets = _secrets(config)
    env = [{"name": "HOME", "value": "/tmp"}]  # the root file system is read-only
    if tfjob := tfjob_variable(config, image):
        env.append({"name": TFJOB_VARIABLE, "value": tfjob})
    mounts = [
        {"name": "config", "mountPath": _CONFIG_FOLDER, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        *(
            {"name": f"volume-{at}", "mountPath": folder}
            for at, folder in enumerate(claims(config))
        ),
        *secret_mounts(secrets),
    ]
    return {
        "name": "slimworks",
        "image": image,
        "command": [
            "python", "-m", "slimworks", "run", "--config", f"{_CONFIG_FOLDER}/{_CONFIG_FILE}",
            "--root", config.kubeflow.workspace,
        ],
        "env": [*env, *secret_variables(secrets)],
        "resources": _resources(_step(config)),
        "securityContext": pod_security.restricted_container(),
        "volumeMounts": mounts,
    }  # fmt: skip


def _secrets(config: PipelineConfig) -> Secrets:
    return [secret.model_dump() for secret in config.kubeflow.secrets]


def _step(config: PipelineConfig) -> StepConfig:
    """Of the one pod: it trains itself, or waits for the pods that do."""
    kubeflow = config.kubeflow
    trainer = kubeflow.step("trainer")
    return waiting_step(kubeflow.step("default"), trainer) if is_distributed(config) else trainer


def _resources(step: StepConfig) -> dict[str, Any]:
    requests = {"cpu": step.cpu, "memory": step.memory}
    limits: dict[str, Any] = {"cpu": step.cpu_limit, "memory": step.memory}
    if step.gpus:
        limits[str(step.gpu_type)] = str(step.gpus)
    both = {"requests": requests, "limits": limits}
    kept = {side: {k: v for k, v in given.items() if v} for side, given in both.items()}
    return {side: given for side, given in kept.items() if given}
