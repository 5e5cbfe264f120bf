"""Offline predictions of chosen images, from the evaluator's predictions file."""

from __future__ import annotations

import os
from collections.abc import Iterable

from slimworks.components.replay.comparison import Expected

_COLUMNS = ["image_id", "predicted_index", "probabilities"]


def read_expected(
    predictions_path: str | os.PathLike[str], image_ids: Iterable[str]
) -> dict[str, Expected]:
    """Offline predictions by image id; images without one are left out.

    Reads three columns, one row group at a time.
    """
    from slimworks.components.arrow import parquet

    wanted = set(image_ids)
    found: dict[str, Expected] = {}
    with parquet.ParquetFile(str(predictions_path)) as source:
        for group in range(source.num_row_groups):
            table = source.read_row_group(group, columns=_COLUMNS)
            ids = table.column("image_id").to_pylist()
            classes, lists = table.column("predicted_index"), table.column("probabilities")
            for row, image_id in enumerate(ids):
                if image_id in wanted:
                    found[image_id] = Expected(classes[row].as_py(), lists[row].as_py())
    return found
