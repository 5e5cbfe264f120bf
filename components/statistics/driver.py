"""Finds out before the launch which spans are new, so that the cache key depends on it."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_driver as component_driver
from tfx.orchestration.portable import base_driver as portable_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils

from slimworks.components import contracts, files
from slimworks.components.serving.logged import log_state
from slimworks.components.statistics import spans as groups
from slimworks.components.statistics.config import DriftConfig, RetrainConfig
from slimworks.components.statistics.lineage import (
    EARLIER,
    SPAN,
    STATE_ID,
    blessed_inputs,
    judged_span,
    judged_time,
    learning_points,
    statistics_of_span,
)
from slimworks.components.statistics.spans import Spans

SECONDS_PER_DAY = 86_400
NO_SPAN = 0  # spans count from 1; exec properties know no None


def find_spans(summary: dict[str, Any], has_triggers: bool, store: Any, pipeline: str) -> Spans:
    """Returns what is new, from ingest's summary and from the models judged so far.

    Without triggers, a model of the present data says nothing (it would make a repeated run differ
    from the first); with them, it means that nothing is new.
    """
    span = int(summary["span"])
    newest = span if has_triggers else span - 1
    judged = judged_span(store, pipeline, newest, _state_id(summary))
    return Spans(span, span - 1 or None, judged)


def find_earlier(
    summary: dict[str, Any], spans: Spans, store: Any, pipeline: str
) -> dict[str, str]:
    """Statistics of earlier runs by group of spans, for spans that `data.window` leaves out."""
    window = summary.get("window")
    found = {}
    wanted = {groups.PREVIOUS: spans.previous_span, groups.TRAINED: spans.trained_span}
    for group, span in wanted.items():
        if window is None or span is None or span > spans.span - window:
            continue
        statistics = statistics_of_span(store, pipeline, span, _state_id(summary))
        if statistics is not None:
            found[group] = statistics
    return found


def _state_id(summary: dict[str, Any]) -> str:
    return summary.get("state_id") or ""  # older summaries have none


def find_past(
    config: RetrainConfig, span: int, state_id: str, store: Any, pipeline: str, now: float
) -> dict[str, int | str]:
    """Exec properties of the validation: what earlier runs say, where a trigger asks for it.

    Yes or no instead of days, so that the cache key changes once and not with the clock.
    """
    judged = None
    if config.max_days is not None or config.min_days is not None:
        judged = judged_time(store, pipeline, span, state_id)
    days = None if judged is None else (now - judged) / SECONDS_PER_DAY
    is_due = days is not None and config.max_days is not None and days >= config.max_days
    is_too_soon = days is not None and config.min_days is not None and days < config.min_days
    points = [] if config.min_gain is None else learning_points(store, pipeline)
    return {
        "is_due": int(is_due),
        "is_too_soon": int(is_too_soon),
        "earlier_models": json.dumps([dataclasses.astuple(point) for point in points]),
    }


def find_live(config: RetrainConfig, store: Any, pipeline: str) -> dict[str, int | str]:
    """Exec properties of the validation: the state of the request log, and who answers them.

    The log's state, so that new requests are looked at, and unchanged ones reuse what was found.
    """
    if config.request_log is None:
        return {"live_log": "", "live_evaluation": "", "live_model": ""}
    blessed = blessed_inputs(store, pipeline)
    return {
        "live_log": log_state(config.request_log),
        "live_evaluation": blessed.get("evaluation", ""),
        "live_model": blessed.get("model", ""),
    }


class ValidationDriver(component_driver.BaseDriver, portable_driver.BaseDriver):
    """Adds what earlier runs say to the exec properties; both interfaces as in IngestDriver."""

    def __init__(self, mlmd_connection: Any) -> None:
        component_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_driver.BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: data_types.ExecutionInfo) -> Any:
        """Returns a DriverOutput with the exec properties to add."""
        assert execution_info.pipeline_info is not None  # the launcher sets it
        config = DriftConfig.model_validate_json(execution_info.exec_properties["config"])
        statistics = artifact_utils.get_single_instance(execution_info.input_dict["statistics"])
        span = statistics.get_int_custom_property(SPAN)
        state_id = statistics.get_string_custom_property(STATE_ID)
        pipeline = execution_info.pipeline_info.id
        with self._mlmd_connection as handle:
            past = find_past(config.retrain, span, state_id, handle.store, pipeline, time.time())
            past |= find_live(config.retrain, handle.store, pipeline)
        output = driver_output_pb2.DriverOutput()
        for name, value in past.items():
            if isinstance(value, int):
                output.exec_properties[name].int_value = value
            else:
                output.exec_properties[name].string_value = value
        return output


class StatisticsDriver(component_driver.BaseDriver, portable_driver.BaseDriver):
    """Adds the spans to the exec properties; both interfaces for the reason in IngestDriver."""

    def __init__(self, mlmd_connection: Any) -> None:
        component_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_driver.BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: data_types.ExecutionInfo) -> Any:
        """Returns a DriverOutput with the exec properties to add."""
        assert execution_info.pipeline_info is not None  # the launcher sets it
        report = artifact_utils.get_single_uri(execution_info.input_dict["ingest_report"])
        summary = files.read_json(Path(report) / contracts.SUMMARY_FILE)
        has_triggers = bool(execution_info.exec_properties["has_triggers"])
        pipeline = execution_info.pipeline_info.id
        with self._mlmd_connection as handle:
            spans = find_spans(summary, has_triggers, handle.store, pipeline)
            earlier = find_earlier(summary, spans, handle.store, pipeline)
        output = driver_output_pb2.DriverOutput()
        for name in ("span", "previous_span", "trained_span"):
            output.exec_properties[name].int_value = getattr(spans, name) or NO_SPAN
        for group, name in EARLIER.items():
            output.exec_properties[name].string_value = earlier.get(group, "")
        output.exec_properties[STATE_ID].string_value = _state_id(summary)
        return output
