"""TFX glue of the pusher."""

from __future__ import annotations

from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact, artifact_utils

from slimworks.components.errors import ServingError
from slimworks.components.pusher import presence
from slimworks.components.pusher.config import PushConfig


class Executor(base_executor.BaseExecutor):
    """Unpacks artifacts, promotes, packs."""

    def Do(  # noqa: N802  # TFX's name
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Runs `promotion.promote` on the artifacts' folders.

        Raises:
            ServingError: The replay did not bless the model; or as `promote`.
        """
        from slimworks.components.pusher.promotion import PromotionInputs, promote

        replay = artifact_utils.get_single_instance(input_dict["replay"])
        if replay.get_int_custom_property("blessed") != 1:
            raise ServingError(
                f"The replay at {replay.uri} did not bless the model: it is not pushed.",
                "Run again with --no-cache=replay.",
            )
        output = artifact_utils.get_single_instance(output_dict["pushed_model"])
        run_id = self._context.pipeline_run_id if self._context is not None else None
        published = promote(
            PromotionInputs(
                model=artifact_utils.get_single_uri(input_dict["model"]),
                blessing=artifact_utils.get_single_uri(input_dict["blessing"]),
                evaluation=artifact_utils.get_single_uri(input_dict["evaluation"]),
            ),
            exec_properties["base_path"],
            output.uri,
            run_id=run_id or "",
            config=PushConfig.model_validate_json(exec_properties["config"]),
            published=exec_properties[presence.PUBLISHED],
        )
        # TFX's own names, for whoever looks through ML Metadata.
        output.set_int_custom_property("pushed", 1)
        output.set_string_custom_property("pushed_destination", published.place)
        output.set_string_custom_property("pushed_version", str(published.version))
