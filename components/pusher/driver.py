"""Looks at the base path before every run, so that a push is reused only if it is still there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_driver as component_driver
from tfx.orchestration.portable import base_driver as portable_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils

from slimworks.components import contracts
from slimworks.components.pusher import manifest, presence


class PusherDriver(component_driver.BaseDriver, portable_driver.BaseDriver):
    """Adds the exec property `published`.

    The launcher runs the portable interface; a component accepts only the other one. TFX's own
    ExampleGen inherits both as well.
    """

    def __init__(self, mlmd_connection: Any) -> None:
        component_driver.BaseDriver.__init__(self, mlmd_connection)
        portable_driver.BaseDriver.__init__(self, mlmd_connection)

    def run(self, execution_info: data_types.ExecutionInfo) -> Any:
        """Returns a DriverOutput with the exec property to add."""
        model = Path(artifact_utils.get_single_uri(execution_info.input_dict["model"]))
        output = artifact_utils.get_single_uri(execution_info.output_dict["pushed_model"])
        driver_output = driver_output_pb2.DriverOutput()
        value = presence.presence_of(
            manifest.digest_of(model / contracts.SAVED_MODEL_FOLDER),
            execution_info.exec_properties["base_path"],
            presence.earlier_pushes(output),
        )
        driver_output.exec_properties[presence.PUBLISHED].string_value = value
        return driver_output
