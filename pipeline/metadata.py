"""ML Metadata: a connection that takes turns, and questions asked of the store."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, Any

from ml_metadata import errors
from ml_metadata.metadata_store import ListOptions, MetadataStore, OrderByField
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from slimworks.components.errors import ConfigError
from slimworks.pipeline.kubeflow.config import PASSWORD_VARIABLE, MetadataConfig

COMPLETE = metadata_store_pb2.Execution.COMPLETE
CACHED = metadata_store_pb2.Execution.CACHED
FAILED = metadata_store_pb2.Execution.FAILED
RUNNING = metadata_store_pb2.Execution.RUNNING
NEW = metadata_store_pb2.Execution.NEW


class _Store(MetadataStore):
    """A store that lists the executions of a context by id, where none asks for another order.

    ML Metadata lists them by the time of their creation, in pages of 100, and asks for the next
    page by time and id at once: what was made after the machine's clock went back is on no page.
    """

    def get_executions_by_context(
        self, context_id: int, list_options: ListOptions | None = None, extra_options: Any = None
    ) -> list[metadata_store_pb2.Execution]:
        """Executions of a context, newest first."""
        options = list_options or ListOptions(order_by=OrderByField.ID, is_asc=False)
        found: list[metadata_store_pb2.Execution] = super().get_executions_by_context(
            context_id, options, extra_options
        )
        return found


class Metadata(metadata.Metadata):
    """A connection, not opened yet."""

    def __enter__(self) -> Metadata:
        super().__enter__()
        self.store.__class__ = _Store  # TFX makes it itself, after retries
        return self


class SqliteMetadata(Metadata):
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


def connect(config: MetadataConfig, path: Path) -> Metadata:
    """Returns the connection of a configuration, not opened yet.

    Args:
        config: Kind and address; the password comes from the environment.
        path: The file, where the kind is sqlite.
    """
    if config.kind == "sqlite":
        path.parent.mkdir(parents=True, exist_ok=True)
        return SqliteMetadata(path)
    if config.kind == "grpc":
        return Metadata(
            metadata_store_pb2.MetadataStoreClientConfig(
                host=config.host, port=config.resolved_port
            )
        )
    password = os.environ.get(PASSWORD_VARIABLE, "")
    if config.kind == "mysql":
        return Metadata(
            metadata.mysql_metadata_connection_config(
                config.host, config.resolved_port, config.database, config.user, password
            )
        )
    settings = metadata_store_pb2.ConnectionConfig()
    settings.postgresql.host = config.host
    settings.postgresql.port = str(config.resolved_port)
    settings.postgresql.dbname = config.database
    settings.postgresql.user = config.user
    settings.postgresql.password = _quoted(password)
    return Metadata(settings)


def _quoted(value: str) -> str:
    """A value of a PostgreSQL connection string: ML Metadata puts it there as it stands."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def check_reachable(config: MetadataConfig, connection: metadata.Metadata) -> None:
    """Asks the store something before a step relies on it.

    Raises:
        ConfigError: It does not answer, or refuses.
    """
    try:
        with connection as handle:
            handle.store.get_context_types()
    except (RuntimeError, errors.StatusError):  # the database's own words are in the log only
        where = f"{config.kind} at {config.host}:{config.resolved_port}"
        if config.kind == "grpc":
            fix = "Check kubeflow.metadata.host and port, and that the server runs."
        else:
            where += f", database {config.database}, user {config.user}"
            fix = (
                f"Check kubeflow.metadata and {PASSWORD_VARIABLE}; the database must exist and "
                "the user may create tables in it."
            )
        raise ConfigError(f"ML Metadata does not answer: {where}.", fix) from None


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


def abandon_unfinished(
    store: Any, pipeline_name: str, nodes: tuple[str, ...], run_id: str | None = None
) -> list[str]:
    """Marks executions that a killed run left running as failed.

    Args:
        store: ML Metadata.
        pipeline_name: The pipeline.
        nodes: Of which.
        run_id: Only those of this run.

    Returns:
        Output folders of those executions: they are incomplete and can go.
    """
    folders: list[str] = []
    of_run = None if run_id is None else {e.id for e in executions_of_run(store, run_id)}
    for node in nodes:
        unfinished = [
            execution
            for execution in executions_of_node(store, pipeline_name, node)
            if execution.last_known_state in (RUNNING, NEW)
            and (of_run is None or execution.id in of_run)
        ]
        for execution in unfinished:
            execution.last_known_state = FAILED
            folders.append(str(execution.id))
        if unfinished:
            store.put_executions(unfinished)
    return folders
