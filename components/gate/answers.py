"""What a model answered on the evaluated split, read from a predictions file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from slimworks.components import contracts
from slimworks.components.arrow import pa, parquet
from slimworks.components.evaluator.scores import score

_COLUMNS = ("group", "width", "height", "brightness")


@dataclasses.dataclass(frozen=True)
class Answers:
    """What one model answered on the test split, row by row.

    Attributes:
        class_names: The model's classes by class index.
        image_ids: [N] texts, unique.
        class_index: [N] int64, the true class by the label map of this run.
        predicted_index: [N] int64 by `class_names`; -1 where a probability was not finite.
        label_map_version: That the model was trained with; 0 unknown.
        scores: [N] each, of rows whose true class the model knows (NaN elsewhere): "log_loss"
            (nats), "brier" (0 to 2), "top5" (0 or 1), "confidence" (of the best class). Empty
            where the file has no probabilities.
        columns: [N] each: what slices and groups are found by.
    """

    class_names: tuple[str, ...]
    image_ids: np.ndarray
    class_index: np.ndarray
    predicted_index: np.ndarray
    label_map_version: int = 0
    scores: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def correct(self) -> np.ndarray:
        """[N] bool: the answer is the true class; -1 never is."""
        return self.predicted_index == self.class_index

    @property
    def num_nan(self) -> int:
        """Images without a usable answer."""
        return int((self.predicted_index < 0).sum())

    def where(self, mask: np.ndarray) -> Answers:
        """The rows that `mask` ([N] bool or indices) selects."""
        return dataclasses.replace(
            self,
            image_ids=self.image_ids[mask],
            class_index=self.class_index[mask],
            predicted_index=self.predicted_index[mask],
            scores={name: values[mask] for name, values in self.scores.items()},
            columns={name: values[mask] for name, values in self.columns.items()},
        )


def read_answers(path: Path, model_dir: str | os.PathLike[str]) -> Answers:
    """A model's answers from a predictions file; no rows where the file is missing.

    Probabilities are reduced to scores one row group at a time.

    Raises:
        DataError: The model folder names no classes.
    """
    class_names = contracts.read_class_names(model_dir)
    version = contracts.read_label_map_version(model_dir)
    if not path.is_file():
        nothing = np.zeros(0, np.int64)
        return Answers(class_names, np.zeros(0, np.str_), nothing, nothing, version)
    with parquet.ParquetFile(str(path)) as source:
        names = source.schema_arrow.names
        wanted = [
            name for name in names if name in _COLUMNS or name.startswith(contracts.SLICE_PREFIX)
        ]
        table = source.read(columns=["image_id", "class_index", "predicted_index", *wanted])
        scores = _read_scores(source) if "probabilities" in names else {}
    return Answers(
        class_names=class_names,
        image_ids=np.array(table.column("image_id").to_pylist(), dtype=np.str_),
        class_index=_array(table, "class_index"),
        predicted_index=_array(table, "predicted_index"),
        label_map_version=version,
        scores=scores,
        columns={name: _array(table, name) for name in wanted},
    )


def _array(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()


def _read_scores(source: parquet.ParquetFile) -> dict[str, np.ndarray]:
    found: dict[str, list[np.ndarray]] = {
        name: [] for name in ("log_loss", "brier", "top5", "confidence")
    }
    for group in range(source.num_row_groups):
        table = source.read_row_group(group, columns=["class_index", "probabilities"])
        values = table.column("probabilities").combine_chunks().flatten()
        probabilities = values.to_numpy(zero_copy_only=False).reshape(table.num_rows, -1)
        for name, scores in scores_of(_array(table, "class_index"), probabilities).items():
            found[name].append(scores)
    return {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in found.items()}


def scores_of(class_index: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of rows, as `Answers.scores`. class_index: [N] int64, probabilities: [N, C]."""
    known = class_index < probabilities.shape[1]
    found = score(np.where(known, class_index, 0), probabilities)
    columns = {"log_loss": found.log_loss, "brier": found.brier, "top5": found.is_top_k}
    values = {name: np.where(known, column, np.nan) for name, column in columns.items()}
    return {**values, "confidence": found.confidence}
