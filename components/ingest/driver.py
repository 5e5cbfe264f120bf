"""Looks at the source before every run, so that the cache key depends on what is there now."""

from __future__ import annotations

import json
from typing import Any

from tfx.dsl.components.base import base_driver as component_driver
from tfx.orchestration.portable import base_driver as portable_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from slimworks.components.ingest.changes import describe_source
from slimworks.components.ingest.config import DataConfig

SOURCE_STATE = "source_state"


class IngestDriver(component_driver.BaseDriver, portable_driver.BaseDriver):
    """Adds the state of the source to the exec properties, and the bounds that it kept to.

    The launcher runs the portable interface; a component accepts only the other one. TFX's own
    ExampleGen inherits both as well.
    """

    def __init__(self, mlmd_connection: Any) -> None:
        component_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_driver.BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: data_types.ExecutionInfo) -> Any:
        """Returns a DriverOutput with the exec properties to add and to change."""
        properties = execution_info.exec_properties
        output = driver_output_pb2.DriverOutput()
        found = describe_source(
            properties["source"],
            DataConfig.model_validate_json(properties["config"]),
            properties["state"],
            json.loads(properties["beam_pipeline_args"] or "[]"),
        )
        output.exec_properties[SOURCE_STATE].string_value = found.text
        config = json.loads(properties["config"]) | found.bounds
        text = json.dumps(config, sort_keys=True, separators=(",", ":"))  # as Settings writes it
        output.exec_properties["config"].string_value = text
        output.exec_properties["beam_pipeline_args"].string_value = ""
        return output
