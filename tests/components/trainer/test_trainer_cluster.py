"""TF_CONFIG, TF-Slim's deployment flags, processes of this machine: what a user is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import psutil
import pytest
import tensorflow as tf

from slimworks.components.errors import ConfigError, SlimWorksError, TrainingError
from slimworks.components.trainer import cluster, launch
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.deployment_flags import REPLACEMENTS
from slimworks.components.trainer.distribution import (
    WorkerLostError,
    lost_workers_reported,
    shared_batch_size,
)
from slimworks.components.trainer.job import TrainingJob
from slimworks.pipeline.config import load_config

TWO_WORKERS = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
WITH_SERVER = {
    "cluster": {"chief": ["c:1"], "worker": ["a:1", "b:1"], "ps": ["p:1"]},
    "task": {"type": "worker", "index": 1},
}


def _parse(**changes: Any) -> cluster.Cluster | None:
    return cluster.parse_tf_config(json.dumps({**TWO_WORKERS, **changes}))


def _is(task_type: str, index: int, **addresses: list[str]) -> cluster.Cluster:
    found = _parse(cluster=addresses, task={"type": task_type, "index": index})
    assert found is not None
    return found


def test_without_a_chief_worker_0_is_the_chief() -> None:
    hosts = {"worker": ["a:1", "b:1"]}
    assert _is("worker", 0, **hosts).is_chief
    assert not _is("worker", 1, **hosts).is_chief
    assert [_is("worker", at, **hosts).worker_index for at in (0, 1)] == [0, 1]


def test_a_chief_trains_too_unless_it_leads_parameter_servers() -> None:
    hosts = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    assert _is("chief", 0, **hosts).num_workers == 3
    assert _is("chief", 0, **hosts).worker_index == 0
    assert _is("worker", 1, **hosts).worker_index == 2
    assert not _is("worker", 0, **hosts).is_chief
    assert _is("chief", 0, **hosts, ps=["p:1"]).num_workers == 2


def test_a_cluster_says_itself_as_tf_config() -> None:
    found = _parse()
    assert found is not None
    assert cluster.parse_tf_config(found.to_tf_config()) == found


@pytest.mark.parametrize("value", ["", "  ", "{}", '{"environment": "cloud"}'])
def test_no_cluster(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cluster.TF_CONFIG, value)
    assert cluster.cluster_from_environment() is None


def test_a_single_task_is_no_cluster() -> None:
    task = {"type": "chief", "index": 0}
    assert _parse(cluster={"chief": ["c:1"]}, task=task) is None


def test_some_launchers_write_the_index_as_text() -> None:
    found = _parse(task={"type": "worker", "index": "1"})
    assert found is not None
    assert found.task_index == 1


@pytest.mark.parametrize(
    ("changes", "cause", "fix"),
    [
        ({"cluster": {"worker": "a:1"}}, "cluster.worker is 'a:1', expected a list", "Write it"),
        ({"cluster": ["a:1"]}, "expected an object with a cluster", "Write it"),
        ({"cluster": {"master": ["a:1", "b:1"]}}, "the type 'master'", "Call it chief."),
        ({"cluster": {"wroker": ["a:1", "b:1"]}}, "'wroker'", "Did you mean 'worker'?"),
        ({"task": None}, "task is None: which task is this?", "Write it"),
        ({"task": {"type": "worker"}}, "which task is this?", "Write it"),
        (
            {"task": {"type": "worker", "index": 2}},
            "the task worker 2 is not in the cluster, which has 2 of that type.",
            "its own task.",
        ),
        ({"task": {"type": "ps", "index": 0}}, "has 0 of that type", "its own task."),
    ],
)
def test_tf_config_that_cannot_be_understood(changes: Any, cause: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(**changes)
    assert cause in caught.value.cause
    assert fix in caught.value.fix
    assert caught.value.exit_code == 2


def test_tf_config_that_is_no_json() -> None:
    with pytest.raises(ConfigError, match="TF_CONFIG is no JSON: Expecting"):
        cluster.parse_tf_config("{worker: a}")


@pytest.mark.parametrize(
    ("value", "settings", "cause", "fix"),
    [
        (
            TWO_WORKERS,
            {},
            "TF_CONFIG names 2 worker, but train.distribution is none.",
            "Set train.distribution=multi_worker, or unset TF_CONFIG to train in one process.",
        ),
        (
            WITH_SERVER,
            {"distribution": "multi_worker"},
            "TF_CONFIG names 1 chief, 2 worker, 1 ps, but train.distribution is multi_worker.",
            "Set train.distribution=parameter_server, or unset",
        ),
        (
            {**WITH_SERVER, "cluster": {"worker": ["a:1", "b:1"], "ps": ["p:1"]}},
            {"distribution": "parameter_server"},
            "TF_CONFIG names 2 worker, 1 ps: parameter servers need one chief.",
            'Add "chief": ["host:port"] to its cluster.',
        ),
        (
            TWO_WORKERS,
            {"distribution": "multi_worker", "workers": 3},
            "train.workers is 3, but TF_CONFIG names 2 worker.",
            "Set train.workers=2, or leave it out.",
        ),
    ],
)
def test_tf_config_that_does_not_fit_the_settings(
    value: Any, settings: dict[str, Any], cause: str, fix: str
) -> None:
    found = cluster.parse_tf_config(json.dumps(value))
    with pytest.raises(ConfigError) as caught:
        cluster.check_cluster(found, TrainConfig.model_validate(settings))
    assert caught.value.cause == cause
    assert caught.value.fix.startswith(fix)


def test_tf_config_that_fits() -> None:
    for settings in ({"workers": 2}, {}):
        config = TrainConfig.model_validate({"distribution": "multi_worker", **settings})
        cluster.check_cluster(_parse(), config)
    cluster.check_cluster(None, TrainConfig(distribution="multi_worker", workers=2))


def test_one_worker_and_nobody_else() -> None:
    with pytest.raises(ConfigError) as caught:
        cluster.check_cluster(None, TrainConfig(distribution="multi_worker"))
    assert "train.workers is 1 and TF_CONFIG names no other process" in caught.value.cause
    assert caught.value.fix == "Set train.workers=2 or more, or train.distribution=none."


def test_only_the_chief_is_started_like_a_training() -> None:
    chief, other = (_is("worker", at, worker=["a:1", "b:1"]) for at in (0, 1))
    cluster.require_chief(chief, "/w/training.json")
    with pytest.raises(ConfigError) as caught:
        cluster.require_chief(other, "/w/training.json")
    assert caught.value.cause == ("TF_CONFIG makes this process worker 1, which writes no model.")
    assert caught.value.fix.endswith(
        "python -m slimworks.components.trainer.worker /w/training.json"
    )


def test_workers_without_a_distribution() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=["train.workers=2"])
    assert caught.value.cause == "train.workers is 2, but train.distribution is none."
    assert caught.value.fix.startswith("Set train.distribution=multi_worker")


def test_updates_without_an_order_are_not_deterministic() -> None:
    wanted = ["train.deterministic=true", "train.distribution=parameter_server"]
    with pytest.raises(ConfigError, match="depends on which worker is faster") as caught:
        load_config(overrides=wanted)
    assert caught.value.fix.startswith("Set train.distribution=multi_worker, or")


@pytest.mark.parametrize("flag", REPLACEMENTS)
def test_a_deployment_flag_of_tf_slim_names_what_took_its_place(flag: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[f"train.{flag}=2"])
    assert caught.value.cause == f"train.{flag} is TF-Slim's flag, not a setting."
    named = re.findall(r"train\.(\w+)", caught.value.fix)
    assert set(named) <= set(TrainConfig.model_fields), "settings that exist"
    assert named or "Leave it out" in caught.value.fix


def test_replicas_share_a_batch_evenly() -> None:
    assert shared_batch_size(32, 1_000, 1) == shared_batch_size(32, 1_000, 2) == 32
    assert shared_batch_size(32, 21, 2) == 20, "as many images as there are and can be shared"
    with pytest.raises(ConfigError) as caught:
        shared_batch_size(32, 1_000, 3)
    assert caught.value.cause == "train.batch_size is 32, which 3 replicas cannot share evenly."
    assert caught.value.fix.startswith("Set train.batch_size to 30 or 33:")
    with pytest.raises(ConfigError, match=r"Set train\.batch_size to 4:"):
        shared_batch_size(2, 1_000, 4)


def test_fewer_images_than_replicas() -> None:
    with pytest.raises(ConfigError) as caught:
        shared_batch_size(32, 3, 4)
    assert caught.value.cause == "The train split has 3 images, fewer than the 4 replicas."


def test_local_processes_have_ports_of_their_own_and_one_chief() -> None:
    config = TrainConfig(distribution="parameter_server", workers=2, parameter_servers=2)
    tasks = launch.local_clusters(config)
    assert [launch.task_name(task) for task in tasks] == [
        "chief-0", "worker-0", "worker-1", "ps-0", "ps-1",
    ]  # fmt: skip
    hosts = [host for kind in tasks[0].addresses.values() for host in kind]
    assert len(set(hosts)) == 5
    assert [task.is_chief for task in tasks] == [True, False, False, False, False]
    together = launch.local_clusters(TrainConfig(distribution="multi_worker", workers=3))
    assert [launch.task_name(task) for task in together] == ["worker-0", "worker-1", "worker-2"]
    for task in [*tasks, *together]:
        cluster.check_cluster(task, config if len(task.addresses) > 1 else _three_workers())


def _three_workers() -> TrainConfig:
    return TrainConfig(distribution="multi_worker", workers=3)


def test_each_local_worker_has_a_gpu_of_its_own() -> None:
    config = TrainConfig(distribution="parameter_server", workers=3)
    tasks = launch.local_clusters(config)
    assert [launch.visible_devices(task, 0) for task in tasks] == [{}] * 5
    found = {
        launch.task_name(task): launch.visible_devices(task, 2)["CUDA_VISIBLE_DEVICES"]
        for task in tasks
    }
    assert found == {
        "chief-0": "-1", "worker-0": "0", "worker-1": "1", "worker-2": "-1", "ps-0": "-1",
    }  # fmt: skip


@pytest.fixture
def job(tmp_path: Any) -> TrainingJob:
    return TrainingJob(
        inputs={"examples": "e", "transform_graph": "t", "label_map": "l"},
        output_dir=str(tmp_path / "output"),
        work_dir=str(tmp_path / "work"),
        model=ModelConfig(net="lenet"),
        config=TrainConfig(distribution="multi_worker", workers=2),
        export=ExportConfig(top_k=3),
    )


def test_a_job_is_read_as_it_was_written(job: TrainingJob) -> None:
    found = TrainingJob.read(str(job.write()))
    assert (found.model, found.config, found.export) == (job.model, job.config, job.export)
    assert found.output_dir == job.output_dir
    assert set(found.inputs) == set(job.inputs)


def test_a_job_that_is_not_there() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainingJob.read("/nowhere/training.json")
    assert caught.value.cause == "There is no /nowhere/training.json."
    assert caught.value.fix == "Start the chief first: it writes training.json."


def _never() -> bool:
    return False


@pytest.mark.slow
def test_an_error_of_a_worker_is_raised_where_the_training_was_started(job: TrainingJob) -> None:
    """Real processes: the inputs do not exist."""
    with pytest.raises(SlimWorksError) as caught:
        launch.Workers(job).run(_never)
    assert caught.value.exit_code != launch.LOST_EXIT_CODE
    assert "label_map" in str(caught.value)


def test_processes_that_keep_dying(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each kills itself at the start."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TrainingError) as caught:
        launch.Workers(job).run(_never)
    pattern = r"worker-[01] ended with exit code 1, after 3 restarts\."
    assert re.fullmatch(pattern, caught.value.cause)
    assert caught.value.fix.startswith(f"Read {job.work_dir}/workers/*.log.")
    assert caught.value.exit_code == 4
    assert caplog.text.count("all start again, from the last checkpoint") == 3


def test_a_worker_without_a_cluster(job: TrainingJob) -> None:
    command = [sys.executable, "-m", cluster.WORKER_MODULE, str(job.write())]
    environment = {name: value for name, value in os.environ.items() if name != cluster.TF_CONFIG}
    found = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert found.returncode == 2
    assert "TF_CONFIG names no other process. Set it in each process;" in found.stderr


def test_a_lost_worker_is_told_from_other_faults() -> None:
    others = _is("worker", 0, worker=["a:1", "b:1"])
    gone = tf.errors.UnavailableError(None, None, "Socket closed")
    with pytest.raises(WorkerLostError) as caught, lost_workers_reported(others):
        raise gone
    assert caught.value.cause == "Another process of the training is gone (UnavailableError)."
    assert caught.value.fix.endswith("they go on from the last checkpoint.")
    assert caught.value.exit_code == 138
    with pytest.raises(tf.errors.UnavailableError), lost_workers_reported(None):
        raise gone
    with pytest.raises(tf.errors.InvalidArgumentError), lost_workers_reported(others):
        raise tf.errors.InvalidArgumentError(None, None, "shape")


_STARTS_WORKERS = """
import logging, sys
from slimworks.components.trainer.job import TrainingJob
from slimworks.components.trainer.launch import Workers
logging.basicConfig(level=logging.INFO)
Workers(TrainingJob.read(sys.argv[1])).run(lambda: False)
"""


def test_workers_end_with_the_process_that_started_them(job: TrainingJob) -> None:
    command = [sys.executable, "-c", _STARTS_WORKERS, str(job.write())]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stderr is not None
        line = next(line for line in parent.stderr if "is process" in line)
        workers = [psutil.Process(int(number)) for number in re.findall(r"is process (\d+)", line)]
        parent.kill()
    assert len(workers) == 2
    _, left = psutil.wait_procs(workers, timeout=60)
    # In a container nobody may wait for those that have ended.
    assert [one for one in left if one.status() != psutil.STATUS_ZOMBIE] == []
