"""What earlier runs knew, read from ML Metadata: which span was trained on, and its statistics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

from slimworks.components import contracts, formats
from slimworks.components.statistics import spans as groups
from slimworks.components.statistics.learning_curve import Point

# Custom properties of a statistics artifact: the newest span of the data, and the state folder that
# counted it.
SPAN = "newest_span"
STATE_ID = "state_id"
# Exec properties of the statistics: those of an earlier run, by the group of spans they stand for.
EARLIER = {groups.PREVIOUS: "previous_statistics", groups.TRAINED: "trained_statistics"}
_BLESSED = "blessed"

_STATISTICS = standard_artifacts.ExampleStatistics.TYPE_NAME
_BLESSING = standard_artifacts.ModelBlessing.TYPE_NAME
_PUSHED_MODEL = standard_artifacts.PushedModel.TYPE_NAME
_EVALUATION = standard_artifacts.ModelEvaluation.TYPE_NAME


def judged_span(store: Any, pipeline_name: str, newest: int, state_id: str = "") -> int | None:
    """Newest span, up to `newest`, whose model the gate refused or the pusher pushed.

    A model that was trained and not judged, or blessed and not pushed, is unfinished business: the
    next run must go on with it, so its span counts as not trained on.

    Args:
        store: ML Metadata's store.
        pipeline_name: Scope of the search.
        newest: Spans above it are left out.
        state_id: That of the present data: another state folder, lost by now, counted its own
            spans.
    """
    found = _last_judged(store, pipeline_name, newest, state_id)
    return None if found is None else found[1]


def judged_time(store: Any, pipeline_name: str, newest: int, state_id: str = "") -> float | None:
    """When the model of `judged_span` was judged, in seconds since the epoch; None without one."""
    found = _last_judged(store, pipeline_name, newest, state_id)
    return None if found is None else found[0].create_time_since_epoch / 1_000


def _last_judged(
    store: Any, pipeline_name: str, newest: int, state_id: str
) -> tuple[Any, int] | None:
    """The last blessing that is concluded, and the newest span of its data."""
    pipeline = store.get_context_by_type_and_name("pipeline", pipeline_name)
    if pipeline is None:
        return None
    for blessing in reversed(_of_type(store, pipeline.id, _BLESSING)):
        spans = [span for span in _spans(store, blessing.id, state_id) if span <= newest]
        if spans and _is_concluded(store, blessing):
            return blessing, max(spans)
    return None


def learning_points(store: Any, pipeline_name: str) -> list[Point]:
    """Evaluated models of the newest one's network and image size, oldest first."""
    pipeline = store.get_context_by_type_and_name("pipeline", pipeline_name)
    evaluations = _of_type(store, pipeline.id, _EVALUATION) if pipeline else []
    read = [facts for e in evaluations if (facts := _model_and_metrics(store, e)) is not None]
    kinds = [(model.get("net"), model.get("image_size")) for model, _ in read]
    return [
        Point(model["num_train_images"], metrics["accuracy"], metrics["num_images"])
        for (model, metrics), kind in zip(read, kinds, strict=True)
        if kind == kinds[-1] and metrics.get("accuracy") is not None
    ]


def _model_and_metrics(store: Any, evaluation: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """model.json and metrics.json of an evaluation; None where somebody removed one."""
    inputs = _inputs_of_maker(store, evaluation)
    models = [a for a in store.get_artifacts_by_id(list(inputs)) if inputs[a.id] == "model"]
    metrics = Path(evaluation.uri) / contracts.EVALUATION_METRICS_FILE
    facts = Path(models[0].uri) / contracts.MODEL_FACTS_FILE if models else None
    if facts is None or not facts.is_file() or not metrics.is_file():
        return None
    return formats.read(facts), formats.read(metrics)


def blessed_inputs(store: Any, pipeline_name: str) -> dict[str, str]:
    """Folders that the gate blessed last: "model", "evaluation" and others; empty before that."""
    pipeline = store.get_context_by_type_and_name("pipeline", pipeline_name)
    for blessing in reversed(_of_type(store, pipeline.id, _BLESSING) if pipeline else []):
        if blessing.custom_properties[_BLESSED].int_value == 1:
            inputs = _inputs_of_maker(store, blessing)
            return {inputs[a.id]: a.uri for a in store.get_artifacts_by_id(list(inputs))}
    return {}


def _inputs_of_maker(store: Any, artifact: Any) -> dict[int, str]:
    """Channel by artifact id of what an artifact was made from."""
    makers = [
        event.execution_id
        for event in store.get_events_by_artifact_ids([artifact.id])
        if event.type == metadata_store_pb2.Event.OUTPUT
    ]
    # The first maker made it; the others reused it.
    return {
        event.artifact_id: event.path.steps[0].key
        for event in (store.get_events_by_execution_ids(makers[:1]) if makers else ())
        if event.type == metadata_store_pb2.Event.INPUT
    }


def _of_type(store: Any, context_id: int, type_name: str) -> list[Any]:
    """Published artifacts of one type in a context, oldest first."""
    found = store.get_artifacts_by_context(context_id)
    live = metadata_store_pb2.Artifact.LIVE
    return sorted((a for a in found if a.type == type_name and a.state == live), key=lambda a: a.id)


def statistics_of_span(store: Any, pipeline_name: str, span: int, state_id: str = "") -> str | None:
    """Statistics artifact of the first run whose newest span this was; None without one.

    The first, because a later one may lack images that are gone by then.

    Args:
        store: ML Metadata's store.
        pipeline_name: Scope of the search.
        span: The span.
        state_id: As in `judged_span`.
    """
    pipeline = store.get_context_by_type_and_name("pipeline", pipeline_name)
    for statistics in _of_type(store, pipeline.id, _STATISTICS) if pipeline else ():
        if _newest_span(statistics, state_id) == span:
            return str(statistics.uri)
    return None


def _spans(store: Any, artifact_id: int, state_id: str) -> Iterator[int]:
    """Newest spans of the data in the runs that made an artifact."""
    for context in store.get_contexts_by_artifact(artifact_id):
        if context.type == "pipeline_run":
            for statistics in _of_type(store, context.id, _STATISTICS):
                span = _newest_span(statistics, state_id)
                if span is not None:
                    yield span


def _newest_span(statistics: Any, state_id: str) -> int | None:
    """None where another state folder counted, or none did."""
    properties = statistics.custom_properties
    known_state = properties[STATE_ID].string_value if STATE_ID in properties else ""
    return properties[SPAN].int_value if SPAN in properties and known_state == state_id else None


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
