"""Every overlay rendered by kustomize, against Kubernetes' schemas and the rules."""

from __future__ import annotations

import copy
import re
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_manifests import check, main
from manifest_rendering import (
    K8S,
    KUSTOMIZE,
    OVERLAYS,
    ROOT,
    Manifest,
    of_kind,
    render,
    title,
)
from manifest_rules import RULES, problems
from manifest_schemas import SCHEMAS, VERSIONS, schema_errors
from pod_rules import pods_of

from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.tfjob import PodSettings, tfjob_manifest
from slimworks.components.trainer.tfjob_run import CONTAINER, pod_settings
from slimworks.pipeline.config import load_config

pytestmark = pytest.mark.engine

ENFORCE = "pod-security.kubernetes.io/enforce"
TOGETHER = ["s3", "gpu", "tfjob", "kubeflow", "live-drift", "metadata-mysql"]
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module", autouse=True)
def _engines() -> None:
    if not (KUSTOMIZE.exists() and SCHEMAS.is_dir()):
        pytest.skip("no kustomize or no schemas: make engines")


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """With TFJobs: one of everything that the rules look at."""
    folder = tmp_path_factory.mktemp("production")
    return _with_components(folder, "../production", ["tfjob"])


def _with_components(folder: Path, base: str, components: list[str]) -> list[Manifest]:
    shutil.copytree(K8S, folder / "k8s")
    own = folder / "k8s/overlays/own"
    own.mkdir()
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
        "components": [f"../../components/{name}" for name in components],
    }
    (own / "kustomization.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return render(own)


def test_all_overlays_are_checked() -> None:
    names = {folder.name for folder in OVERLAYS}
    assert names >= {"local", "s3", "gcs", "gpu", "production", "kubeflow"}


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda folder: folder.name)
def test_an_overlay_is_fit_for_a_cluster(overlay: Path) -> None:
    assert check(render(overlay)) == []


def test_every_component_is_in_an_overlay() -> None:
    texts = [(overlay / "kustomization.yaml").read_text("utf-8") for overlay in OVERLAYS]
    for component in (K8S / "components").iterdir():
        is_used = any(f"components/{component.name}\n" in text for text in texts)
        assert is_used or component.name in TOGETHER, component.name


def test_components_go_together(tmp_path: Path) -> None:
    manifests = _with_components(tmp_path, "../production", TOGETHER)
    assert check(manifests) == []
    (live,) = [m for m in manifests if title(m) == "CronJob/live-drift-check"]
    assert live["spec"]["suspend"] is False


def test_who_may_create_a_tfjob(production: list[Manifest]) -> None:
    """A pod that has the account's token, and on Kubeflow the account of all pods of a run."""
    (run,) = [pod for m in production if title(m) == "CronJob/run" for pod in pods_of(m)]
    assert run.spec["serviceAccountName"] == "trainer"
    assert run.labels["slimworks/kubernetes-client"] == "true", "the network policy goes by it"
    (container,) = run.containers
    assert container["name"] == CONTAINER
    environment = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    pod = pod_settings(environment)
    assert pod is not None
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted["workspace"] == pod.workspace
    claims = [v["persistentVolumeClaim"]["claimName"] for v in run.spec["volumes"][:1]]
    assert claims == [pod.volume_claim]
    (binding,) = [m for m in render(K8S / "overlays/kubeflow") if title(m) == "RoleBinding/trainer"]
    config = load_config(str(K8S / "overlays/kubeflow/pipeline.yaml"))
    assert config.kubeflow.service_account in {s["name"] for s in binding["subjects"]}


def test_the_account_of_kubeflows_runs_gives_its_token() -> None:
    """Argo's pods ask for none, and its executor cannot report a result without one."""
    accounts = {
        account["metadata"]["name"]: account["automountServiceAccountToken"]
        for account in of_kind(render(K8S / "overlays/kubeflow"), "ServiceAccount")
    }
    assert {name for name, gives in accounts.items() if gives} == {"pipeline-runner"}


def test_only_who_asks_kubernetes_has_a_token() -> None:
    for overlay in OVERLAYS:
        manifests = render(overlay)
        pods = [pod for manifest in manifests for pod in pods_of(manifest)]
        with_token = {pod.where for pod in pods if pod.spec.get("automountServiceAccountToken")}
        assert with_token == ({"CronJob/run"} if overlay.name == "kubeflow" else set())


def _yaml_of_the_page(begin: str) -> str:
    """The YAML block that contains some text."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    blocks = [textwrap.dedent(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    (found,) = [block for block in blocks if begin in block]
    return found


def _own_cluster(folder: Path, extra: str = "") -> list[Manifest]:
    """What the page's overlay gives, with digests."""
    shutil.copytree(K8S, folder / "k8s")
    own = folder / "my-cluster"
    own.mkdir()
    text = _yaml_of_the_page("resources:").replace("sha256:...", "sha256:" + "0" * 64)
    (own / "kustomization.yaml").write_text(text + extra, encoding="utf-8")
    (own / "pipeline.yaml").write_text("name: photos # mine\n", encoding="utf-8")
    return render(own)


def test_the_pages_overlay_is_fit_for_a_cluster(tmp_path: Path) -> None:
    manifests = _own_cluster(tmp_path)
    assert check(manifests, has_digests=True) == []
    (config,) = [m for m in manifests if title(m).startswith("ConfigMap/pipeline-")]
    assert config["data"] == {"pipeline.yaml": "name: photos # mine\n"}
    claims = of_kind(manifests, "PersistentVolumeClaim")
    assert {claim["spec"]["storageClassName"] for claim in claims} == {"YOUR-CLASS"}


def test_the_pages_restore_takes_the_snapshot(tmp_path: Path) -> None:
    restore = _yaml_of_the_page("dataSource").removeprefix("patches:\n")
    manifests = _own_cluster(tmp_path, restore)
    assert check(manifests) == []
    (claim,) = [m for m in manifests if title(m) == "PersistentVolumeClaim/models"]
    assert claim["spec"]["dataSource"]["kind"] == "VolumeSnapshot"


def test_the_pages_annotation_is_the_accounts(tmp_path: Path) -> None:
    annotation = textwrap.indent(_yaml_of_the_page("gcp-service-account"), "  ")
    manifests = _own_cluster(tmp_path, annotation)
    assert check(manifests) == []
    (account,) = [m for m in manifests if title(m) == "ServiceAccount/pipeline"]
    assert "iam.gke.io/gcp-service-account" in account["metadata"]["annotations"]


def test_a_folder_without_kustomization_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unable to find .*kustomization\.yaml"):
        render(tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_tfjob_has_the_published_fields(version: str) -> None:
    pod = PodSettings("registry.example/slimworks:1", "slimworks", "/workspace", "4", "8Gi", 2)
    config = TrainConfig(distribution="multi_worker", workers=3)
    manifest = tfjob_manifest("photos", "/workspace/work/training.json", config, pod, "slimworks")
    assert schema_errors(manifest, version) == []
    manifest["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["contaners"] = []
    (error,) = schema_errors(manifest, version)
    assert "'contaners' was unexpected" in error


def test_the_schemas_are_strict(production: list[Manifest]) -> None:
    for manifest in copy.deepcopy(production):
        manifest["speck"] = {}
        assert any("'speck'" in error for error in schema_errors(manifest, VERSIONS[0]))
    assert schema_errors({**production[0], "kind": "Namespaces"}, VERSIONS[0]) == [
        "Namespaces/slimworks: no schema of v1 Namespaces"
    ]


def _policy_for_all(manifest: Manifest) -> None:
    manifest["spec"]["ingress"] = [{}]


# title of a manifest -> what is done to it (None: it is gone), what is said
MISTAKES: dict[str, tuple[str, Change | None, str]] = {
    "of no namespace": (
        "Service/serving", lambda m: m["metadata"].pop("namespace"),
        "Service/serving is in the namespace None",
    ),
    "open to all pods": (
        "Namespace/slimworks",
        lambda m: m["metadata"]["labels"].update({ENFORCE: "baseline"}),
        "Namespace/slimworks: Pod Security is baseline",
    ),
    "no denial": (
        "NetworkPolicy/default-deny", None,
        "Namespace/slimworks: no NetworkPolicy denies by default",
    ),
    "everyone is let in": (
        "NetworkPolicy/clients-to-serving", _policy_for_all,
        "NetworkPolicy/clients-to-serving: ingress allows everything",
    ),
    "a port of the node": (
        "Service/serving-one", lambda m: m["spec"].update(type="NodePort"),
        "Service/serving-one is open to the outside: NodePort",
    ),
    "no quota": ("ResourceQuota/slimworks", None, "no ResourceQuota"),
    "a right to everything": (
        "Role/trainer", lambda m: m["rules"][0].update(verbs=["*"]),
        "Role/trainer: a right to everything (*)",
    ),
    "a right to secrets": (
        "Role/trainer", lambda m: m["rules"][1].update(resources=["secrets"]),
        "Role/trainer: a right to every secret",
    ),
    "a role for nobody": (
        "RoleBinding/trainer", lambda m: m["subjects"][0].pop("namespace"),
        "RoleBinding/trainer: the account trainer is of another namespace",
    ),
    "no claim": (
        "PersistentVolumeClaim/models", None, "Deployment/serving: no claim models",
    ),
    "catches up": (
        "CronJob/run", lambda m: m["spec"].pop("startingDeadlineSeconds"),
        "CronJob/run: startingDeadlineSeconds is not 10 to 3600",
    ),
    "two at once": (
        "CronJob/run", lambda m: m["spec"].update(concurrencyPolicy="Allow"),
        "CronJob/run: concurrencyPolicy is not Forbid",
    ),
    "no budget": (
        "PodDisruptionBudget/serving", None, "Deployment/serving: no PodDisruptionBudget",
    ),
    "replicas": (
        "Deployment/serving", lambda m: m["spec"].update(replicas=2),
        "Deployment/serving: replicas are the autoscaler's",
    ),
    "a service of nothing": (
        "Service/serving", lambda m: m["spec"].update(selector={"app": "other"}),
        "Service/serving selects no pod",
    ),
    "an unscraped port": (
        "ServiceMonitor/serving", lambda m: m["spec"]["endpoints"][0].update(port="http"),
        "ServiceMonitor/serving: no service has the port http",
    ),
    "an alert of nothing": (
        "CronJob/drift-check", None, "SlimWorksDrift: no CronJob/drift-check",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(mistake: str, production: list[Manifest]) -> None:
    assert any(message.startswith(MISTAKES[mistake][2]) for message in _said(mistake, production))


def _said(mistake: str, manifests: list[Manifest]) -> list[str]:
    return problems(_with_mistake(mistake, manifests))


def _with_mistake(mistake: str, manifests: list[Manifest]) -> list[Manifest]:
    name, change, _ = MISTAKES[mistake]
    changed = copy.deepcopy(manifests)
    (found,) = [manifest for manifest in changed if title(manifest) == name]
    if change is None:
        changed.remove(found)
    else:
        change(found)
    return changed


def test_a_manifest_twice_and_a_secret_are_named(production: list[Manifest]) -> None:
    secret = {
        "kind": "Secret",
        "apiVersion": "v1",
        "metadata": {"name": "keys", "namespace": "slimworks"},
    }
    assert problems([*production, production[0], secret]) == [
        "Namespace/slimworks stands twice",
        "Secret/keys: secrets belong into no file",
    ]


def test_every_rule_has_a_mistake(production: list[Manifest]) -> None:
    wrong = [_with_mistake(mistake, production) for mistake in MISTAKES]
    found = {rule.__name__ for rule in RULES for manifests in wrong if any(rule(manifests))}
    assert found == {rule.__name__ for rule in RULES} - {"_stands_twice", "_carries_a_secret"}


def test_the_command_ends_with_1_where_something_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = str(K8S / "overlays/local")
    assert main([local]) == 0
    assert capsys.readouterr().err == ""
    assert main([local, "--digests"]) == 1
    assert "image localhost/slimworks-pipeline:dev has no digest" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 1
    assert "unable to find" in capsys.readouterr().err
