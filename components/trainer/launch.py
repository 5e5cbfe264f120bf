"""Several processes on this machine train together; when one dies, all go on from the checkpoint.

On a cluster, Kubernetes does what this module does: see tfjob.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from slimworks.components import files
from slimworks.components.errors import ERRORS, SlimWorksError, TrainingError
from slimworks.components.python_process import module_command
from slimworks.components.trainer.cluster import (
    CHIEF,
    PARAMETER_SERVER,
    TF_CONFIG,
    WORKER,
    WORKER_MODULE,
    Cluster,
)
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.job import TrainingJob

WORKERS_FOLDER = "workers"  # in the work folder: logs and errors of the processes
SEVERAL_PROCESSES = ("multi_worker", "parameter_server")  # values of train.distribution
STARTED_LOCALLY = "--local"  # stdin ends with this process, stdout takes log records for it
MAX_RESTARTS = 3
# A process that another one's death has ended. Kubeflow's TFJob starts a task again that ends so,
# and not one that ends with 4.
LOST_EXIT_CODE = 138
_ERROR_SUFFIX = ".error.json"
_PATIENCE_SECONDS = 30.0  # a step of a large network and its checkpoint
_LAST_WORDS_SECONDS = 5.0  # a process that lost another one ends within a second
_POLL_SECONDS = 0.5

_log = logging.getLogger(__name__)


def task_name(cluster: Cluster) -> str:
    """Such as "worker-1"."""
    return f"{cluster.task_type}-{cluster.task_index}"


def local_clusters(config: TrainConfig) -> list[Cluster]:
    """The tasks of a training on this machine, the chief first, at ports that are free now."""
    kinds = {WORKER: config.workers}
    if config.distribution == "parameter_server":
        kinds = {CHIEF: 1, WORKER: config.workers, PARAMETER_SERVER: config.parameter_servers}
    ports = iter(_free_ports(sum(kinds.values())))
    addresses = {
        kind: tuple(f"127.0.0.1:{next(ports)}" for _ in range(count))
        for kind, count in kinds.items()
    }
    return [Cluster(addresses, kind, at) for kind, count in kinds.items() for at in range(count)]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()


def visible_devices(cluster: Cluster, num_gpus: int) -> dict[str, str]:
    """Environment that gives each worker a GPU of its own, as far as there are any."""
    if num_gpus == 0:
        return {}
    has_one = cluster.task_type == WORKER and cluster.task_index < num_gpus
    return {"CUDA_VISIBLE_DEVICES": str(cluster.task_index) if has_one else "-1"}


@dataclasses.dataclass
class _Process:
    """One task as a process of this machine."""

    name: str
    popen: subprocess.Popen[bytes]
    log_path: Path

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()
        assert self.popen.stdin is not None
        self.popen.stdin.close()


class Workers:
    """Runs the tasks of one training until the chief is done."""

    def __init__(self, job: TrainingJob, cluster: Cluster | None = None, num_gpus: int = 0) -> None:
        """Names the processes.

        Args:
            job: What they do.
            cluster: Of several machines: the chief alone is started here, in a process in which
                TensorFlow has done nothing yet. None: all tasks run here.
            num_gpus: Of this machine.
        """
        self._job = job
        self._cluster = cluster
        self._folder = Path(job.work_dir) / WORKERS_FOLDER
        self._temporary = self._folder / "tmp"
        self._num_gpus = num_gpus

    def run(self, is_interrupted: Callable[[], bool]) -> None:
        """Starts every process, again from the checkpoint as often as MAX_RESTARTS when one dies.

        Args:
            is_interrupted: Asked twice a second; once true, the processes save and end.

        Raises:
            KeyboardInterrupt: As asked for.
            SlimWorksError: What a process said before it ended.
            TrainingError: The processes keep dying.
        """
        self._job.write()
        for restarts in range(MAX_RESTARTS + 1):
            self._temporary.mkdir(parents=True, exist_ok=True)
            for stale in self._folder.glob(f"*{_ERROR_SUFFIX}"):
                stale.unlink()
            dead = self._run_once(is_interrupted)
            if dead is None:
                return
            self._raise_reported()
            if restarts < MAX_RESTARTS:
                _log.warning("%s: all start again, from the last checkpoint", dead)
        raise TrainingError(
            f"{dead}, after {MAX_RESTARTS} restarts.",
            f"Read {self._folder}/*.log. Where memory is short, lower train.workers.",
        )

    def _run_once(self, is_interrupted: Callable[[], bool]) -> str | None:
        """Returns who died of what; None: the training is done."""
        ended: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        processes = [self._start(task, ended) for task in self._tasks()]
        names = ", ".join(f"{process.name} is process {process.popen.pid}" for process in processes)
        _log.info("%s; logs: %s", names, self._folder)
        try:
            return self._watch(processes, ended, is_interrupted)
        finally:
            for process in processes:
                process.kill()
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _tasks(self) -> Sequence[Cluster]:
        return [self._cluster] if self._cluster else local_clusters(self._job.config)

    def _start(self, cluster: Cluster, ended: queue.SimpleQueue[_Process]) -> _Process:
        name = task_name(cluster)
        log_path = self._folder / f"{name}.log"
        environment = {
            **os.environ,
            TF_CONFIG: cluster.to_tf_config(),
            # What a killed process leaves there is removed with the rest.
            "TMPDIR": str(self._temporary),
            **({} if self._cluster else visible_devices(cluster, self._num_gpus)),
        }
        with open(log_path, "ab") as log:
            popen = subprocess.Popen(
                module_command(WORKER_MODULE, str(self._job.path), STARTED_LOCALLY),
                env=environment,
                stdin=subprocess.PIPE,  # its end tells them that this process is gone
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches this process only, which passes it on
            )
        process = _Process(name, popen, log_path)
        threading.Thread(target=_follow, args=(process, ended), daemon=True).start()
        return process

    def _watch(
        self,
        processes: Sequence[_Process],
        ended: queue.SimpleQueue[_Process],
        is_interrupted: Callable[[], bool],
    ) -> str | None:
        chief = processes[0]
        while not is_interrupted():
            try:
                process = ended.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if process.popen.returncode != 0:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    chief.popen.wait(_LAST_WORDS_SECONDS)  # it names files that last
                return _obituary(processes, process)
            if process is chief:
                return None
        self._interrupt(processes)
        raise KeyboardInterrupt

    def _interrupt(self, processes: Sequence[_Process]) -> None:
        """Lets them write a checkpoint; all of them have to agree on its step."""
        for process in processes:
            process.popen.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            # The servers of an asynchronous training end when they are told; the chief saves.
            processes[0].popen.wait(_PATIENCE_SECONDS)

    def _raise_reported(self) -> None:
        """Raises the error of a process, which it wrote before any other could miss it."""
        for path in sorted(self._folder.glob(f"*{_ERROR_SUFFIX}")):
            error = files.read_json(path)
            kind = ERRORS.get(error["type"], SlimWorksError)
            raise kind(error["cause"], error["fix"], error["details"])


def _follow(process: _Process, ended: queue.SimpleQueue[_Process]) -> None:
    """Says here what the chief logs, and notices the end of the process."""
    assert process.popen.stdout is not None
    with process.popen.stdout as output:
        for line in output:
            say_record(line.decode())
    process.popen.wait()
    ended.put(process)


def _obituary(processes: Sequence[_Process], ended: _Process) -> str:
    """Who died first: not those who only noticed it."""
    codes = {process.name: process.popen.poll() for process in processes}
    culprits = [name for name, code in codes.items() if code not in (None, 0, LOST_EXIT_CODE)]
    name = ended.name if ended.name in culprits or not culprits else culprits[0]
    code = codes[name]
    assert code is not None
    return f"{name} " + (
        f"was killed by {signal.Signals(-code).name}"
        if code < 0
        else f"ended with exit code {code}"
    )


def say_record(line: str) -> None:
    """Logs here what a process has logged there: a line of `RecordHandler`."""
    record = json.loads(line)
    logging.getLogger(record["name"]).log(record["level"], "%s", record["message"])


class RecordHandler(logging.Handler):
    """Sends what is logged to the process that started this one, a line of JSON a record."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the line."""
        value = {"name": record.name, "level": record.levelno, "message": record.getMessage()}
        self._stream.write(json.dumps(value) + "\n")
        self._stream.flush()


def write_error(job: str, cluster: Cluster, error: SlimWorksError) -> None:
    """Keeps an error that a restart would not mend for the process that waits."""
    value = {
        "type": type(error).__name__,
        "cause": error.cause,
        "fix": error.fix,
        "details": error.details,
    }
    folder = Path(job).parent / WORKERS_FOLDER
    files.write_json(folder / f"{task_name(cluster)}{_ERROR_SUFFIX}", value)
