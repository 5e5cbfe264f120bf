"""Finds out before the launch which spans are new, so that the cache key depends on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_driver as component_driver
from tfx.orchestration.portable import base_driver as portable_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils

from slimworks.components import contracts, files
from slimworks.components.statistics import spans as groups
from slimworks.components.statistics.lineage import (
    EARLIER,
    STATE_ID,
    judged_span,
    statistics_of_span,
)
from slimworks.components.statistics.spans import Spans

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
