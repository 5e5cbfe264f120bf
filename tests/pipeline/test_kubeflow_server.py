"""Talking to Kubeflow's API: versions, runs, schedules, and everything that it may refuse."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubeflow_server import FakeKubeflow, serve, set_tasks
from refusals import refusal

from slimworks.components.errors import ConfigError
from slimworks.pipeline.kubeflow import connection, following
from slimworks.pipeline.kubeflow.compiling import Compiled
from slimworks.pipeline.kubeflow.config import KubeflowConfig
from slimworks.pipeline.kubeflow.connection import Connection, Credentials
from slimworks.pipeline.kubeflow.cron import parse_cron
from slimworks.pipeline.kubeflow.server import Server

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="kfp is too old there")

COMPILED = Compiled("flowers", ["ingest"], "# a pipeline: {é}\n")
WEEKLY = parse_cron("30 3 * * mon")


@pytest.fixture
def kubeflow() -> FakeKubeflow:
    return FakeKubeflow()


@pytest.fixture
def host(kubeflow: FakeKubeflow, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for variable in (
        connection.TOKEN_VARIABLE,
        connection.COOKIE_VARIABLE,
        connection.CLUSTER_TOKEN_VARIABLE,
    ):
        monkeypatch.delenv(variable, raising=False)
    with serve(kubeflow) as address:
        yield address


def connect(host: str, credentials: Credentials | None = None, **settings: Any) -> Server:
    config = KubeflowConfig(host=host, **settings)
    connected = Connection(config, credentials or Credentials(), pause=lambda _: None)
    return Server(config, connected)


def start(host: str, **parameters: Any) -> Any:
    api = connect(host)
    return api.start(api.upload(COMPILED), "flowers", parameters)


# --- Versions and runs ------------------------------------------------------------------------


def test_the_same_pipeline_is_uploaded_once(kubeflow: FakeKubeflow, host: str) -> None:
    api = connect(host)
    versions = [api.upload(COMPILED), api.upload(COMPILED)]
    assert versions[0].pipeline_version_id == versions[1].pipeline_version_id
    other = api.upload(Compiled("flowers", [], "# another\n"))
    assert other.pipeline_version_id != versions[0].pipeline_version_id
    assert other.pipeline_id == versions[0].pipeline_id
    assert list(kubeflow.packages.values()) == [COMPILED.text, "# another\n"]


def test_a_version_on_a_later_page_is_found(kubeflow: FakeKubeflow, host: str) -> None:
    api = connect(host)
    texts = [Compiled("flowers", [], f"# {i}\n") for i in range(5)]
    ids = [api.upload(one).pipeline_version_id for one in texts]
    assert [api.upload(one).pipeline_version_id for one in texts] == ids
    assert len(kubeflow.versions) == 5


def test_a_run_has_its_version_experiment_and_parameters(kubeflow: FakeKubeflow, host: str) -> None:
    run = start(host, window=4)
    assert run.runtime_config.parameters == {"window": 4}
    assert kubeflow.experiments[0].display_name == "flowers"
    assert run.experiment_id == kubeflow.experiments[0].experiment_id
    start(host)
    assert len(kubeflow.experiments) == 1


def test_a_namespace_and_a_service_account_go_with_everything(
    kubeflow: FakeKubeflow, host: str
) -> None:
    kubeflow.namespace = "team-a"
    api = connect(host, namespace="team-a", service_account="runner")
    version = api.upload(COMPILED)
    assert api.start(version, "flowers", {}).service_account == "runner"
    made = api.create_schedule(version, "weekly", WEEKLY, {})
    assert (made.namespace, made.service_account) == ("team-a", "runner")
    assert [len(api.runs(9)), len(api.schedules())] == [1, 1]
    cause, fix = refusal(ConfigError, connect(host, namespace="team-b").runs, 9)
    assert cause == f"{host} does not allow it (HTTP 403): User may not list in namespace 'team-b'."
    assert fix == "Ask for the rights, or name your own namespace: --namespace NAME."


def test_runs_of_all_pages_are_listed_oldest_first(host: str) -> None:
    ids = [start(host).run_id for _ in range(5)]
    assert [run.run_id for run in connect(host).runs(4)] == ids[1:]


def test_a_run_that_there_is_not(host: str) -> None:
    expected = ("Kubeflow has no run 'none'.", "List them: slimworks runs --kubeflow")
    assert refusal(ConfigError, connect(host).run, "none") == expected
    assert refusal(ConfigError, connect(host).cancel, "none") == expected


# --- Following --------------------------------------------------------------------------------


def test_following_says_each_change_once_and_ends_with_the_run(
    kubeflow: FakeKubeflow, host: str
) -> None:
    run = start(host)
    story = iter(
        [
            {"ingest": "PENDING"},
            {"ingest": "RUNNING"},
            {"ingest": "RUNNING"},
            {"ingest": "SUCCEEDED", "trainer": "RUNNING"},
            {"ingest": "SUCCEEDED", "trainer": "FAILED"},
        ]
    )

    def go_on(run: Any) -> None:
        states = next(story)
        set_tasks(run, **states)
        run.state = "FAILED" if "FAILED" in states.values() else "RUNNING"

    kubeflow.on_look = go_on
    lines: list[str] = []
    ended = following.follow(connect(host), run.run_id, lines.append, pause=lambda _: None)
    assert [line.split()[:2] for line in lines] == [
        ["ingest", "pending"],
        ["ingest", "running"],
        ["ingest", "succeeded"],
        ["trainer", "running"],
        ["trainer", "failed"],
    ]
    assert following.exit_code(ended) == 4


@pytest.mark.parametrize(
    ("state", "steps", "code"),
    [
        ("SUCCEEDED", {"gate": "SUCCEEDED", "pusher": "SUCCEEDED"}, 0),
        ("SUCCEEDED", {"gate": "SUCCEEDED"}, 10),
        ("SUCCEEDED", {"gate": "SUCCEEDED", "pusher": "SKIPPED"}, 10),
        ("FAILED", {"ingest": "FAILED"}, 3),
        ("FAILED", {"ingest": "SUCCEEDED", "trainer": "FAILED"}, 4),
        ("FAILED", {"gate": "SUCCEEDED", "replay": "FAILED"}, 5),
        ("FAILED", {"report": "FAILED"}, 1),
        ("FAILED", {}, 1),
        ("CANCELED", {"trainer": "FAILED"}, 130),
    ],
)
def test_the_exit_code_says_what_became_of_the_run(
    kubeflow: FakeKubeflow, host: str, state: str, steps: dict[str, str], code: int
) -> None:
    run = start(host)
    set_tasks(kubeflow.runs[0], **steps)
    kubeflow.runs[0].state = state
    assert following.exit_code(connect(host).run(run.run_id)) == code


def test_a_token_that_expires_meanwhile_ends_the_following_not_the_run(
    kubeflow: FakeKubeflow, host: str
) -> None:
    run = start(host)
    kubeflow.tokens = {"new"}
    cause, fix = refusal(ConfigError, following.follow, connect(host), run.run_id, print)
    assert cause == (
        f"{host} does not know who we are (HTTP 401): the token or cookie is missing or has "
        f"expired. The run {run.run_id} goes on."
    )
    assert fix.endswith(f"Then: slimworks show --kubeflow --follow {run.run_id}")


# --- Schedules --------------------------------------------------------------------------------


def test_a_schedule_runs_one_at_a_time_and_catches_nothing_up(
    kubeflow: FakeKubeflow, host: str
) -> None:
    api = connect(host)
    api.create_schedule(api.upload(COMPILED), "weekly", WEEKLY, {"window": 4})
    (made,) = kubeflow.schedules
    assert made.trigger.cron_schedule.cron == "0 30 3 * * 1"
    assert (made.max_concurrency, made.no_catchup, made.mode) == ("1", True, "ENABLE")
    assert made.runtime_config.parameters == {"window": 4}


def test_schedules_are_paused_resumed_and_deleted_by_name_or_id(
    kubeflow: FakeKubeflow, host: str
) -> None:
    api = connect(host)
    version = api.upload(COMPILED)
    for name in ("c", "a", "b"):
        api.create_schedule(version, name, WEEKLY, {})
    assert [schedule.display_name for schedule in api.schedules()] == ["a", "b", "c"]
    assert api.pause_schedule("b").display_name == "b"
    assert {s.display_name: s.status for s in api.schedules()} == {
        "a": "ENABLED", "b": "DISABLED", "c": "ENABLED",
    }  # fmt: skip
    api.resume_schedule(api.schedule("b").recurring_run_id)
    assert api.schedule("b").status == "ENABLED"
    api.delete_schedule("c")
    assert [schedule.display_name for schedule in api.schedules()] == ["a", "b"]


def test_schedules_that_are_not_there_or_there_already(host: str) -> None:
    api = connect(host)
    version = api.upload(COMPILED)
    api.create_schedule(version, "weekly", WEEKLY, {})
    assert refusal(ConfigError, api.pause_schedule, "weakly") == (
        "'weakly' names no schedule. Did you mean 'weekly'?",
        "List them with their ids: slimworks schedule list",
    )
    assert refusal(ConfigError, api.create_schedule, version, "weekly", WEEKLY, {}) == (
        "The schedule 'weekly' exists.",
        "Delete it first (slimworks schedule delete weekly), or give --name.",
    )


# --- Who we are -------------------------------------------------------------------------------


def test_a_token_file_is_read_again_for_each_request(
    kubeflow: FakeKubeflow, host: str, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    api = connect(host, Credentials.find(str(path)))
    kubeflow.tokens = {"first"}
    assert api.runs(1) == []
    kubeflow.tokens = {"second"}
    assert "HTTP 401" in refusal(ConfigError, api.runs, 1)[0]
    path.write_text("second\n")
    assert api.runs(1) == []


def test_a_token_or_a_cookie_of_the_environment(
    kubeflow: FakeKubeflow, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(connection.TOKEN_VARIABLE, "secret")
    kubeflow.tokens = {"secret"}
    assert connect(host, Credentials.find()).runs(1) == []
    monkeypatch.delenv(connection.TOKEN_VARIABLE)
    monkeypatch.setenv(connection.COOKIE_VARIABLE, "authservice_session=abc")
    kubeflow.tokens, kubeflow.cookies = set(), {"authservice_session=abc"}
    assert connect(host, Credentials.find()).runs(1) == []


def test_a_pods_own_token(
    kubeflow: FakeKubeflow, host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("pod")
    monkeypatch.setenv(connection.CLUSTER_TOKEN_VARIABLE, str(tmp_path / "token"))
    kubeflow.tokens = {"pod"}
    assert connect(host, Credentials.find()).runs(1) == []


def test_a_session_that_ended_is_told_as_such_not_followed(
    kubeflow: FakeKubeflow, host: str
) -> None:
    kubeflow.cookies = {"new"}
    cause, fix = refusal(ConfigError, connect(host, Credentials(cookie="old")).runs, 1)
    assert "does not know who we are (HTTP 302)" in cause
    assert fix.startswith("Give a new one: --token-file FILE, or SLIMWORKS_KUBEFLOW_TOKEN")
    assert all(path.startswith("/apis/") for _, path, _, _ in kubeflow.requests)


def test_a_token_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "none"
    assert refusal(ConfigError, Credentials.find, str(path)) == (
        f"The token file {path} cannot be read: No such file or directory.",
        "Give another to --token-file, or the token itself in SLIMWORKS_KUBEFLOW_TOKEN.",
    )


def test_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert refusal(ConfigError, connect, "") == (
        "No Kubeflow: kubeflow.host is not set.",
        "Give the address of its API: --host https://kubeflow.example/pipeline.",
    )
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert connect("").host == connection.CLUSTER_HOST


def test_a_python_that_is_too_old() -> None:
    assert refusal(ConfigError, connection._check_python, (3, 10)) == (
        "Kubeflow's API is not supported with Python 3.10: kfp is too old there.",
        "Use Python 3.11.",
    )


# --- A server that refuses, breaks or says nothing --------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_only_reads_is_asked_again(kubeflow: FakeKubeflow, host: str, status: int) -> None:
    kubeflow.failures = [(status, "busy")] * (connection.TRIES - 1)
    assert connect(host).runs(1) == []
    kubeflow.failures = [(status, "busy")] * connection.TRIES
    assert refusal(ConfigError, connect(host).runs, 1) == (
        f"{host} is busy (HTTP {status}): busy.",
        "Try again later.",
    )


def test_what_starts_something_is_asked_once(kubeflow: FakeKubeflow, host: str) -> None:
    run = start(host)
    before = len(kubeflow.requests)

    def fail(run: Any) -> None:
        kubeflow.failures = [(503, "busy")]

    kubeflow.on_look = fail
    assert refusal(ConfigError, connect(host).cancel, run.run_id)[0].startswith(f"{host} is busy")
    posts = [request for request in kubeflow.requests[before:] if request[0] == "POST"]
    assert len(posts) == 1


@pytest.mark.parametrize(
    ("status", "cause", "fix"),
    [
        (404, "has no such thing (HTTP 404): why.", "Check that --host is the address of the API"),
        (409, "has it already (HTTP 409): why.", "Give another name: --name NAME."),
        (500, "failed (HTTP 500): why.", "Look at the log of its ml-pipeline pod"),
    ],
)
def test_an_error_is_told_in_the_servers_words(
    kubeflow: FakeKubeflow, host: str, status: int, cause: str, fix: str
) -> None:
    kubeflow.failures = [(status, "why")]
    told = refusal(ConfigError, connect(host).runs, 1)
    assert told[0] == f"{host} {cause}"
    assert told[1].startswith(fix)


def test_a_server_that_says_nothing(
    kubeflow: FakeKubeflow, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeflow.is_silent = True
    monkeypatch.setattr(connection, "TRIES", 2)
    assert refusal(ConfigError, connect(host, timeout_seconds=1).cancel, "x") == (
        f"{host} did not answer in 1 s.",
        "Try again, or wait longer: --set kubeflow.timeout_seconds=120.",
    )
    assert len(kubeflow.requests) == 2


def test_a_page_is_no_empty_list(kubeflow: FakeKubeflow, host: str) -> None:
    kubeflow.content_type = "text/html"
    assert refusal(ConfigError, connect(host).runs, 1) == (
        f"{host} answers with a page: it is not Kubeflow's API, or asks to sign in.",
        "Check --host (often it ends with /pipeline) and the token or cookie.",
    )


def test_nobody_there(host: str) -> None:
    cause, fix = refusal(ConfigError, connect("http://127.0.0.1:9").runs, 1)
    assert cause.startswith("http://127.0.0.1:9 cannot be reached: ")
    assert fix.startswith("Check --host and the network; from outside the cluster: kubectl")
