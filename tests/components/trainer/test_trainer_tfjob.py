"""The TFJob manifest against the fields that Kubernetes and Kubeflow publish."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import kubernetes.client
import pytest
import yaml

from slimworks.components.errors import EXIT_DATA, EXIT_TRAINING, EXIT_USAGE, ConfigError
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.launch import LOST_EXIT_CODE
from slimworks.components.trainer.tfjob import PodSettings, tfjob_manifest

POD = PodSettings("registry.example/slimworks:1", "photos", "/workspace", cpu="4", memory="8Gi")
RICH = PodSettings(
    "registry.example/slimworks:1",
    "photos",
    "/workspace",
    cpu="4",
    cpu_limit="6",
    memory="8Gi",
    gpus=2,
    gpu_type="amd.com/gpu",
    node_selector={"pool": "gpu"},
    tolerations=[{"key": "gpu", "operator": "Exists"}],
    secrets=[
        {"name": "s3", "env": {"id": "AWS_ACCESS_KEY_ID"}, "mount_path": ""},
        {"name": "gcs", "env": {}, "mount_path": "/secrets/gcs"},
    ],
    image_pull_secrets=["registry"],
)

# kubeflow/training-operator, manifests/base/crds/kubeflow.org_tfjobs.yaml (v1), without `status`.
# Field -> type, or the fields below it; "*" is any name.
TFJOB: dict[str, Any] = {
    "apiVersion": str,
    "kind": str,
    "metadata": "V1ObjectMeta",
    "spec": {
        "enableDynamicWorker": bool,
        "runPolicy": {
            "activeDeadlineSeconds": int,
            "backoffLimit": int,
            "cleanPodPolicy": str,
            "schedulingPolicy": {
                "minAvailable": int,
                "minResources": {"*": str},
                "priorityClass": str,
                "queue": str,
                "scheduleTimeoutSeconds": int,
            },
            "suspend": bool,
            "ttlSecondsAfterFinished": int,
        },
        "successPolicy": str,
        "tfReplicaSpecs": {
            "*": {"replicas": int, "restartPolicy": str, "template": "V1PodTemplateSpec"}
        },
    },
}


def _check(value: Any, schema: Any, where: str) -> None:
    if isinstance(schema, str):
        _check_kubernetes(value, schema, where)
    elif isinstance(schema, dict):
        for key, item in value.items():
            assert key in schema or "*" in schema, f"{where}.{key} is no field"
            _check(item, schema.get(key, schema.get("*")), f"{where}.{key}")
    else:
        assert isinstance(value, schema), f"{where} is {value!r}"


def _check_kubernetes(value: Any, kind: str, where: str) -> None:
    """Against the client that Kubernetes generates from its OpenAPI description."""
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        for at, item in enumerate(value):
            _check_kubernetes(item, match.group(1), f"{where}[{at}]")
    elif match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        for key, item in value.items():
            _check_kubernetes(item, match.group(1), f"{where}.{key}")
    elif kind in ("str", "int", "bool"):
        assert type(value).__name__ == kind, f"{where} is {value!r}"
    else:
        model = getattr(kubernetes.client, kind)
        names = {json_name: name for name, json_name in model.attribute_map.items()}
        for key, item in value.items():
            assert key in names, f"{where}.{key} is no field of {kind}"
            _check_kubernetes(item, model.openapi_types[names[key]], f"{where}.{key}")


def _manifest(pod: PodSettings = POD, **settings: Any) -> dict[str, Any]:
    config = TrainConfig.model_validate({"distribution": "multi_worker", "workers": 4, **settings})
    return tfjob_manifest("flowers", "/workspace/work/training.json", config, pod)


@pytest.mark.parametrize("distribution", ["multi_worker", "parameter_server"])
@pytest.mark.parametrize("gpus", [0, 2])
def test_every_field_is_one_of_the_published_schema(distribution: str, gpus: int) -> None:
    pod = PodSettings("image", "claim", "/workspace", "500m", "8Gi", gpus)
    for settings in (pod, dataclasses.replace(RICH, gpus=gpus)):
        manifest = _manifest(settings, distribution=distribution)
        _check(manifest, TFJOB, "tfjob")
        assert yaml.safe_load(yaml.safe_dump(manifest)) == manifest


def test_a_pod_gets_what_the_step_was_given() -> None:
    spec = _manifest(RICH)["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert container["resources"] == {
        "requests": {"cpu": "4", "memory": "8Gi"},
        "limits": {"cpu": "6", "memory": "8Gi", "amd.com/gpu": "2"},
    }
    assert {
        "name": "AWS_ACCESS_KEY_ID",
        "valueFrom": {"secretKeyRef": {"name": "s3", "key": "id"}},
    } in container["env"]
    assert {"name": "gcs", "secret": {"secretName": "gcs"}} in spec["volumes"]
    assert "s3" not in [volume["name"] for volume in spec["volumes"]]
    mount = {"name": "gcs", "mountPath": "/secrets/gcs", "readOnly": True}
    assert mount in container["volumeMounts"]


def test_a_pod_says_nothing_of_what_it_was_not_given() -> None:
    spec = _manifest()["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    assert not spec.keys() & {"nodeSelector", "tolerations", "imagePullSecrets"}


def test_the_check_finds_what_is_no_field() -> None:
    manifest = _manifest()
    manifest["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["contaners"] = []
    with pytest.raises(AssertionError, match="contaners is no field of V1PodSpec"):
        _check(manifest, TFJOB, "tfjob")


def test_workers_are_a_chief_and_the_rest() -> None:
    replicas = _manifest()["spec"]["tfReplicaSpecs"]
    assert {kind: spec["replicas"] for kind, spec in replicas.items()} == {"Chief": 1, "Worker": 3}


def test_parameter_servers_have_a_chief_beside_the_workers() -> None:
    manifest = _manifest(distribution="parameter_server", parameter_servers=2)
    replicas = manifest["spec"]["tfReplicaSpecs"]
    found = {kind: spec["replicas"] for kind, spec in replicas.items()}
    assert found == {"Chief": 1, "Worker": 4, "PS": 2}


def test_only_pods_that_train_ask_for_gpus() -> None:
    pod = PodSettings("image", "claim", "/workspace", gpus=1)
    for settings, expected in (
        ({}, {"Chief", "Worker"}),
        ({"distribution": "parameter_server"}, {"Worker"}),
    ):
        replicas = _manifest(pod, **settings)["spec"]["tfReplicaSpecs"]
        found = {
            kind
            for kind, spec in replicas.items()
            if "nvidia.com/gpu" in str(spec["template"]["spec"]["containers"][0]["resources"])
        }
        assert found == expected


def test_a_pod_runs_the_training_on_the_volume() -> None:
    template = _manifest()["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    (container,) = template["containers"]
    assert container["name"] == "tensorflow", "the operator sets TF_CONFIG in no other container"
    assert container["command"] == [
        "python", "-m", "slimworks.components.trainer.worker", "/workspace/work/training.json",
    ]  # fmt: skip
    assert container["ports"] == [{"name": "tfjob-port", "containerPort": 2222}]
    assert container["resources"] == {
        "requests": {"cpu": "4", "memory": "8Gi"}, "limits": {"memory": "8Gi"},
    }  # fmt: skip
    assert {"name": "workspace", "mountPath": "/workspace"} in container["volumeMounts"]
    claim = {"claimName": "photos"}
    assert {"name": "workspace", "persistentVolumeClaim": claim} in template["volumes"]


def test_a_lost_pod_starts_again_and_a_wrong_setting_does_not() -> None:
    """Kubeflow's ExitCode: 1 to 127 end the job, 128 to 255 start the pod again."""
    specs = _manifest()["spec"]["tfReplicaSpecs"].values()
    assert {spec["restartPolicy"] for spec in specs} == {"ExitCode"}
    assert LOST_EXIT_CODE >= 128
    assert max(EXIT_USAGE, EXIT_DATA, EXIT_TRAINING) < 128


def test_a_namespace_is_named_only_where_one_is_given() -> None:
    assert "namespace" not in _manifest()["metadata"]
    config = TrainConfig(distribution="multi_worker", workers=2)
    manifest = tfjob_manifest("flowers", "/w/training.json", config, POD, "team")
    assert manifest["metadata"]["namespace"] == "team"


@pytest.mark.parametrize(
    "settings",
    [{"distribution": "none", "workers": 1}, {"workers": 1}, {"distribution": "mirrored"}],
    ids=["none", "one worker", "mirrored"],
)
def test_one_process_needs_no_tfjob(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        _manifest(**{"workers": 1, **settings})
    assert caught.value.cause.endswith("one process needs no TFJob.")
    assert caught.value.fix == "Set train.distribution=multi_worker and train.workers=2 or more."
