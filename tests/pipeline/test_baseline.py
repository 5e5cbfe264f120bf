"""Which model a candidate is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from slimworks.pipeline.baseline import BLESSED, CURRENT_MODEL_ID, BaselineStrategy


def _model(number: int, folder: Path) -> standard_artifacts.Model:
    model = standard_artifacts.Model()
    model.id, model.uri = number, str(folder / str(number))
    Path(model.uri).mkdir(exist_ok=True)
    return model


def _blessing(number: int, model: int, is_blessed: bool) -> standard_artifacts.ModelBlessing:
    blessing = standard_artifacts.ModelBlessing()
    blessing.id = number
    blessing.set_int_custom_property(CURRENT_MODEL_ID, model)
    blessing.set_int_custom_property(BLESSED, int(is_blessed))
    return blessing


@pytest.mark.parametrize(
    ("candidate", "blessings", "expected"),
    [
        (1, [], None),
        (1, [(11, 1, True)], None),
        (3, [(11, 1, True), (12, 2, True)], 2),
        (3, [(11, 1, True), (12, 2, False)], 1),
        (3, [(11, 1, True), (12, 2, True), (13, 1, True)], 1),
        (3, [(11, 1, True), (12, 2, True), (13, 2, False)], 1),
        (2, [(11, 1, True), (12, 2, True), (13, 3, True)], 3),
    ],
    ids=[
        "first run", "a repeated first run", "the last one blessed", "not a refused one",
        "by blessing, not by training", "not one refused since", "never the candidate",
    ],
)  # fmt: skip
def test_baseline_is_the_model_blessed_last(
    tmp_path: Path,
    candidate: int,
    blessings: list[tuple[int, int, bool]],
    expected: int | None,
) -> None:
    models = {number: _model(number, tmp_path) for number in (1, 2, 3)}
    resolved = BaselineStrategy().resolve_artifacts(
        None,
        {
            "candidate": [models[candidate]],
            "model": list(models.values()),
            "blessing": [_blessing(*values) for values in blessings],
        },
    )
    assert [model.id for model in resolved["model"]] == ([] if expected is None else [expected])


def test_a_model_whose_folder_is_gone_is_no_baseline(tmp_path: Path) -> None:
    kept, gone, candidate = (_model(number, tmp_path) for number in (1, 2, 3))
    Path(gone.uri).rmdir()
    resolved = BaselineStrategy().resolve_artifacts(
        None,
        {
            "candidate": [candidate],
            "model": [kept, gone, candidate],
            "blessing": [_blessing(11, 1, True), _blessing(12, 2, True)],
        },
    )
    assert [model.id for model in resolved["model"]] == [1]
