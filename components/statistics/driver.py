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
from slimworks.components.statistics.lineage import judged_span
from slimworks.components.statistics.spans import Spans

NO_SPAN = 0  # spans count from 1; exec properties know no None


def find_spans(summary: dict[str, Any], has_triggers: bool, store: Any, pipeline: str) -> Spans:
    """Returns what is new, from ingest's summary and from the models judged so far.

    Without triggers, a model of the present data says nothing (it would make a repeated run differ
    from the first); with them, it means that nothing is new.
    """
    span = int(summary["span"])
    newest = span if has_triggers else span - 1
    return Spans(span, span - 1 or None, judged_span(store, pipeline, newest))


class StatisticsDriver(component_driver.BaseDriver, portable_driver.BaseDriver):
    """Adds the spans to the exec properties; both interfaces for the reason in IngestDriver."""

    def __init__(self, mlmd_connection: Any) -> None:
        component_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_driver.BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: data_types.ExecutionInfo) -> Any:
        """Returns a DriverOutput with the exec properties to add."""
        assert execution_info.pipeline_info is not None  # the launcher sets it
        report = artifact_utils.get_single_uri(execution_info.input_dict["ingest_report"])
        with self._mlmd_connection as handle:
            spans = find_spans(
                files.read_json(Path(report) / contracts.SUMMARY_FILE),
                bool(execution_info.exec_properties["has_triggers"]),
                handle.store,
                execution_info.pipeline_info.id,
            )
        output = driver_output_pb2.DriverOutput()
        for name in ("span", "previous_span", "trained_span"):
            output.exec_properties[name].int_value = getattr(spans, name) or NO_SPAN
        return output
