"""Looks before every run which requests are logged, so that the cache key depends on them."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_driver as component_driver
from tfx.orchestration.portable import base_driver as portable_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from slimworks.components.gate.config import GateConfig

SHADOW_LOG = "shadow_log"


class GateDriver(component_driver.BaseDriver, portable_driver.BaseDriver):
    """Adds the state of the request log to the exec properties; interfaces as IngestDriver's."""

    def __init__(self, mlmd_connection: Any) -> None:
        component_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_driver.BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: data_types.ExecutionInfo) -> Any:
        """Returns a DriverOutput with the exec property to add."""
        from slimworks.components.serving.logged import log_state

        config = GateConfig.model_validate_json(execution_info.exec_properties["config"])
        rule = config.require_shadow
        output = driver_output_pb2.DriverOutput()
        state = "" if rule is None else log_state(rule.log)
        output.exec_properties[SHADOW_LOG].string_value = state
        return output
