"""Runs and schedules of Kubeflow on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from kubeflow_server import FakeKubeflow, serve, set_tasks
from refusals import refusal, slimworks

from slimworks.components.errors import ConfigError
from slimworks.pipeline.kubeflow.compiling import Compiled
from slimworks.pipeline.kubeflow.config import KubeflowConfig
from slimworks.pipeline.kubeflow.connection import Connection, Credentials
from slimworks.pipeline.kubeflow.cron import parse_cron
from slimworks.pipeline.kubeflow.server import Server

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="kfp is too old there")

COMPILED = Compiled("flowers", ["ingest"], "# a pipeline\n")
WEEKLY = parse_cron("30 3 * * mon")


@pytest.fixture
def kubeflow() -> FakeKubeflow:
    return FakeKubeflow()


@pytest.fixture
def host(kubeflow: FakeKubeflow) -> Iterator[str]:
    with serve(kubeflow) as address:
        yield address


def connect(host: str) -> Server:
    config = KubeflowConfig(host=host)
    return Server(config, Connection(config, Credentials()))


def start(host: str) -> Any:
    api = connect(host)
    return api.start(api.upload(COMPILED), "flowers", {})


def test_list_show_and_cancel(
    kubeflow: FakeKubeflow, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slimworks("runs", "--kubeflow", "--host", host) == 0
    assert capsys.readouterr().out == "No runs.\n"
    run = start(host)
    set_tasks(kubeflow.runs[0], ingest="SUCCEEDED", trainer="RUNNING")
    assert slimworks("runs", "--kubeflow", "--host", host) == 0
    assert f"{run.run_id}  flowers " in capsys.readouterr().out
    assert slimworks("show", "--kubeflow", "--host", host) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in shown[1:]] == [
        ["ingest", "succeeded"],
        ["trainer", "running"],
    ]
    assert slimworks("cancel", run.run_id, "--host", host) == 0
    assert kubeflow.runs[0].state == "CANCELING"


def test_showing_until_the_end_gives_the_runs_exit_code(kubeflow: FakeKubeflow, host: str) -> None:
    start(host)
    set_tasks(kubeflow.runs[0], gate="SUCCEEDED")
    kubeflow.runs[0].state = "SUCCEEDED"
    assert slimworks("show", "--kubeflow", "--follow", "--host", host) == 10


def test_schedules_of_others_are_listed_without_words(
    kubeflow: FakeKubeflow, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    api = connect(host)
    version = api.upload(COMPILED)
    api.create_schedule(version, "ours", WEEKLY, {})
    api.create_schedule(version, "theirs", WEEKLY, {})
    kubeflow.schedules[1].trigger.cron_schedule.cron = "15 30 3 ? * MON#1"
    assert slimworks("schedule", "list", "--host", host) == 0
    _, ours, theirs = capsys.readouterr().out.splitlines()
    assert ours.endswith("every Monday at 03:30 UTC")
    assert theirs.split()[:3] == ["theirs", "enabled", "-"]
    assert slimworks("schedule", "pause", "ours", "--host", host) == 0
    assert kubeflow.schedules[0].status == "DISABLED"
    assert slimworks("schedule", "delete", "theirs", "--host", host) == 0
    assert len(kubeflow.schedules) == 1


def test_schedule_without_a_name_or_a_time(host: str) -> None:
    for action in ("pause", "resume", "delete"):
        told = refusal(ConfigError, slimworks, "schedule", action, "--host", host)
        assert told == (
            f"`schedule {action}` names no schedule.",
            f"slimworks schedule {action} NAME; list them: slimworks schedule list",
        )
    assert refusal(ConfigError, slimworks, "schedule", "--data", "x", "--host", host) == (
        "No time: --cron is not given.",
        'Give five fields in UTC: --cron "30 3 * * mon".',
    )
