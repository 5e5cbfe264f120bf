"""What every pod has to be, one rule a mistake. Pod Security `restricted`, and more."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from manifest_rendering import Manifest, title

# The accounts that have rights in Kubernetes: only their pods may hold a token.
TOKEN_ACCOUNTS = frozenset(("trainer", "pipeline-runner"))
_VOLUME_KINDS = frozenset(
    ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
     "projected", "secret")
)  # fmt: skip
_PINNED = re.compile(r".+@sha256:[0-9a-f]{64}")
_TAGGED = re.compile(r"[^@]+:(?!latest$)[\w.-]+")  # a tag comes after the last slash


@dataclasses.dataclass(frozen=True)
class Pod:
    """A pod template.

    Attributes:
        where: Whose, such as "CronJob/run".
        kind: Of the whole manifest.
        labels: Of the pods.
        spec: The PodSpec.
    """

    where: str
    kind: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def containers(self) -> list[dict[str, Any]]:
        """Init containers too."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def pods_of(manifest: Manifest) -> Iterator[Pod]:
    """The pod templates of any kind of workload."""
    kind, spec = manifest["kind"], manifest.get("spec", {})
    if kind == "Pod":
        templates = {"": manifest}
    elif kind == "CronJob":
        templates = {"": spec["jobTemplate"]["spec"]["template"]}
    elif kind == "TFJob":
        replicas = spec["tfReplicaSpecs"]
        templates = {f" {name}": replica["template"] for name, replica in replicas.items()}
    elif "template" in spec:
        templates = {"": spec["template"]}
    else:
        templates = {}
    for suffix, template in templates.items():
        labels = template.get("metadata", {}).get("labels", {})
        yield Pod(title(manifest) + suffix, kind, labels, template["spec"])


def _is_root(pod: Pod) -> Iterator[str]:
    security = pod.spec.get("securityContext", {})
    if security.get("runAsNonRoot") is not True:
        yield "securityContext.runAsNonRoot is not true"
    for context in (security, *(c.get("securityContext", {}) for c in pod.containers)):
        if context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False:
            yield "a container runs as root"


def _lacks_seccomp(pod: Pod) -> Iterator[str]:
    profile = pod.spec.get("securityContext", {}).get("seccompProfile", {})
    if profile.get("type") != "RuntimeDefault":
        yield "securityContext.seccompProfile is not RuntimeDefault"


def _may_gain_rights(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        security = container.get("securityContext", {})
        capabilities = security.get("capabilities", {})
        if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
            yield f"{container['name']}: allowPrivilegeEscalation is not false"
        if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
            yield f"{container['name']}: capabilities are not all dropped"


def _writes_its_root(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']}: readOnlyRootFilesystem is not true"


def _shares_the_node(pod: Pod) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(key):
            yield f"{key} is true"
    for container in pod.containers:
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"{container['name']}: a port of the node"
    for volume in pod.spec.get("volumes", []):
        if not _VOLUME_KINDS & volume.keys():
            yield f"volume {volume['name']}: of a kind that `restricted` refuses"


def _holds_a_token(pod: Pod) -> Iterator[str]:
    account = pod.spec.get("serviceAccountName", "")
    # A TFJob's pods take `default`, which has no token.
    if not account and pod.kind != "TFJob":
        yield "serviceAccountName is missing"
    if pod.spec.get("automountServiceAccountToken") is not False and account not in TOKEN_ACCOUNTS:
        yield "automountServiceAccountToken is not false"


def _has_a_loose_image(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        image = container["image"]
        name = image.rpartition("/")[2]
        if not (_PINNED.fullmatch(image) or _TAGGED.fullmatch(name)):
            yield f"{container['name']}: image {image} has neither a digest nor a tag but latest"


def _takes_what_it_wants(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        resources = container.get("resources", {})
        for group, key in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            if key not in resources.get(group, {}):
                yield f"{container['name']}: resources.{group}.{key} is missing"


def _has_an_unbounded_scratch(pod: Pod) -> Iterator[str]:
    for volume in pod.spec.get("volumes", []):
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            yield f"volume {volume['name']}: emptyDir.sizeLimit is missing"


def _is_not_probed(pod: Pod) -> Iterator[str]:
    if pod.kind not in ("Deployment", "StatefulSet"):
        return
    for container in pod.spec["containers"]:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe not in container:
                yield f"{container['name']}: {probe} is missing"


def _dies_at_once(pod: Pod) -> Iterator[str]:
    if "terminationGracePeriodSeconds" not in pod.spec:
        yield "terminationGracePeriodSeconds is missing"
    if pod.labels.get("app.kubernetes.io/component") == "serving" and not all(
        "preStop" in container.get("lifecycle", {}) for container in pod.spec["containers"]
    ):
        yield "lifecycle.preStop is missing: the server does not drain by itself"


def _mounts_what_is_not_there(pod: Pod) -> Iterator[str]:
    known = {volume["name"] for volume in pod.spec.get("volumes", [])}
    for container in pod.containers:
        for mount in container.get("volumeMounts", []):
            # Those of a StatefulSet's claims stand outside of the pod.
            if mount["name"] not in known and pod.kind != "StatefulSet":
                yield f"{container['name']}: no volume {mount['name']}"


def _may_write_models(pod: Pod) -> Iterator[str]:
    if pod.labels.get("app.kubernetes.io/component") != "serving":
        return
    for volume in pod.spec.get("volumes", []):
        claim = volume.get("persistentVolumeClaim")
        if claim is not None and not claim.get("readOnly"):
            yield f"volume {volume['name']}: a server may write to {claim['claimName']}"


RULES: Sequence[Callable[[Pod], Iterator[str]]] = (
    _is_root,
    _lacks_seccomp,
    _may_gain_rights,
    _writes_its_root,
    _shares_the_node,
    _holds_a_token,
    _has_a_loose_image,
    _takes_what_it_wants,
    _has_an_unbounded_scratch,
    _is_not_probed,
    _dies_at_once,
    _mounts_what_is_not_there,
    _may_write_models,
)


def pod_problems(manifest: Manifest) -> list[str]:
    """Every rule that a pod of the manifest breaks."""
    return [
        f"{pod.where}: {problem}"
        for pod in pods_of(manifest)
        for rule in RULES
        for problem in rule(pod)
    ]


def images_without_digest(manifests: Sequence[Manifest]) -> list[str]:
    """Images that the registry could change under their tag."""
    images = {
        container["image"]
        for manifest in manifests
        for pod in pods_of(manifest)
        for container in pod.containers
    }
    return sorted(image for image in images if not _PINNED.fullmatch(image))
