"""Looks at the source before every run, so that the cache key depends on what is there now."""

from __future__ import annotations

import json
from typing import Any

from tfx.dsl.components.base import base_driver as component_driver
from tfx.orchestration.portable import base_driver as portable_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.ingest import list_checked_source
from slimworks.components.ingest.state import extended_label_map

SOURCE_DIGEST = "source_digest"
CLASS_NAMES = "class_names"


def describe_source(exec_properties: dict[str, Any]) -> dict[str, str]:
    """Returns the exec properties that only a look at the source can tell.

    Raises:
        ConfigError: The source does not exist.
        DataError: The source cannot be used.
    """
    config = DataConfig.model_validate_json(exec_properties["config"])
    state = exec_properties["label_map_state"]
    listing = list_checked_source(exec_properties["source"], config, (state,))
    label_map = extended_label_map(state, listing.class_names)
    names = json.dumps(label_map.class_names, ensure_ascii=False, separators=(",", ":"))
    return {SOURCE_DIGEST: listing.digest, CLASS_NAMES: names}


class IngestDriver(component_driver.BaseDriver, portable_driver.BaseDriver):
    """Adds the source's digest and the class names to the exec properties.

    The launcher runs the portable interface; a component accepts only the other one. TFX's own
    ExampleGen inherits both as well.
    """

    def __init__(self, mlmd_connection: Any) -> None:
        component_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_driver.BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: data_types.ExecutionInfo) -> Any:
        """Returns a DriverOutput with the exec properties to add."""
        output = driver_output_pb2.DriverOutput()
        for name, value in describe_source(execution_info.exec_properties).items():
            output.exec_properties[name].string_value = value
        return output
