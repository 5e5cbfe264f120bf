"""What the report says of a training in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slimworks.components.report.wording import percent


def batch_norm_line(model: Mapping[str, Any] | None) -> str | None:
    """Whether training and evaluation mode agree; None where batch norm was not trained.

    Args:
        model: Content of model.json.
    """
    found = (model or {}).get("batch_norm")
    if not found:
        return None
    line = (
        f"Batch norm: of {found['num_images']} training images the network recognises "
        f"{percent(found['train_mode_accuracy'])} in training mode and "
        f"{percent(found['eval_mode_accuracy'])} in evaluation mode."
    )
    if found["agrees"]:
        return f"{line} The modes agree."
    if found["reestimated"]:
        before, after = percent(found["eval_accuracy_before"]), percent(found["eval_accuracy"])
        return (
            f"{line} The moving statistics were estimated anew: eval accuracy {before} to {after}."
        )
    return f"{line} Moving statistics estimated anew were no better, so the first ones stay."
