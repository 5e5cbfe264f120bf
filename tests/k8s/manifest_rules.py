"""What has to fit together in one rendering, one rule a mistake."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from manifest_rendering import Manifest, of_kind, title
from pod_rules import Pod, pod_problems, pods_of

# Not rendered: people make them (docs/operations.md).
SECRETS = frozenset(("metadata-mysql", "s3-credentials"))
_CLUSTER_WIDE = frozenset(("Namespace", "ClusterRole", "ClusterRoleBinding", "PersistentVolume"))
_ALL_CRONJOBS = re.compile(r'cronjob=~?"([\w|-]+)"')

Rule = Callable[[Sequence[Manifest]], Iterator[str]]


def _names(manifests: Sequence[Manifest], kind: str) -> set[str]:
    return {manifest["metadata"]["name"] for manifest in of_kind(manifests, kind)}


def _all_pods(manifests: Sequence[Manifest]) -> list[Pod]:
    return [pod for manifest in manifests for pod in pods_of(manifest)]


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def _stands_twice(manifests: Sequence[Manifest]) -> Iterator[str]:
    seen: set[str] = set()
    for manifest in manifests:
        if title(manifest) in seen:
            yield f"{title(manifest)} stands twice"
        seen.add(title(manifest))


def _is_outside_of_a_namespace(manifests: Sequence[Manifest]) -> Iterator[str]:
    namespaces = _names(manifests, "Namespace")
    for manifest in manifests:
        namespace = manifest["metadata"].get("namespace")
        if manifest["kind"] not in _CLUSTER_WIDE and namespace not in namespaces:
            yield f"{title(manifest)} is in the namespace {namespace}, which is none of these"


def _lets_any_pod_in(manifests: Sequence[Manifest]) -> Iterator[str]:
    for namespace in of_kind(manifests, "Namespace"):
        labels = namespace["metadata"].get("labels", {})
        level = labels.get("pod-security.kubernetes.io/enforce")
        # Kubeflow's own containers need `baseline`; ours are held to `restricted` by the pod rules.
        allowed = {"restricted"}
        if "pipeline-runner" in _names(manifests, "ServiceAccount"):
            allowed.add("baseline")
        if level not in allowed:
            yield f"{title(namespace)}: Pod Security is {level}, expected restricted"


def _has_open_doors(manifests: Sequence[Manifest]) -> Iterator[str]:
    policies = of_kind(manifests, "NetworkPolicy")
    for namespace in _names(manifests, "Namespace"):
        if not any(
            policy["metadata"].get("namespace") == namespace
            and policy["spec"]["podSelector"] == {}
            and set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
            and not policy["spec"].keys() & {"ingress", "egress"}
            for policy in policies
        ):
            yield f"Namespace/{namespace}: no NetworkPolicy denies by default"
    for policy in policies:
        for way in ("ingress", "egress"):
            if way in policy["spec"] and way.title() not in policy["spec"]["policyTypes"]:
                yield f"{title(policy)}: {way} is not in policyTypes"
            if {} in policy["spec"].get(way, []):
                yield f"{title(policy)}: {way} allows everything"
    for service in of_kind(manifests, "Service"):
        if service["spec"].get("type", "ClusterIP") != "ClusterIP":
            yield f"{title(service)} is open to the outside: {service['spec']['type']}"


def _may_take_everything(manifests: Sequence[Manifest]) -> Iterator[str]:
    for kind in ("ResourceQuota", "LimitRange"):
        if not _names(manifests, kind):
            yield f"no {kind}"


def _grants_too_much(manifests: Sequence[Manifest]) -> Iterator[str]:
    for manifest in of_kind(manifests, "ClusterRole", "ClusterRoleBinding"):
        yield f"{title(manifest)}: rights in the whole cluster"
    for role in of_kind(manifests, "Role"):
        for rule in role["rules"]:
            if "*" in (*rule["verbs"], *rule["resources"], *rule["apiGroups"]):
                yield f"{title(role)}: a right to everything (*)"
            if "secrets" in rule["resources"] and not rule.get("resourceNames"):
                yield f"{title(role)}: a right to every secret"
            if "pods/exec" in rule["resources"]:
                yield f"{title(role)}: a right to enter pods"


def _binds_nothing(manifests: Sequence[Manifest]) -> Iterator[str]:
    roles, accounts = _names(manifests, "Role"), _names(manifests, "ServiceAccount")
    for binding in of_kind(manifests, "RoleBinding"):
        if binding["roleRef"]["name"] not in roles:
            yield f"{title(binding)}: no role {binding['roleRef']['name']}"
        for subject in binding["subjects"]:
            if subject["kind"] != "ServiceAccount":
                continue
            if subject["name"] not in accounts:
                yield f"{title(binding)}: no account {subject['name']}"
            # Kubernetes refuses it otherwise, and kustomize does not add it.
            if subject.get("namespace") != binding["metadata"].get("namespace"):
                yield f"{title(binding)}: the account {subject['name']} is of another namespace"


def _asks_for_what_is_not_there(manifests: Sequence[Manifest]) -> Iterator[str]:
    claims, maps = _names(manifests, "PersistentVolumeClaim"), _names(manifests, "ConfigMap")
    accounts = _names(manifests, "ServiceAccount")
    for pod in _all_pods(manifests):
        account = pod.spec.get("serviceAccountName", "default")
        if account not in accounts:
            yield f"{pod.where}: no account {account}"
        for volume in pod.spec.get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim is not None and claim not in claims:
                yield f"{pod.where}: no claim {claim}"
            config = volume.get("configMap", {}).get("name")
            if config is not None and config not in maps:
                yield f"{pod.where}: no ConfigMap {config}"
        for secret in _secrets(pod):
            if secret not in SECRETS:
                yield f"{pod.where}: the secret {secret} is in no document"


def _secrets(pod: Pod) -> Iterator[str]:
    for container in pod.containers:
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                yield source["secretRef"]["name"]
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield variable["valueFrom"]["secretKeyRef"]["name"]


def _carries_a_secret(manifests: Sequence[Manifest]) -> Iterator[str]:
    for secret in of_kind(manifests, "Secret"):
        yield f"{title(secret)}: secrets belong into no file"


def _catches_up(manifests: Sequence[Manifest]) -> Iterator[str]:
    for job in of_kind(manifests, "CronJob"):
        spec = job["spec"]
        if spec.get("concurrencyPolicy") != "Forbid":
            yield f"{title(job)}: concurrencyPolicy is not Forbid"
        if not 10 <= spec.get("startingDeadlineSeconds", 0) <= 3600:
            yield f"{title(job)}: startingDeadlineSeconds is not 10 to 3600: it would catch up"
        if "timeZone" not in spec:
            yield f"{title(job)}: timeZone is missing"
        if "activeDeadlineSeconds" not in spec["jobTemplate"]["spec"]:
            yield f"{title(job)}: activeDeadlineSeconds is missing: a run may hang for ever"


def _goes_down_at_once(manifests: Sequence[Manifest]) -> Iterator[str]:
    budgets = [
        b["spec"]["selector"]["matchLabels"] for b in of_kind(manifests, "PodDisruptionBudget")
    ]
    scaled = {
        scaler["spec"]["scaleTargetRef"]["name"]
        for scaler in of_kind(manifests, "HorizontalPodAutoscaler")
    }
    yield from (
        f"no Deployment/{name} to scale" for name in scaled - _names(manifests, "Deployment")
    )
    for deployment in of_kind(manifests, "Deployment"):
        where, (pod,) = title(deployment), pods_of(deployment)
        if not any(_selects(selector, pod.labels) for selector in budgets):
            yield f"{where}: no PodDisruptionBudget"
        if "topologySpreadConstraints" not in pod.spec:
            yield f"{where}: topologySpreadConstraints are missing"
        if deployment["metadata"]["name"] not in scaled:
            yield f"{where}: no HorizontalPodAutoscaler"
        elif "replicas" in deployment["spec"]:
            yield f"{where}: replicas are the autoscaler's, each apply would reset them"


def _leads_nowhere(manifests: Sequence[Manifest]) -> Iterator[str]:
    pods, services = _all_pods(manifests), of_kind(manifests, "Service")
    for service in services:
        selected = [pod for pod in pods if _selects(service["spec"]["selector"], pod.labels)]
        if not selected:
            yield f"{title(service)} selects no pod"
        ports = {
            p.get("name") for pod in selected for c in pod.containers for p in c.get("ports", [])
        }
        for port in service["spec"]["ports"]:
            if port.get("targetPort", port["name"]) not in ports:
                yield f"{title(service)}: no pod has the port {port['name']}"
    for monitor in of_kind(manifests, "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        ports = {
            port["name"]
            for service in services
            if _selects(selector, service["metadata"].get("labels", {}))
            for port in service["spec"]["ports"]
        }
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["port"] not in ports:
                yield f"{title(monitor)}: no service has the port {endpoint['port']}"


def _watches_what_is_not_there(manifests: Sequence[Manifest]) -> Iterator[str]:
    jobs = _names(manifests, "CronJob")
    for rules in of_kind(manifests, "PrometheusRule"):
        for rule in (rule for group in rules["spec"]["groups"] for rule in group["rules"]):
            named = {
                name for match in _ALL_CRONJOBS.findall(rule["expr"]) for name in match.split("|")
            }
            yield from (f"{rule['alert']}: no CronJob/{name}" for name in sorted(named - jobs))


RULES: Sequence[Rule] = (
    _stands_twice,
    _is_outside_of_a_namespace,
    _lets_any_pod_in,
    _has_open_doors,
    _may_take_everything,
    _grants_too_much,
    _binds_nothing,
    _asks_for_what_is_not_there,
    _carries_a_secret,
    _catches_up,
    _goes_down_at_once,
    _leads_nowhere,
    _watches_what_is_not_there,
)


def problems(manifests: Sequence[Manifest]) -> list[str]:
    """Every rule that a rendering breaks, those of single pods first."""
    of_pods = [problem for manifest in manifests for problem in pod_problems(manifest)]
    return of_pods + [problem for rule in RULES for problem in rule(manifests)]
