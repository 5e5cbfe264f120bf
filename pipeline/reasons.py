"""Why a node ran or was reused, read from ML Metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Set
from typing import Any

from slimworks.pipeline import metadata

# Set by drivers for the cache key; the words say what they stand for.
_PROPERTY_NAMES = {
    "source_state": "the files of the data source",
    "code_version": "SlimWorks itself",
    "source": "the data source's path",
    "net_source": "the source of the network",
    "class_names": "the class names",
    "published": "what lies in the serving folder",
    "span": "the newest span",
    "previous_span": "the span before it",
    "trained_span": "the span of the last judged model",
    "state_id": "the state folder of ingest",
    "previous_statistics": "the statistics of the span before it",
    "trained_statistics": "the statistics of the last judged model",
    "has_triggers": "whether training waits for new data",
    "force": "--force",
    "is_due": "the age of the last model",
    "is_too_soon": "the age of the last model",
    "earlier_models": "the models judged so far",
}


_NOT_BLESSED = "not needed: the gate did not bless the model"
_NOT_TRIGGERED = "not needed: too little is new (retrain.when)"


def skipped_above(
    store: Any, pipeline_name: str, run_id: str, upstream_nodes: Iterable[str]
) -> str | None:
    """Why a node is to be skipped because a node above it was; None where all above it ran.

    TFX looks at a node's own conditions only, and takes the missing input of a node below for a
    fault.
    """
    run_ids = {execution.id for execution in metadata.executions_of_run(store, run_id)}
    for node in upstream_nodes:
        executions = metadata.executions_of_node(store, pipeline_name, node)
        if not any(execution.id in run_ids for execution in executions):
            return _why_skipped(store, pipeline_name, run_ids)
    return None


def _why_skipped(store: Any, pipeline_name: str, run_ids: Set[int]) -> str:
    """Which of the two conditions was false: the gate comes after the other one."""
    gate = metadata.executions_of_node(store, pipeline_name, "gate")
    return _NOT_BLESSED if any(e.id in run_ids for e in gate) else _NOT_TRIGGERED


def explain(store: Any, pipeline_name: str, run_id: str, node: str) -> tuple[str, int | None, str]:
    """Returns (state, execution id, reason) of a node in a run.

    States: "ran", "reused", "skipped" or "failed".
    """
    run_ids = {execution.id for execution in metadata.executions_of_run(store, run_id)}
    executions = metadata.executions_of_node(store, pipeline_name, node)
    mine = [execution for execution in executions if execution.id in run_ids]
    if not mine:
        return "skipped", None, _why_skipped(store, pipeline_name, run_ids)
    execution = mine[-1]
    earlier = [
        e
        for e in executions
        if e.id < execution.id and e.last_known_state in (metadata.COMPLETE, metadata.CACHED)
    ]
    if execution.last_known_state == metadata.FAILED:
        return "failed", execution.id, _failure(execution)
    if execution.last_known_state == metadata.CACHED:
        return "reused", execution.id, _reuse(store, execution, earlier)
    # A reused execution does not carry what drivers add, so compare with one that ran.
    ran = [e for e in earlier if e.last_known_state == metadata.COMPLETE]
    if not ran:
        return "ran", execution.id, "first run"
    if node == "baseline":
        return "ran", execution.id, "looked up in every run"
    return "ran", execution.id, _difference(store, ran[-1], execution)


def _failure(execution: Any) -> str:
    result = execution.custom_properties.get("__execution_result__")  # JSON, as TFX writes it
    if result is None:
        return "an input could not be resolved"
    message = json.loads(result.string_value).get("resultMessage", "")
    lines = [line for line in message.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


def _reuse(store: Any, execution: Any, earlier: list[Any]) -> str:
    outputs = metadata.artifacts_of_execution(store, execution.id, outputs=True)
    wanted = {artifact.id for artifacts in outputs.values() for artifact in artifacts}
    for candidate in earlier:
        if candidate.last_known_state != metadata.COMPLETE:
            continue
        made = metadata.artifacts_of_execution(store, candidate.id, outputs=True)
        if wanted & {artifact.id for artifacts in made.values() for artifact in artifacts}:
            run = _run_of(store, candidate.id)
            return f"same inputs and settings as in run {run}"
    return "same inputs and settings as before"


def _run_of(store: Any, execution_id: int) -> str:
    for context in store.get_contexts_by_execution(execution_id):
        type_name = store.get_context_types_by_id([context.type_id])[0].name
        if type_name == "pipeline_run":
            return str(context.name)
    return "?"


def _difference(store: Any, before: Any, now: Any) -> str:
    """Names what differs between two executions of one node."""
    old, new = metadata.properties_of_execution(before), metadata.properties_of_execution(now)
    changes: list[str] = []
    for key in sorted(set(old) | set(new)):
        if old.get(key) == new.get(key) or _is_same_source(key, old.get(key), new.get(key)):
            continue
        fields = _json_changes(old.get(key), new.get(key))
        if fields is not None:
            changes.extend(fields)
        else:
            changes.append(f"{_PROPERTY_NAMES.get(key, key)} changed")
    changes.extend(_input_changes(store, before.id, now.id))
    if not changes:
        return "asked to run again, or the earlier result is gone"
    shown = "; ".join(changes[:3])
    return shown if len(changes) <= 3 else f"{shown}; and {len(changes) - 3} more"


def _is_same_source(key: str, old: Any, new: Any) -> bool:
    """Whether only the number of the ingest differs: another setting made it necessary."""
    return key == "source_state" and str(old).partition(":")[0] == str(new).partition(":")[0]


def _json_changes(old: Any, new: Any) -> list[str] | None:
    """Differences of two JSON objects as `key 1 -> 2`, or None where they are not objects."""
    try:
        before, after = json.loads(str(old)), json.loads(str(new))
    except ValueError:
        return None
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return None
    if "class_names" in after:
        return None
    return [
        f"{key} {before.get(key)} -> {after.get(key)}"
        for key in sorted(set(before) | set(after))
        if before.get(key) != after.get(key)
    ]


def _input_changes(store: Any, before: int, now: int) -> list[str]:
    old = metadata.artifacts_of_execution(store, before, outputs=False)
    new = metadata.artifacts_of_execution(store, now, outputs=False)
    return [
        f"input {key.rpartition('.')[2]} is new"  # conditions are inputs named _<node>.<channel>
        for key in sorted(set(old) | set(new))
        if [a.id for a in old.get(key, [])] != [a.id for a in new.get(key, [])]
    ]
