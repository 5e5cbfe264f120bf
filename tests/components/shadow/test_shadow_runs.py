"""The verb `shadow` on real servers: of a request log, and in front of a server."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from browser import chromium
from shadow_samples import CLASS_NAMES, image_of, predict_request, write_log
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from slimworks.components import files
from slimworks.components.serving.logged import Answer, LogReader, answers_of
from slimworks.components.serving.process import ServerProcess
from slimworks.components.shadow.mirror import Mirror
from slimworks.components.shadow.shadow import picture_uri, write_report
from slimworks.components.shadow.sides import ModelChoice, Side
from slimworks.components.shadow.tally import CANDIDATE, PRIMARY, Tally

# Levels 90 and 100 are dark to the primary and bright to the candidate.
LEVELS = [(20, 90), (200,), (240,), (30,), (100,), (10, 250, 220)]


def shadow(*arguments: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "slimworks", "shadow", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def server(
    models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """Serves the primary as version 3, labelled stable, and the candidate as 4, the canary."""
    base = tmp_path_factory.mktemp("served")
    for version, name in ((3, "primary"), (4, "candidate")):
        shutil.copytree(models[name], base / str(version))
    config = base / "models.config"
    config.write_text(
        f"""model_config_list {{ config {{ name: "photos" base_path: "{base}"
          model_platform: "tensorflow"
          model_version_policy {{ specific {{ versions: 3 versions: 4 }} }}
          version_labels {{ key: "stable" value: 3 }}
          version_labels {{ key: "canary" value: 4 }} }} }}""",
        encoding="utf-8",
    )
    flags = (
        f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models",
    )  # fmt: skip
    with ServerProcess("", "", extra_flags=flags) as running:
        yield running


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "photos-1.tfrecord", LEVELS)


def test_log_against_a_folder_and_the_answers_in_it(
    log: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    code, found, stderr = shadow(
        "--log", str(log.parent / "photos"), "--candidate", str(models["candidate"]),
        "--output", str(tmp_path / "out"), "--min-agreement", "0.9",
    )  # fmt: skip
    assert code == 10, stderr
    assert (found["num_requests"], found["num_images"], found["num_agreeing"]) == (6, 9, 7)
    assert found["refusals"] == ["Refused: agreement is 0.7778, expected 0.9."]
    assert found["candidate"]["digest"] == files.sha256_of_tree(models["candidate"])
    assert found["latency_ms"]["primary"] == {}
    assert found["latency_ratio"] is None
    assert found["changes"] == [
        {"primary": CLASS_NAMES[0], "candidate": CLASS_NAMES[1], "num_images": 2}
    ]
    written = files.read_json(tmp_path / "out" / "shadow.json")
    assert written["agreement"] == pytest.approx(7 / 9)
    assert len(written["disagreements"]) == 2
    page = (tmp_path / "out" / "shadow.html").read_text("utf-8")
    assert "<b>bright" not in page
    assert page.count('<img src="data:image/jpeg') == 2


def test_log_against_two_versions_of_one_server(
    log: Path, server: ServerProcess, tmp_path: Path
) -> None:
    code, found, stderr = shadow(
        "--log", str(log), "--primary", server.address, "--primary-version", "3",
        "--candidate-label", "canary", "--output", str(tmp_path), "--max-requests", "4",
    )  # fmt: skip
    assert code == 0, stderr
    assert (found["num_requests"], found["num_agreeing"]) == (4, 5)  # (240,), ..., (10, 250, 220)
    assert found["primary"] == {"address": server.address, "digest": None, "version": 3}
    assert found["candidate"] == {"address": server.address, "digest": None, "label": "canary"}
    assert set(found["latency_ms"]["primary"]) == {"p50", "p99"}
    assert found["latency_ratio"] > 0


def test_candidate_that_fails_is_counted(log: Path, server: ServerProcess, tmp_path: Path) -> None:
    code, found, _ = shadow(
        "--log", str(log), "--primary", server.address, "--candidate-version", "9",
        "--output", str(tmp_path), "--min-agreement", "0.1", "--max-latency-ratio", "100",
    )  # fmt: skip
    assert code == 10
    assert found["errors"] == {"primary": {}, "candidate": {"NOT_FOUND": 6}}
    assert found["agreement"] == 0
    assert found["refusals"] == [
        "Refused: agreement is 0, expected 0.1.",
        "Refused: latency p99 is unknown times the primary's, at most 100.",
    ]


# --- In front of a server -------------------------------------------------------------------


def ask(address: str, *levels: int, timeout: float = 30, model: str = "photos") -> Any:
    with grpc.insecure_channel(address) as channel:
        return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(
            predict_request([image_of(level) for level in levels], model), timeout=timeout
        )


def test_clients_get_the_primarys_answers_and_the_candidate_copies(
    server: ServerProcess, tmp_path: Path
) -> None:
    command = [
        sys.executable, "-m", "slimworks", "shadow", "--json", "--listen", "0",
        "--primary", server.address, "--candidate-label", "canary", "--output", str(tmp_path),
        "--request-log", str(tmp_path / "log" / "photos"),
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        address = process.stderr.readline().split()[1]
        # Asked for no version, the server takes the highest, which is the candidate: the
        # primary of a canary is pinned by its clients.
        for level in (20, 90, 200):
            answer = ask(address, level)
            assert answer.model_spec.version.value == 4
        with grpc.insecure_channel(address) as channel:
            models = model_service_pb2_grpc.ModelServiceStub(channel)
            status = get_model_status_pb2.GetModelStatusRequest()
            status.model_spec.name = "photos"
            assert len(models.GetModelStatus(status, timeout=30).model_version_status) == 2
            with pytest.raises(grpc.RpcError) as refused:
                models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
            assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    found = json.loads(stdout)
    assert (found["num_requests"], found["num_agreeing"], found["num_dropped"]) == (3, 3, 0)
    assert found["listen"] == address
    logged = list(LogReader(tmp_path / "log" / "photos"))
    assert [answers_of(entry)[0].class_names[0] for entry in logged] == [
        CLASS_NAMES[0], CLASS_NAMES[1], CLASS_NAMES[1],
    ]  # fmt: skip
    assert logged[0].log_metadata.model_spec.version.value == 4


def test_refusals_and_deadlines_of_the_primary_reach_the_client(server: ServerProcess) -> None:
    tally = Tally()
    with Mirror("127.0.0.1:0", server.address, None, tally) as mirror:
        with pytest.raises(grpc.RpcError) as refused:
            ask(mirror.address, 20, model="nobody")
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        assert refused.value.details() == "Servable not found for request: Latest(nobody)"
        with pytest.raises(grpc.RpcError) as late:
            ask(mirror.address, 20, timeout=1e-4)
        assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert tally.result().errors[PRIMARY]["NOT_FOUND"] == 1


def test_candidate_that_is_gone_or_hangs_costs_clients_nothing(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate that never answers: copies beyond the queue are dropped, clients are served."""
    import socket

    from slimworks.components.shadow import mirror as mirroring

    monkeypatch.setattr(mirroring, "MAX_QUEUED_REQUESTS", 2)
    tally = Tally()
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Side(f"127.0.0.1:{silent.getsockname()[1]}", ModelChoice(), 1.0) as candidate,
        Mirror("127.0.0.1:0", server.address, candidate, tally) as mirror,
    ):
        answers = [ask(mirror.address, 200) for _ in range(12)]
    assert all(a.outputs["classes"].string_val[0] == CLASS_NAMES[1].encode() for a in answers)
    result = tally.result()
    assert result.num_dropped >= 12 - 2 - 2 - 2  # two are asked, two wait, and a little luck
    assert sum(result.errors[CANDIDATE].values()) + result.num_dropped == 12
    assert result.errors[PRIMARY] == {}


def test_page_is_accessible(tmp_path: Path) -> None:
    tally = Tally(picture_uri)
    for level, (dark, bright) in ((90, CLASS_NAMES), (20, CLASS_NAMES[::-1])):
        answers = [Answer((name,), (0.9,)) for name in (dark, bright)]
        tally.compare([image_of(level)], answers[:1], answers[1:])
    tally.add_seconds(CANDIDATE, 0.01)
    facts = {"log": "logs/photos", "primary": None, "candidate": {"address": "h:1", "digest": None}}
    write_report(tally.result(), facts, 0.0, tmp_path)
    with chromium(tmp_path / "profile") as page:
        for width in (390, 1280):
            page.size(width)
            page.open((tmp_path / "shadow.html").as_uri())
            assert page.audit() == []
            assert page.faults == []


# --- Messages -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "shadow needs requests: either --log or --listen."),
        (("--listen", "0"), "--listen has nobody to forward to."),
        (("--log", "x"), "There is no candidate to compare with."),
        (("--log", "x", "--candidate", "nowhere"), "There is no closed request log at x."),
        (
            (
                "--log",
                "x",
                "--primary",
                "h:1",
                "--candidate-version",
                "1",
                "--candidate-label",
                "c",
            ),
            "--candidate-version and --candidate-label name two things.",
        ),
        (("--listen", "0", "--primary", "x", "--candidate", "h:1"), "x is no folder and no addr"),
    ],
)
def test_wrong_command_line_is_explained(arguments: tuple[str, ...], message: str) -> None:
    code, found, _ = shadow(*arguments)
    assert code in (2, 3)
    assert found["error"]["cause"].startswith(message)


def test_wrong_folders_and_taken_ports_are_explained(tmp_path: Path, log: Path) -> None:
    from slimworks.components.errors import ConfigError, ServingError
    from slimworks.components.shadow.sides import opened_side

    for choice, message in (
        (ModelChoice(), r"There is no SavedModel in .*: it has no version\."),
        (ModelChoice(version=7), r"There is no version 7 in .*: it has no version\."),
        (ModelChoice(label="canary"), r"is a folder: labels are known to servers only\."),
    ):
        with pytest.raises(ConfigError, match=message), opened_side(str(tmp_path), choice, 1.0):
            pass
    with Mirror("127.0.0.1:0", "127.0.0.1:1", None, Tally()) as mirror:
        with pytest.raises(ServingError, match="Cannot listen on") as raised:
            Mirror(mirror.address, "127.0.0.1:1", None, Tally()).__enter__()
        assert raised.value.fix == "Choose another port: --listen PORT."
