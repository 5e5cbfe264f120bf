"""A good pod breaks no rule; each mistake breaks one, in words that name it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from manifest_rendering import K8S
from pod_rules import RULES, images_without_digest, pod_problems, pods_of

from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.tfjob import PodSettings, tfjob_manifest
from slimworks.components.trainer.tfjob_run import pod_settings
from slimworks.pipeline.config import load_config
from slimworks.pipeline.kubeflow.cron import parse_cron
from slimworks.pipeline.kubeflow.cronjob import cronjob_yaml

Spec = dict[str, Any]


def _serving() -> dict[str, Any]:
    manifest = yaml.safe_load((K8S / "base/serving/deployment.yaml").read_text("utf-8"))
    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = "tensorflow/serving:2.16.1"
    return dict(manifest)


def _container(spec: Spec) -> Any:
    return spec["containers"][0]


MISTAKES: dict[str, tuple[Callable[[Spec], Any], str]] = {
    "root is allowed": (
        lambda spec: spec["securityContext"].pop("runAsNonRoot"),
        "runAsNonRoot is not true",
    ),
    "a container is root": (
        lambda spec: _container(spec)["securityContext"].update(runAsUser=0),
        "a container runs as root",
    ),
    "no seccomp": (
        lambda spec: spec["securityContext"].pop("seccompProfile"),
        "seccompProfile is not RuntimeDefault",
    ),
    "privileged": (
        lambda spec: _container(spec)["securityContext"].update(privileged=True),
        "serving: allowPrivilegeEscalation is not false",
    ),
    "a capability": (
        lambda spec: _container(spec)["securityContext"]["capabilities"].update(add=["NET_RAW"]),
        "serving: capabilities are not all dropped",
    ),
    "writable root": (
        lambda spec: _container(spec)["securityContext"].pop("readOnlyRootFilesystem"),
        "serving: readOnlyRootFilesystem is not true",
    ),
    "the node's network": (lambda spec: spec.update(hostNetwork=True), "hostNetwork is true"),
    "the node's port": (
        lambda spec: _container(spec)["ports"][0].update(hostPort=8500),
        "serving: a port of the node",
    ),
    "the node's files": (
        lambda spec: spec["volumes"].append({"name": "node", "hostPath": {"path": "/"}}),
        "volume node: of a kind that `restricted` refuses",
    ),
    "a token": (
        lambda spec: spec.update(automountServiceAccountToken=True),
        "automountServiceAccountToken is not false",
    ),
    "no account": (lambda spec: spec.pop("serviceAccountName"), "serviceAccountName is missing"),
    "latest": (
        lambda spec: _container(spec).update(image="tensorflow/serving:latest"),
        "image tensorflow/serving:latest has neither a digest nor a tag but latest",
    ),
    "no tag": (
        lambda spec: _container(spec).update(image="registry.example:5000/serving"),
        "image registry.example:5000/serving has neither",
    ),
    "no memory limit": (
        lambda spec: _container(spec)["resources"].pop("limits"),
        "serving: resources.limits.memory is missing",
    ),
    "no request": (
        lambda spec: _container(spec)["resources"]["requests"].pop("cpu"),
        "serving: resources.requests.cpu is missing",
    ),
    "endless scratch": (
        lambda spec: spec["volumes"][2]["emptyDir"].pop("sizeLimit"),
        "volume scratch: emptyDir.sizeLimit is missing",
    ),
    "no probe": (
        lambda spec: _container(spec).pop("readinessProbe"),
        "serving: readinessProbe is missing",
    ),
    "no grace": (
        lambda spec: spec.pop("terminationGracePeriodSeconds"),
        "terminationGracePeriodSeconds is missing",
    ),
    "no preStop": (lambda spec: _container(spec).pop("lifecycle"), "lifecycle.preStop is missing"),
    "a missing volume": (
        lambda spec: spec["volumes"].pop(2),
        "serving: no volume scratch",
    ),
    "writable models": (
        lambda spec: spec["volumes"][0]["persistentVolumeClaim"].pop("readOnly"),
        "volume models: a server may write to models",
    ),
}


def test_the_servers_break_no_rule() -> None:
    assert pod_problems(_serving()) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_mistake_is_one_problem(mistake: str) -> None:
    manifest = _serving()
    change, message = MISTAKES[mistake]
    change(manifest["spec"]["template"]["spec"])
    (problem,) = pod_problems(manifest)
    assert problem.startswith("Deployment/serving: ")
    assert message in problem


def test_every_rule_has_a_mistake() -> None:
    found = set()
    for change, _ in MISTAKES.values():
        manifest = _serving()
        change(manifest["spec"]["template"]["spec"])
        found |= {rule.__name__ for rule in RULES if _breaks(manifest, rule)}
    assert found == {rule.__name__ for rule in RULES}


def _breaks(manifest: dict[str, Any], rule: Any) -> bool:
    return any(problem for pod in pods_of(manifest) for problem in rule(pod))


@pytest.mark.parametrize("gpus", [0, 2])
def test_the_pods_of_a_tfjob_break_no_rule(gpus: int) -> None:
    pod = PodSettings("registry.example/slimworks:1", "slimworks", "/workspace", "4", "8Gi", gpus)
    config = TrainConfig(distribution="multi_worker", workers=3)
    manifest = tfjob_manifest("photos", "/workspace/work/training.json", config, pod, "slimworks")
    assert pod_problems(manifest) == []
    broken = copy.deepcopy(manifest)
    broken["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"].pop("securityContext")
    assert {problem.partition(": ")[0] for problem in pod_problems(broken)} == {
        "TFJob/photos Worker"
    }


@pytest.mark.parametrize("train", [(), ("train.distribution=multi_worker", "train.workers=3")])
def test_the_cronjob_that_is_made_of_a_configuration_breaks_no_rule(train: tuple[str, ...]) -> None:
    step = "{cpu: 4, memory: 8Gi, gpus: 1, node_selector: {pool: gpu}, timeout_seconds: 60}"
    settings = (
        *train,
        f"kubeflow.steps.trainer={step}",
        "kubeflow.steps.default={cpu: 1, memory: 4Gi}",
        "push.base_path=/models",
        "kubeflow.models_claim=models",
    )
    config = load_config(None, settings, "/workspace/photos")
    text = cronjob_yaml(config, "registry.example/slimworks:1", parse_cron("@daily"))
    _, cronjob = yaml.safe_load_all(text)
    assert pod_problems(cronjob) == []
    (pod,) = pods_of(cronjob)
    (container,) = pod.containers
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    found = {
        mounted[volume["name"]]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod.spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert found == {"/workspace": "slimworks", "/models": "models"}
    assert pod.spec["automountServiceAccountToken"] is bool(train)
    assert pod.spec["serviceAccountName"] == ("trainer" if train else "default")
    assert pod.spec["activeDeadlineSeconds"] == 60
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) is not bool(train)
    settings_of_pods = pod_settings({v["name"]: v.get("value", "") for v in container["env"]})
    if train:
        assert settings_of_pods is not None
        assert (settings_of_pods.gpus, settings_of_pods.node_selector) == (1, {"pool": "gpu"})
        assert pod.labels["slimworks/kubernetes-client"] == "true"
    else:
        assert settings_of_pods is None


def test_a_tag_is_no_digest() -> None:
    manifest = _serving()
    assert images_without_digest([manifest]) == ["tensorflow/serving:2.16.1"]
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["image"] = "tensorflow/serving@sha256:" + "0" * 64
    assert images_without_digest([manifest]) == []
    assert pod_problems(manifest) == []
