"""Which span the last judged model was trained on, read from ML Metadata."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

SPAN = "newest_span"  # custom property of a statistics artifact: the newest span of the data
_BLESSED = "blessed"

_STATISTICS = standard_artifacts.ExampleStatistics.TYPE_NAME
_BLESSING = standard_artifacts.ModelBlessing.TYPE_NAME
_PUSHED_MODEL = standard_artifacts.PushedModel.TYPE_NAME


def judged_span(store: Any, pipeline_name: str, newest: int) -> int | None:
    """Newest span, up to `newest`, whose model the gate refused or the pusher pushed.

    A model that was trained and not judged, or blessed and not pushed, is unfinished business: the
    next run must go on with it, so its span counts as not trained on.

    Args:
        store: ML Metadata's store.
        pipeline_name: Scope of the search.
        newest: Spans above it are left out.
    """
    pipeline = store.get_context_by_type_and_name("pipeline", pipeline_name)
    if pipeline is None:
        return None
    for blessing in reversed(_of_type(store, pipeline.id, _BLESSING)):
        spans = [span for span in _spans(store, blessing.id) if span <= newest]
        if spans and _is_concluded(store, blessing):
            return max(spans)
    return None


def _of_type(store: Any, context_id: int, type_name: str) -> list[Any]:
    """Published artifacts of one type in a context, oldest first."""
    found = store.get_artifacts_by_context(context_id)
    live = metadata_store_pb2.Artifact.LIVE
    return sorted((a for a in found if a.type == type_name and a.state == live), key=lambda a: a.id)


def _spans(store: Any, artifact_id: int) -> Iterator[int]:
    """Newest spans of the data in the runs that made an artifact."""
    for context in store.get_contexts_by_artifact(artifact_id):
        if context.type == "pipeline_run":
            for statistics in _of_type(store, context.id, _STATISTICS):
                if SPAN in statistics.custom_properties:
                    yield statistics.custom_properties[SPAN].int_value


def _is_concluded(store: Any, blessing: Any) -> bool:
    if blessing.custom_properties[_BLESSED].int_value == 0:
        return True
    readers = [
        event.execution_id
        for event in store.get_events_by_artifact_ids([blessing.id])
        if event.type == metadata_store_pb2.Event.INPUT
    ]
    made = [
        event.artifact_id
        for event in (store.get_events_by_execution_ids(readers) if readers else ())
        if event.type == metadata_store_pb2.Event.OUTPUT
    ]
    live = metadata_store_pb2.Artifact.LIVE
    artifacts = store.get_artifacts_by_id(made) if made else ()
    return any(a.type == _PUSHED_MODEL and a.state == live for a in artifacts)
