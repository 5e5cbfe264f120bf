"""ML Metadata in SQLite: what is listed after the clock went back, and what a failure says."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2

from slimworks.pipeline import metadata, reasons

NUM_EXECUTIONS = 230  # of which ML Metadata lists 100 a page
NUM_AFTER_CLOCK_WENT_BACK = 3


def _fill(store: metadata.MetadataStore, num_executions: int) -> None:
    """Executions of the node `tiny.ingest` in the run `now`."""
    type_id = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Ingest"))
    contexts = []
    for kind, name in (("node", "tiny.ingest"), ("pipeline_run", "now")):
        context_type = store.put_context_type(metadata_store_pb2.ContextType(name=kind))
        contexts.append(metadata_store_pb2.Context(type_id=context_type, name=name))
    context_ids = store.put_contexts(contexts)
    ids = store.put_executions(
        [metadata_store_pb2.Execution(type_id=type_id) for _ in range(num_executions)]
    )
    store.put_attributions_and_associations(
        [],
        [
            metadata_store_pb2.Association(execution_id=execution_id, context_id=context_id)
            for execution_id in ids
            for context_id in context_ids
        ],
    )


def test_executions_after_the_clock_went_back_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    with metadata.SqliteMetadata(path) as handle:
        _fill(handle.store, NUM_EXECUTIONS)
    with sqlite3.connect(path) as database:
        database.execute(
            "update Execution set create_time_since_epoch = 1000 where id > ?",
            [NUM_EXECUTIONS - NUM_AFTER_CLOCK_WENT_BACK],
        )
    database.close()
    with metadata.SqliteMetadata(path) as handle:
        (context,) = handle.store.get_contexts_by_type("pipeline_run")
        listed = [one.id for one in handle.store.get_executions_by_context(context.id)]
        found = metadata.executions_of_run(handle.store, "now")
    assert listed == list(range(NUM_EXECUTIONS, 0, -1)), "newest first, as TFX expects them"
    assert [one.id for one in found] == list(range(1, NUM_EXECUTIONS + 1))


def test_a_failure_is_named_by_the_last_line_of_its_message(tmp_path: Path) -> None:
    with metadata.SqliteMetadata(tmp_path / "metadata.sqlite") as handle:
        _fill(handle.store, 1)
        (execution,) = metadata.executions_of_run(handle.store, "now")
        execution.last_known_state = metadata.FAILED
        message = "Traceback (most recent call last):\n\nInputError: examples has no artifact\n"
        result = json.dumps({"resultMessage": message, "code": 9}, indent=2)
        execution.custom_properties["__execution_result__"].string_value = result
        handle.store.put_executions([execution])
        explained = reasons.explain(handle.store, "tiny", "now", "ingest")
    assert explained == ("failed", execution.id, "InputError: examples has no artifact")
