"""Beam flags: what they ask for, and what is wrong with them, before anything runs."""

import contextlib
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine_tasks import digest_number, make_tasks

from slimworks.components.beam_options import parse_flags, with_default_runner
from slimworks.components.errors import ConfigError
from slimworks.components.ingest.engine.job_server import job_arguments
from slimworks.components.ingest.engine.passes import run_tasks

PAGE = Path(__file__).parents[3] / "docs" / "engines.md"
PLACES = {
    "HOST": "localhost", "PROJECT": "flowers", "REGION": "europe-west1", "BUCKET": "bucket",
    "REGISTRY": "europe-docker.pkg.dev/flowers", "TAG": "1",
}  # fmt: skip


def documented(engine: str) -> list[str]:
    """The flags that the page gives for an engine, with its capital letters filled in."""
    section = PAGE.read_text().partition(f"\n## {engine}\n")[2].partition("\n## ")[0]
    block = section.split("```")[1].partition("\n")[2]  # after its language
    return shlex.split(re.sub(r"\b[A-Z]+\b", lambda m: PLACES.get(m[0], m[0]), block))


def test_no_flag_means_the_local_runner() -> None:
    flags = parse_flags(())
    assert (flags.runner, flags.num_workers, flags.running_mode) == ("FnApiRunner", 1, "in_memory")
    assert flags.is_local


@pytest.mark.parametrize("name", ["DirectRunner", "direct", "FnApiRunner", "fnapirunner"])
def test_local_runner_has_several_names(name: str) -> None:
    assert with_default_runner([f"--runner={name}"])[0] == "--runner=FnApiRunner"


def test_other_runner_keeps_its_flags() -> None:
    flags = parse_flags(["--runner", "flink", "--parallelism=2"])
    assert flags.beam_flags() == ["--runner=FlinkRunner", "--parallelism=2"]


def test_runner_of_the_users_own_is_left_alone() -> None:
    assert parse_flags(["--runner=my.module.Runner"]).runner == "my.module.Runner"


def test_zero_workers_means_one_a_core() -> None:
    assert parse_flags(["--direct_num_workers=0"]).num_workers >= 1


@pytest.mark.parametrize(
    ("flag", "cause"),
    [
        ("--runner=Flnk", r"--runner=Flnk is no runner. Did you mean 'FlinkRunner'\?"),
        ("direct_num_workers=2", r"'direct_num_workers=2' is no Beam flag"),
        ("--direct_num_workers=two", r"argument --direct_num_workers: invalid int value: 'two'"),
        ("--direct_num_workers=-1", r"--direct_num_workers is -1, expected 0"),
        ("--direct_running_mode=forks", r"invalid choice: 'forks'"),
        ("--runner=SparkRunner", r"SparkRunner has no job server: --job_endpoint is not set"),
        ("--runner=PortableRunner", r"PortableRunner has no job server"),
        ("--runner=FlinkRunner", r"neither --flink_job_server_jar nor --job_endpoint is set"),
    ],
)
def test_wrong_flag_is_named(tmp_path: Path, flag: str, cause: str) -> None:
    with pytest.raises(ConfigError, match=cause) as caught:
        run_tasks("Digest", digest_number, make_tasks(tmp_path, 20), [flag])
    assert caught.value.fix
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("flag", "cause"),
    [
        (
            "--direct_num_worker=2",
            r"--direct_num_worker is no flag of FnApiRunner. Did you mean '--direct_num_workers'\?",
        ),
        ("--job_server_timeout=x", r"--job_server_timeout.*: invalid int value: 'x'"),
    ],
)
def test_flag_that_beam_does_not_take_is_named(tmp_path: Path, flag: str, cause: str) -> None:
    with pytest.raises(ConfigError, match=cause):
        run_tasks("Digest", digest_number, make_tasks(tmp_path, 20), [flag])


def test_missing_jar_is_named(tmp_path: Path) -> None:
    flags = ["--runner=FlinkRunner", f"--flink_job_server_jar={tmp_path}/none.jar"]
    with pytest.raises(ConfigError, match=r"none.jar does not exist") as caught:
        run_tasks("Digest", digest_number, make_tasks(tmp_path, 1), flags)
    assert "make engines" in caught.value.fix


def test_missing_java_is_named(tmp_path: Path) -> None:
    jar = tmp_path / "server.jar"
    jar.touch()
    flags = [
        "--runner=FlinkRunner", f"--flink_job_server_jar={jar}", "--job_server_java_launcher=jawa",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"needs Java, and there is no 'jawa'"):
        run_tasks("Digest", digest_number, make_tasks(tmp_path, 1), flags)


def test_job_server_that_ends_at_once_shows_its_last_lines(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho no such master >&2\nexit 3\n")
    java.chmod(0o755)
    flags = [
        "--runner=FlinkRunner", f"--flink_job_server_jar={java}",
        f"--job_server_java_launcher={java}",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"Flink's job server ended \(3\)") as caught:
        run_tasks("Digest", digest_number, make_tasks(tmp_path, 1), flags)
    assert caught.value.details == "no such master"


@pytest.mark.parametrize(
    ("endpoint", "cause"),
    [("here", r"--job_endpoint=here is no address"), ("localhost:1", r"No job server answers at")],
)
def test_job_server_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str, cause: str
) -> None:
    monkeypatch.setattr("slimworks.components.ingest.engine.job_server._ANSWER_SECONDS", 0.3)
    flags = ["--runner=PortableRunner", f"--job_endpoint={endpoint}"]
    with pytest.raises(ConfigError, match=cause):
        run_tasks("Digest", digest_number, make_tasks(tmp_path, 1), flags)


def dataflow_errors(flags: list[str]) -> list[str]:
    """What Beam's own validation says about flags that have come the way that ingest sends them."""
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

    from slimworks.components.ingest.engine.beam_job import pipeline_options

    # A dry run looks up no bucket and no credentials.
    with job_arguments(parse_flags([*flags, "--dry_run=True"])) as arguments:
        options = pipeline_options(arguments)
    errors: list[str] = PipelineOptionsValidator(options, DataflowRunner()).validate()
    return errors


def test_documented_dataflow_flags_pass_beams_own_validation() -> None:
    from apache_beam.options import pipeline_options as beam_flags

    from slimworks.components.ingest.engine.beam_job import pipeline_options

    assert dataflow_errors(documented("Dataflow")) == []
    options = pipeline_options(documented("Dataflow"))
    assert options.view_as(beam_flags.GoogleCloudOptions).region == "europe-west1"
    assert options.view_as(beam_flags.WorkerOptions).max_num_workers == 8
    image = options.view_as(beam_flags.WorkerOptions).sdk_container_image
    assert image == "europe-docker.pkg.dev/flowers/slimworks:1"


def test_dataflow_without_a_project_fails_beams_own_validation() -> None:
    flags = [text for text in documented("Dataflow") if not text.startswith("--project")]
    assert any("project" in error for error in dataflow_errors(flags))


def test_documented_spark_flags_reach_beam(monkeypatch: pytest.MonkeyPatch) -> None:
    from apache_beam.options import pipeline_options as beam_flags
    from apache_beam.runners.portability.spark_runner import SparkRunner
    from apache_beam.runners.runner import create_runner

    from slimworks.components.ingest.engine import job_server
    from slimworks.components.ingest.engine.beam_job import pipeline_options

    monkeypatch.setattr(job_server, "_require_answer", lambda endpoint: None)
    with job_arguments(parse_flags(documented("Spark"))) as arguments:
        options = pipeline_options(arguments)
    assert isinstance(
        create_runner(options.view_as(beam_flags.StandardOptions).runner), SparkRunner
    )
    portable = options.view_as(beam_flags.PortableOptions)
    assert portable.job_endpoint == "localhost:8099"
    assert portable.environment_type == "PROCESS"
    assert json.loads(portable.environment_config) == {"command": "/opt/slimworks/boot"}


def test_documented_flags_of_flink_on_kubernetes_reach_beam(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from slimworks.components.ingest.config import DataConfig
    from slimworks.components.ingest.engine import job_server
    from slimworks.components.ingest.engine.beam_job import pipeline_options

    served = []

    @contextlib.contextmanager
    def no_server(options: Any, folder: Path) -> Iterator[str]:
        served.append(options.flink_job_server_jar)
        yield "localhost:8099"

    monkeypatch.setattr(job_server, "_flink_job_server", no_server)
    section = PAGE.read_text().partition("\n### Flink on Kubernetes\n")[2].partition("\n### ")[0]
    cluster, config = (
        yaml.safe_load(part) for part in re.findall(r"```yaml\n(.*?)```", section, re.S)
    )
    data = DataConfig.model_validate({"source": "/photos", **config["data"]})
    with job_arguments(parse_flags(data.beam_pipeline_args)) as arguments:
        options = pipeline_options(arguments).get_all_options()
    assert served == ["/opt/flink-job-server.jar"]
    name = cluster["metadata"]["name"]
    assert options["flink_master"] == f"{name}-rest.slimworks:8081"
    assert (options["environment_type"], options["parallelism"]) == ("PROCESS", 16)
    assert "job" not in cluster["spec"]


def test_process_environment_gets_a_program_of_its_own() -> None:
    flags = ["--runner=FlinkRunner", "--environment_type=PROCESS", "--flink_submit_uber_jar"]
    with job_arguments(parse_flags(flags)) as arguments:
        (config,) = (flag for flag in arguments if flag.startswith("--environment_config="))
        program = Path(json.loads(config.partition("=")[2])["command"])
        assert os.access(program, os.X_OK)
    assert not program.exists()


def test_process_environment_keeps_the_users_program() -> None:
    flags = [
        "--runner=FlinkRunner", "--environment_type=PROCESS", "--flink_submit_uber_jar",
        "--environment_option=process_command=/opt/boot",
    ]  # fmt: skip
    with job_arguments(parse_flags(flags)) as arguments:
        assert not any(flag.startswith("--environment_config") for flag in arguments)
