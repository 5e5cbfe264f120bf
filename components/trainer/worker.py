"""One process of a distributed training: `python -m slimworks.components.trainer.worker FILE`.

FILE is the training.json in the work folder of the training; TF_CONFIG says which task this is.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from typing import IO

from slimworks.components.errors import EXIT_CRASH, EXIT_INTERRUPTED, ConfigError, SlimWorksError
from slimworks.components.trainer.cluster import (
    CHIEF,
    PARAMETER_SERVER,
    Cluster,
    check_cluster,
    cluster_from_environment,
)
from slimworks.components.trainer.job import TrainingJob
from slimworks.components.trainer.launch import (
    LOST_EXIT_CODE,
    STARTED_LOCALLY,
    WORKERS_FOLDER,
    RecordHandler,
    task_name,
    write_error,
)

_log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Takes part in a training; returns the exit code."""
    path, *flags = arguments
    is_local = STARTED_LOCALLY in flags
    records = _take_stdout() if is_local else None
    _start_log()
    if is_local:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    cluster = None
    try:
        cluster = cluster_from_environment()
        if cluster is None:
            raise ConfigError(
                "TF_CONFIG names no other process.", "Set it in each process; docs/distribution.md."
            )
        if records is not None and cluster.is_chief:
            logging.getLogger("slimworks").addHandler(RecordHandler(records))
        _take_part(TrainingJob.read(path), cluster, is_local)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except SlimWorksError as error:
        _log.error("%s", error)
        if cluster is not None and error.exit_code != LOST_EXIT_CODE:
            write_error(path, cluster, error)
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        if cluster is not None:
            write_error(path, cluster, _fault(error, cluster))
        return EXIT_CRASH
    return 0


def _fault(error: Exception, cluster: Cluster) -> SlimWorksError:
    name = task_name(cluster)
    return SlimWorksError(
        f"{name} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
        f"The whole story is in {WORKERS_FOLDER}/{name}.log in the work folder.",
    )


def _take_part(job: TrainingJob, cluster: Cluster, is_local: bool) -> None:
    check_cluster(cluster, job.config)
    import tensorflow as tf

    if is_local and cluster.is_on_one_machine:  # else each takes as many threads as all cores
        num_processes = sum(len(hosts) for hosts in cluster.addresses.values())
        threads = max((os.cpu_count() or 1) // num_processes, 1)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    if cluster.addresses.get(PARAMETER_SERVER) and cluster.task_type != CHIEF:
        from slimworks.components.trainer.parameter_servers import serve

        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the chief saves
        serve(cluster)
    from slimworks.components.trainer.train import take_part

    take_part(job, cluster)


def _start_log() -> None:
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("slimworks").setLevel(logging.INFO)


def _take_stdout() -> IO[str]:
    """Returns stdout, for records alone; what else prints goes to stderr, which is a file."""
    records = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return records


def _end_with_stdin() -> None:
    """The process that started this one holds the other end until its own."""
    sys.stdin.buffer.read()
    os._exit(EXIT_CRASH)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads of TensorFlow's servers and coordinators never end by themselves
