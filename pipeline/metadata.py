"""ML Metadata: a connection that takes turns, and questions asked of the store."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO, Any

from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

COMPLETE = metadata_store_pb2.Execution.COMPLETE
CACHED = metadata_store_pb2.Execution.CACHED
FAILED = metadata_store_pb2.Execution.FAILED
RUNNING = metadata_store_pb2.Execution.RUNNING
NEW = metadata_store_pb2.Execution.NEW


class SqliteMetadata(metadata.Metadata):
    """A connection to the SQLite store that holds a file lock while it is open.

    SQLite gives up on a busy database after a few retries; nodes that run side by side wait
    here instead. TFX opens the connection only around its driver and publisher.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(metadata.sqlite_metadata_connection_config(str(path)))
        self._lock_path = path.with_suffix(".lock")
        self._lock: IO[str] | None = None
        self._depth = 0

    def __enter__(self) -> SqliteMetadata:
        if self._depth == 0:
            self._lock = open(self._lock_path, "w", encoding="utf-8")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._depth += 1
        super().__enter__()
        return self

    def __exit__(self, *arguments: Any) -> None:
        super().__exit__(*arguments)
        self._depth -= 1
        if self._depth == 0 and self._lock is not None:
            self._lock.close()
            self._lock = None


def executions_of_node(store: Any, pipeline_name: str, node: str) -> list[Any]:
    """Executions of one node in one pipeline, oldest first."""
    context = store.get_context_by_type_and_name("node", f"{pipeline_name}.{node}")
    if context is None:
        return []
    return sorted(store.get_executions_by_context(context.id), key=lambda e: e.id)


def executions_of_run(store: Any, run_id: str) -> list[Any]:
    """Executions of one run, oldest first."""
    context = store.get_context_by_type_and_name("pipeline_run", run_id)
    if context is None:
        return []
    return sorted(store.get_executions_by_context(context.id), key=lambda e: e.id)


def artifacts_of_execution(store: Any, execution_id: int, *, outputs: bool) -> dict[str, list[Any]]:
    """Input or output artifacts of one execution, by channel name."""
    from ml_metadata.proto.metadata_store_pb2 import Event

    wanted = {Event.OUTPUT} if outputs else {Event.INPUT, Event.DECLARED_INPUT}
    keys = {
        event.artifact_id: event.path.steps[0].key
        for event in store.get_events_by_execution_ids([execution_id])
        if event.type in wanted
    }
    result: dict[str, list[Any]] = {}
    for artifact in store.get_artifacts_by_id(list(keys)):
        result.setdefault(keys[artifact.id], []).append(artifact)
    return result


def properties_of_execution(execution: Any) -> dict[str, Any]:
    """Execution properties as plain values, TFX's own internals left out."""
    values = {}
    for key, value in {**execution.properties, **execution.custom_properties}.items():
        if not key.startswith("__"):
            values[key] = getattr(value, value.WhichOneof("value"))
    return values


def abandon_unfinished(store: Any, pipeline_name: str, nodes: tuple[str, ...]) -> list[str]:
    """Marks executions that a killed run left running as failed.

    Returns:
        Output folders of those executions: they are incomplete and can go.
    """
    folders: list[str] = []
    for node in nodes:
        unfinished = [
            execution
            for execution in executions_of_node(store, pipeline_name, node)
            if execution.last_known_state in (RUNNING, NEW)
        ]
        for execution in unfinished:
            execution.last_known_state = FAILED
            folders.append(str(execution.id))
        if unfinished:
            store.put_executions(unfinished)
    return folders
