"""Launches one node of the compiled pipeline: resolve, reuse or execute, publish, say why.

The local runner, a container and Kubeflow all come through `launch_node`: TFX's portable
launcher does the work, and the state is read back from ML Metadata, because the launcher
returns normally when input resolution failed.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimworks.components import contracts
from slimworks.components.errors import EXIT_CRASH, EXIT_USAGE, SlimWorksError
from slimworks.pipeline import tfx_import

if TYPE_CHECKING:
    from tfx.orchestration import metadata as tfx_metadata
    from tfx.proto.orchestration import pipeline_pb2

    from slimworks.pipeline.kubeflow.bucket import Bucket

RAN, REUSED, SKIPPED, FAILED = "ran", "reused", "skipped", "failed"

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class NodeResult:
    """What became of one node in one run."""

    name: str
    state: str
    seconds: float
    reason: str
    execution_id: int | None = None
    error: dict[str, Any] | None = None  # {"type", "cause", "fix", "exit_code"}
    cpu_seconds: float = 0.0  # of the node and of the processes that it started and ended
    peak_memory_bytes: int = 0  # of the largest of these processes, so far

    def to_json(self) -> dict[str, Any]:
        """The node's entry in run.json and in `run --json`."""
        value = dataclasses.asdict(self)
        value["cached"] = self.state == REUSED
        value["seconds"] = round(self.seconds, 3)
        value["cpu_seconds"] = round(self.cpu_seconds, 3)
        return value


def bind_run_id(ir: pipeline_pb2.Pipeline, run_id: str) -> None:
    """Replaces the runtime parameter of the run id in place."""
    tfx_import.prepare()
    from tfx.dsl.compiler import constants
    from tfx.orchestration.portable import runtime_parameter_utils

    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )


def launch_node(
    ir: pipeline_pb2.Pipeline,
    node_id: str,
    connection: tfx_metadata.Metadata,
    bucket: Bucket | None = None,
) -> NodeResult:
    """Runs, reuses or skips one node, and says what it used.

    Args:
        ir: The compiled pipeline with its run id bound.
        node_id: The node.
        connection: ML Metadata.
        bucket: Where the artifacts are; None: on this machine.

    Returns:
        The result; never raises for a fault of the node itself.
    """
    seconds_before, _ = resources_used()
    result = _launch(ir, node_id, connection, bucket)
    seconds, peak_bytes = resources_used()
    return dataclasses.replace(
        result, cpu_seconds=seconds - seconds_before, peak_memory_bytes=peak_bytes
    )


def resources_used() -> tuple[float, int]:
    """CPU seconds of this process and its ended children; peak bytes of the largest of them."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): kilobytes, but on macOS bytes
    cpu_seconds = sum(one.ru_utime + one.ru_stime for one in used)
    return cpu_seconds, unit * max(one.ru_maxrss for one in used)


def _launch(
    ir: pipeline_pb2.Pipeline,
    node_id: str,
    connection: tfx_metadata.Metadata,
    bucket: Bucket | None,
) -> NodeResult:
    tfx_import.prepare()
    from slimworks.pipeline import reasons

    node = next(n.pipeline_node for n in ir.nodes if n.pipeline_node.node_info.id == node_id)
    run_id = ir.runtime_spec.pipeline_run_id.field_value.string_value
    with connection as handle:
        skipped = reasons.skipped_above(
            handle.store, ir.pipeline_info.id, run_id, node.upstream_nodes
        )
    if skipped:
        return NodeResult(node_id, SKIPPED, 0.0, skipped)
    portable = _portable(ir, node, connection, bucket)
    started = time.monotonic()
    error: dict[str, Any] | None = None
    try:
        portable.launch()
    except KeyboardInterrupt:
        raise
    except Exception as fault:
        error = describe_fault(fault)
        if not isinstance(_user_error(fault), SlimWorksError):
            _log.exception("%s failed", node_id)
    seconds = time.monotonic() - started
    with connection as handle:
        state, execution_id, reason = reasons.explain(
            handle.store, ir.pipeline_info.id, run_id, node_id
        )
        if state in (RAN, REUSED):
            _remove_finished_work(handle.store, execution_id)
    if bucket is not None and state == RAN:
        bucket.drop_unfinished()
    if error is not None:
        return NodeResult(node_id, FAILED, seconds, error["cause"], execution_id, error)
    if state == FAILED:
        error = {
            "type": "CrashError",
            "cause": f"{node_id} failed without an exception: {reason}",
            "fix": "Run again with --debug and look at the node's log.",
            "exit_code": 1,
        }
    return NodeResult(node_id, state, seconds, reason, execution_id, error)


def _portable(
    ir: pipeline_pb2.Pipeline,
    node: pipeline_pb2.PipelineNode,
    connection: tfx_metadata.Metadata,
    bucket: Bucket | None,
) -> Any:
    """TFX's launcher of a node."""
    from tfx.orchestration.local import runner_utils
    from tfx.orchestration.portable import launcher

    deployment, node_id = runner_utils.extract_local_deployment_config(ir), node.node_info.id
    arguments = {
        "pipeline_node": node,
        "mlmd_connection": connection,
        "pipeline_info": ir.pipeline_info,
        "pipeline_runtime_spec": ir.runtime_spec,
        "executor_spec": runner_utils.extract_executor_spec(deployment, node_id),
        "custom_driver_spec": runner_utils.extract_custom_driver_spec(deployment, node_id),
    }
    if bucket is None:
        return launcher.Launcher(**arguments)
    from slimworks.pipeline.bucket_launcher import BucketLauncher

    return BucketLauncher(bucket, **arguments)


def _remove_finished_work(store: Any, execution_id: int | None) -> None:
    """Removes unfinished work whose result is now published."""
    from slimworks.pipeline import metadata

    (execution,) = store.get_executions_by_id([execution_id])
    work = metadata.properties_of_execution(execution).get("work")
    if work is not None:
        for marker in Path(work).glob(f"*/{contracts.FINISHED_FILE}"):
            shutil.rmtree(marker.parent)


def _chain(fault: BaseException | None) -> Iterator[BaseException]:
    """A fault and what it was raised from, outermost first."""
    while fault is not None:
        yield fault
        # Beam raises its own error while it handles ours, without `from`.
        suppressed = fault.__suppress_context__
        fault = fault.__cause__ or (None if suppressed else fault.__context__)


def _user_error(fault: BaseException) -> SlimWorksError | None:
    """Finds the error meant for the user among a fault and its causes."""
    return next((f for f in _chain(fault) if isinstance(f, SlimWorksError)), None)


# What the machine lacks, not what the program does wrong.
_ROOM, _PERMISSION = {errno.ENOSPC, errno.EDQUOT}, {errno.EACCES, errno.EPERM, errno.EROFS}
_ADVICE = {
    **dict.fromkeys(_ROOM, "Make room, then run again: finished steps are kept."),
    **dict.fromkeys(_PERMISSION, "Change the permission, or write to another folder."),
    errno.ENOTDIR: "Give another path: a part of this one is a file, not a folder.",
    errno.ENOMEM: "Close other programs or lower train.batch_size, then run again.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n 4096), then run again.",
}
# TensorFlow's errors carry no errno; named, because importing them costs seconds.
_TENSORFLOW_ADVICE = {
    "ResourceExhaustedError": "Make room on the disk, or lower train.batch_size, then run again.",
    "PermissionDeniedError": _ADVICE[errno.EACCES],
}


# ML Metadata hands SQLite's words through.
_DATABASE_FAULTS = {
    "database or disk is full": (
        "No space left for ML Metadata (metadata.sqlite in the run root).", _ADVICE[errno.ENOSPC],
    ),
    "file is not a database": (
        "metadata.sqlite in the run root is damaged: it is no SQLite database.",
        "Restore it from a backup, or move it away and run again: every step runs anew, and what "
        "was pushed stays.",
    ),
    "database disk image is malformed": (
        "metadata.sqlite in the run root is damaged.",
        "Restore it from a backup, or move it away and run again: every step runs anew, and what "
        "was pushed stays.",
    ),
    "attempt to write a readonly database": (
        "A database of the run root cannot be written: metadata.sqlite or state/catalogue.sqlite.",
        _ADVICE[errno.EROFS],
    ),
    "unable to open database file": (
        "A database of the run root cannot be opened: metadata.sqlite or state/catalogue.sqlite.",
        _ADVICE[errno.EROFS],
    ),
    "Read-only file system": ("A folder is read-only.", _ADVICE[errno.EROFS]),
    "No space left on device": ("No space left on the disk.", _ADVICE[errno.ENOSPC]),
}  # fmt: skip


def describe_fault(fault: BaseException) -> dict[str, Any]:
    """Returns cause, fix, exit code and details (where there are) of an exception, for JSON."""
    error = _user_error(fault)
    if error is not None:
        described: dict[str, Any] = {
            "type": type(error).__name__,
            "cause": error.cause,
            "fix": error.fix,
            "exit_code": error.exit_code,
        }
        return {**described, "details": error.details} if error.details else described
    for link in _chain(fault):
        name = type(link).__name__
        if isinstance(link, OSError) and link.errno in _ADVICE:
            cause = f"{link.strerror}{f': {link.filename}' if link.filename else ''}."
            fix = _ADVICE[link.errno]
            return {"type": name, "cause": cause, "fix": fix, "exit_code": EXIT_USAGE}
        if name in _TENSORFLOW_ADVICE:
            fix = _TENSORFLOW_ADVICE[name]
            return {"type": name, "cause": _one_line(link), "fix": fix, "exit_code": EXIT_USAGE}
        for text, (cause, fix) in _DATABASE_FAULTS.items():
            if text in str(link):
                return {"type": name, "cause": cause, "fix": fix, "exit_code": EXIT_USAGE}
    return {
        "type": type(fault).__name__,
        "cause": f"{type(fault).__name__}: {_one_line(fault)}",
        "fix": "This looks like a fault of SlimWorks: report it with the node's log.",
        "exit_code": EXIT_CRASH,
    }


def error_lines(error: Mapping[str, Any]) -> list[str]:
    """Returns the lines that a terminal shows of a described fault."""
    details = error.get("details", "").splitlines()
    return [f"Error: {error['cause']}", *details, f"Fix:   {error['fix']}"]


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:500]
