"""A training as a TFJob, on an API server of this machine that plays the operator."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from slimworks.components.errors import ConfigError, DataError, SlimWorksError, TrainingError
from slimworks.components.trainer import kubernetes_api, tfjob_run
from slimworks.components.trainer.cluster import WORKER, Cluster
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.job import TrainingJob
from slimworks.components.trainer.kubernetes_api import KubernetesApi
from slimworks.components.trainer.launch import write_error
from slimworks.components.trainer.tfjob import PodSettings
from slimworks.components.trainer.tfjob_run import TFJobRun, job_name

ROLE = Path(__file__).parents[3] / "k8s/components/tfjob/trainer.yaml"
OWN_POD = "run-1-abcde"
PODS = "/api/v1/namespaces/ml/pods"
JOBS = "/apis/kubeflow.org/v1/namespaces/ml/tfjobs"
POD = PodSettings("registry.example/slimworks:1", "photos", "/workspace")
LINES = ["2026-01-01T00:00:01.1Z step 1", "2026-01-01T00:00:02.2Z step 2"]


class FakeCluster:
    """An API server with TFJobs; `conditions` are what the operator says, one list a look."""

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.conditions: list[list[dict[str, str]]] = []
        self.requests: list[tuple[str, str]] = []
        self.failures: list[int] = []
        self.tokens: list[str | None] = []
        self.log_was_read = threading.Event()
        self.own_pod = {
            "metadata": {"name": OWN_POD, "uid": "0-1"},
            "spec": {
                "containers": [
                    {"name": "wait", "image": "argoexec"},
                    {"name": "slimworks", "image": "registry.example/slimworks:2"},
                ]
            },
        }

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.requests.append((method, path.partition("?")[0]))
        if path == f"{PODS}/{OWN_POD}" and not self.failures:
            return 200, self.own_pod
        if "/log" in path:
            assert path.startswith("/api/v1/namespaces/ml/pods/slimworks-")
            if not self.jobs:
                return 404, {"message": "pod not found"}
            return 200, "\n".join(LINES) + "\n"
        if self.failures:
            return self.failures.pop(0), {"message": "no"}
        name = path.removeprefix(JOBS).strip("/")
        if method == "POST":
            self.jobs[body["metadata"]["name"]] = body
            return 201, body
        if name not in self.jobs:
            return 404, {"message": f"{name} not found"}
        if method == "DELETE":
            assert body["propagationPolicy"] == "Foreground"
            return 200, self.jobs.pop(name)
        if self.conditions:
            self.jobs[name]["status"] = {"conditions": self.conditions.pop(0)}
        return 200, self.jobs[name]

    def methods(self) -> list[str]:
        return [method for method, path in self.requests if path.startswith(JOBS)]


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def api(cluster: FakeCluster, tmp_path: Path) -> Iterator[KubernetesApi]:
    account = tmp_path / "account"
    account.mkdir()
    (account / "namespace").write_text("ml\n")
    (account / "token").write_text("secret\n")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _handle(self) -> None:
            cluster.tokens.append(self.headers.get("Authorization"))
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            status, value = cluster.answer(
                self.command, self.path, json.loads(content) if content else None
            )
            text = (value if isinstance(value, str) else json.dumps(value)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            if "/log" in self.path and status == 200:
                cluster.log_was_read.set()

        do_GET = do_POST = do_DELETE = _handle  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield KubernetesApi(f"http://127.0.0.1:{server.server_port}", account)
    server.shutdown()
    thread.join()
    server.server_close()


def condition(kind: str, status: str = "True", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "message": message}


def training(
    tmp_path: Path,
    api: KubernetesApi,
    pause: Callable[[float], None] = lambda _: None,
    pod: PodSettings = POD,
    own_pod: str = "",
) -> TFJobRun:
    job = TrainingJob(
        inputs={"examples": "e", "transform_graph": "g", "label_map": "l"},
        output_dir=str(tmp_path / "model"),
        work_dir=str(tmp_path / "work"),
        model=ModelConfig(net="lenet"),
        config=TrainConfig(distribution="multi_worker", workers=3),
        export=ExportConfig(),
    )
    return TFJobRun(job, pod, api, own_pod, pause)


def never() -> bool:
    return False


def test_it_is_created_followed_and_removed(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="slimworks")
    cluster.conditions = [
        [],
        [condition("Created"), condition("Running")],
        [condition("Created"), condition("Running", "False"), condition("Succeeded")],
    ]
    run = training(tmp_path, api, lambda _: cluster.log_was_read.wait(10) and None)
    run.run(never)
    assert cluster.methods() == ["DELETE", "POST", "GET", "GET", "GET", "DELETE", "GET"]
    assert cluster.jobs == {}
    assert set(cluster.tokens) == {"Bearer secret"}
    assert (tmp_path / "work/training.json").is_file(), "what the pods read"
    assert [r.message for r in caplog.records if "chief" in r.message] == [
        "chief: step 1",
        "chief: step 2",
    ]


def test_one_that_an_earlier_try_left_behind_is_ended_first(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path
) -> None:
    name = job_name(str(tmp_path / "work"))
    assert re.fullmatch(r"slimworks-[0-9a-f]{12}", name)
    cluster.jobs[name] = {"metadata": {"name": name}}
    cluster.conditions = [[condition("Succeeded")]]
    training(tmp_path, api).run(never)
    assert cluster.methods()[:4] == ["DELETE", "GET", "POST", "GET"]


def test_the_job_goes_with_the_pod_that_started_it(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path
) -> None:
    kept: list[Any] = []
    cluster.conditions = [[], [condition("Succeeded")]]
    run = training(tmp_path, api, lambda _: kept.extend(cluster.jobs.values()), own_pod=OWN_POD)
    run.run(never)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": OWN_POD, "uid": "0-1"}
    assert kept[0]["metadata"]["ownerReferences"] == [owner]
    template = kept[0]["spec"]["tfReplicaSpecs"]["Worker"]["template"]
    assert template["spec"]["containers"][0]["image"] == "registry.example/slimworks:1"


def test_pods_get_the_image_of_the_one_that_starts_them(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path
) -> None:
    kept: list[Any] = []
    cluster.conditions = [[], [condition("Succeeded")]]
    pod = PodSettings("", "photos", "/workspace")
    wait = lambda _: kept.extend(cluster.jobs.values())  # noqa: E731
    training(tmp_path, api, wait, pod, OWN_POD).run(never)
    template = kept[0]["spec"]["tfReplicaSpecs"]["Worker"]["template"]
    assert template["spec"]["containers"][0]["image"] == "registry.example/slimworks:2"


@pytest.mark.parametrize("own_pod", ["", "a-host-that-is-no-pod"])
def test_without_an_image(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path, own_pod: str
) -> None:
    pod = PodSettings("", "photos", "/workspace")
    with pytest.raises(ConfigError) as caught:
        training(tmp_path, api, pod=pod, own_pod=own_pod).run(never)
    assert caught.value.cause == (
        "SLIMWORKS_TFJOB names no image, and this pod has no container slimworks."
    )
    assert caught.value.fix == 'Give SLIMWORKS_TFJOB an "image".'
    assert "POST" not in cluster.methods()


def test_a_pod_that_may_not_be_read(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path
) -> None:
    cluster.failures = [403]
    with pytest.raises(ConfigError, match="The service account may not read its own pod"):
        training(tmp_path, api, own_pod=OWN_POD).run(never)


def test_the_role_holds_what_is_asked_for_and_nothing_else(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path
) -> None:
    verbs = {"POST": "create", "GET": "get", "DELETE": "delete"}
    cluster.conditions = [[], [condition("Succeeded")]]
    run = training(tmp_path, api, lambda _: cluster.log_was_read.wait(10) and None, own_pod=OWN_POD)
    run.run(never)
    asked = set()
    for method, path in cluster.requests:
        head, _, rest = path.partition("/namespaces/ml/")
        resource, _, below = rest.partition("/")
        kind = f"{resource}/{below.split('/')[1]}" if "/" in below else resource
        group = "" if head == "/api/v1" else head.split("/")[2]
        asked.add((group, kind, verbs[method]))
    documents = yaml.safe_load_all(ROLE.read_text(encoding="utf-8"))
    (role,) = [document for document in documents if document["kind"] == "Role"]
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert asked == granted


def test_an_interrupted_training_removes_its_job(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path
) -> None:
    answers = iter([False, True])
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path, api).run(lambda: next(answers))
    assert cluster.jobs == {}


def test_what_a_pod_said_before_it_ended_is_raised(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    write_error(str(work / "training.json"), Cluster({}, WORKER, 0), DataError("stale", "x"))

    def fail(_: float) -> None:
        error = DataError("No image of the class rose.", "Add some.")
        write_error(str(work / "training.json"), Cluster({}, WORKER, 1), error)

    cluster.conditions = [[], [condition("Failed", message="worker 1")]]
    with pytest.raises(DataError, match=r"No image of the class rose\."):
        training(tmp_path, api, fail).run(never)
    assert cluster.jobs == {}


@pytest.mark.parametrize(
    ("conditions", "cause"),
    [
        ([[condition("Failed", message="3 tries")]], r"The TFJob slimworks-\w+ failed: 3 tries"),
        ([[condition("Failed")]], r"The TFJob slimworks-\w+ failed: no message"),
    ],
)
def test_a_job_that_failed_without_a_word(
    cluster: FakeCluster,
    api: KubernetesApi,
    tmp_path: Path,
    conditions: list[list[dict[str, str]]],
    cause: str,
) -> None:
    cluster.conditions = conditions
    with pytest.raises(TrainingError, match=cause) as caught:
        training(tmp_path, api).run(never)
    assert caught.value.fix.startswith("Look at its pods: kubectl logs -l training.kubeflow.org/")


def test_a_job_that_somebody_deleted(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="somebody has deleted it"):
        training(tmp_path, api, lambda _: cluster.jobs.clear()).run(never)


def test_a_server_that_breaks_for_a_while_ends_nothing(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path
) -> None:
    def fail(_: float) -> None:
        if len(cluster.methods()) < 5:
            cluster.failures.append(503)

    cluster.conditions = [[], [condition("Succeeded")]]
    training(tmp_path, api, fail).run(never)
    assert cluster.jobs == {}


def test_a_server_that_stays_silent_ends_the_training(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfjob_run, "_SILENT_SECONDS", 0.0)
    with pytest.raises(TrainingError, match="Kubernetes has not answered for 0 s") as caught:
        training(tmp_path, api, lambda _: cluster.failures.append(503)).run(never)
    assert caught.value.fix == "Run again: training goes on from its last checkpoint."


@pytest.mark.parametrize(
    ("status", "kind", "cause", "fix"),
    [
        (403, ConfigError, "The service account may not delete a TFJob (HTTP 403: no).",
         "Give it the rights of k8s/components/tfjob, and name it: kubeflow.service_account."),
        (500, TrainingError, "Kubernetes does not delete a TFJob (HTTP 500: no).",
         "Look at the API's own log."),
    ],
)  # fmt: skip
def test_what_the_server_refuses(
    cluster: FakeCluster,
    api: KubernetesApi,
    tmp_path: Path,
    status: int,
    kind: type[SlimWorksError],
    cause: str,
    fix: str,
) -> None:
    cluster.failures = [status]
    with pytest.raises(kind) as caught:
        training(tmp_path, api).run(never)
    assert (caught.value.cause, caught.value.fix) == (cause, fix)


def test_a_cluster_without_the_operator(api: KubernetesApi) -> None:
    error = kubernetes_api.refusal(kubernetes_api.StatusError(404, "x"), "create a TFJob")
    assert error.cause == "This cluster cannot create a TFJob (HTTP 404: x)."
    assert error.fix == "Install the Training Operator (v1), or set train.workers=1."


def test_outside_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError) as caught:
        KubernetesApi.in_cluster()
    assert caught.value.cause == (
        "A training with a TFJob runs in a pod whose service account may create one."
    )


def test_a_job_that_does_not_go(
    cluster: FakeCluster, api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = job_name(str(tmp_path / "work"))
    cluster.jobs[name] = {}
    monkeypatch.setattr(
        cluster, "answer", lambda method, path, body: (200, {"metadata": {"name": name}})
    )
    with pytest.raises(TrainingError, match=f"The TFJob {name} has not gone in 180 s"):
        training(tmp_path, api).run(never)
