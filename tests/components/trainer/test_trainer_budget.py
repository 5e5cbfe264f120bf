"""A training under a deadline: it ends with an evaluated model, whatever time there is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError
from slimworks.components.trainer import determinism
from slimworks.components.trainer.budget import MEASURED_STEPS, WARM_UP_STEPS, Deadline
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.train import TrainInputs, train

PLANNED = 100_000


def train_until(
    tiny: Path, folder: Path, seconds: float, num_steps: int = PLANNED
) -> dict[str, Any]:
    """Trains with so many seconds left; negative: they were over before it began."""
    Deadline(time.time() - 100, 100 + seconds, reserve=0.0).write(folder)
    inputs = TrainInputs(*(str(tiny / name) for name in ("stored", "graph", "label_map")))
    config = TrainConfig(max_number_of_steps=num_steps, batch_size=16, budget_seconds=100 + seconds)
    output, work = folder / "model", folder / "work"
    return train(inputs, str(output), str(work), ModelConfig(net="lenet"), config, ExportConfig())


def test_a_training_without_time_still_ends_with_an_evaluated_model(
    tiny_examples: Path, tmp_path: Path
) -> None:
    facts = train_until(tiny_examples, tmp_path, -50.0)
    assert facts["num_steps"] == facts["best_step"] == 1
    assert facts["phases"][-1]["num_steps"] == 1
    lines = list(files.read_jsonl(tmp_path / "model" / contracts.METRICS_FILE))
    assert [line["step"] for line in lines if line["split"] == "eval"] == [1]
    assert (tmp_path / "model" / contracts.SAVED_MODEL_FOLDER / "saved_model.pb").is_file()


def test_as_many_steps_are_trained_as_fit(tiny_examples: Path, tmp_path: Path) -> None:
    facts = train_until(tiny_examples, tmp_path, 18.0)
    assert WARM_UP_STEPS + MEASURED_STEPS < facts["num_steps"] < PLANNED
    lines = list(files.read_jsonl(tmp_path / "model" / contracts.METRICS_FILE))
    assert lines[-1]["step"] == facts["num_steps"]
    # The schedule was planned for what fits: it did not break off at its initial rate.
    rates = [line["learning_rate"] for line in lines]
    assert rates[-1] < 0.7 * max(rates)


def test_a_training_that_fits_is_not_changed(tiny_examples: Path, tmp_path: Path) -> None:
    facts = train_until(tiny_examples, tmp_path, 3_600.0, num_steps=30)
    assert facts["num_steps"] == 30


@pytest.mark.parametrize("distribution", ["multi_worker", "parameter_server"])
def test_processes_that_would_plan_different_steps_are_refused(distribution: str) -> None:
    with pytest.raises(ConfigError, match="A time budget does not go with") as caught:
        TrainConfig.model_validate({"budget_seconds": 60, "distribution": distribution})
    assert "max_number_of_steps" in caught.value.fix


def test_a_clock_makes_no_training_repeatable_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(determinism.tf_config, "is_op_determinism_enabled", lambda: True)
    assert determinism.determinism_facts(0)["level"] == determinism.BIT_EQUAL
    assert determinism.determinism_facts(0, has_budget=True)["level"] == determinism.SEEDED
