"""The label map of the last ingest under a run root: what keeps indices for ever."""

from __future__ import annotations

import os
from collections.abc import Iterable

from slimworks.components import contracts
from slimworks.components.contracts import LabelMap


def extended_label_map(state_folder: str, class_names: Iterable[str]) -> LabelMap:
    """Label map kept in `state_folder`, or an empty one, with new classes appended.

    Raises:
        DataError: The map was written by a newer SlimWorks.
    """
    path = os.path.join(state_folder, contracts.LABEL_MAP_FILE)
    previous = LabelMap.read(state_folder) if os.path.exists(path) else LabelMap()
    return previous.extended(class_names)
