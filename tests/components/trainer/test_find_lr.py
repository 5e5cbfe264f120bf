"""The learning-rate range test: the rule on curves of known shape, and real sweeps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.errors import TrainingError
from slimworks.components.trainer import find_lr
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.dataset import Batch
from slimworks.components.trainer.train import TrainInputs, train


def _losses(lowest: float, rates: list[float]) -> list[float]:
    """Stands at 2, falls to 0.5 at `lowest` in three decades, then explodes."""
    found = []
    for rate in rates:
        decades = math.log10(rate / lowest)
        if decades > 0:
            found.append(0.5 * 10 ** (2 * decades))
        else:
            found.append(2.0 - 1.5 * max(0.0, 1 + decades / 3))
    return found


def _inputs(tiny: Path) -> TrainInputs:
    return TrainInputs(str(tiny / "stored"), str(tiny / "graph"), str(tiny / "label_map"))


def test_rates_have_equal_ratios_and_both_ends() -> None:
    rates = find_lr.sweep_rates(1e-4, 1.0, 5)
    np.testing.assert_allclose(rates, [1e-4, 1e-3, 1e-2, 1e-1, 1.0])


def test_running_mean_starts_at_the_first_loss_and_follows_a_change() -> None:
    smoothed = find_lr.smooth([2.0] * 10 + [1.0] * 40)
    np.testing.assert_allclose(smoothed[:10], 2.0)
    assert 1.0 < smoothed[15] < 2.0
    assert smoothed[-1] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("lowest", [0.003, 0.03, 0.3])
def test_suggestion_follows_the_curve_and_lies_before_its_lowest_point(lowest: float) -> None:
    rates = find_lr.sweep_rates()
    losses = [loss for loss in _losses(lowest, rates) if loss < 3.0]
    sweep = find_lr.judge(rates[: len(losses)], losses, exploded=rates[len(losses)])
    assert lowest / 12 < sweep.suggested < lowest / 3  # the running mean comes some steps later
    assert sweep.steepest < sweep.lowest
    assert sweep.exploded == rates[len(losses)]


def test_sweep_stops_where_the_loss_explodes_and_counts_no_loss_that_is_not_finite() -> None:
    rates = find_lr.sweep_rates()
    losses = iter([*_losses(0.01, rates)[:60], math.nan])
    seen = []

    def step(batch: Batch, rate: float, number: int) -> float:
        seen.append((rate, number))
        return next(losses)

    batches = [Batch(tf.zeros([1]), tf.zeros([1, 2]), tf.constant(["a"]))] * len(rates)
    sweep = find_lr.run_sweep(step, batches, rates)
    assert seen == [(rates[number], number) for number in range(61)]
    assert len(sweep.losses) == 60
    assert sweep.exploded == rates[60]


def test_loss_that_never_falls_gives_no_suggestion() -> None:
    rates = find_lr.sweep_rates()
    with pytest.raises(TrainingError, match="fell at no learning rate"):
        find_lr.judge(rates, [1.0 + 0.01 * n for n in range(len(rates))], None)


def test_loss_that_explodes_at_once_gives_no_suggestion() -> None:
    rates = find_lr.sweep_rates()
    with pytest.raises(TrainingError, match="exploded after 3 steps, at the rate 2e-06"):
        find_lr.judge(rates[:3], [1.0, 2.0, 9.0], exploded=2e-6)


def test_sweep_is_repeatable_and_leaves_no_file(
    tiny_examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(find_lr, "NUM_STEPS", 50)
    config = TrainConfig(batch_size=16)
    model = ModelConfig(net="lenet")
    sweep = find_lr.find_learning_rate(_inputs(tiny_examples), model, config)
    again = find_lr.find_learning_rate(_inputs(tiny_examples), model, config)
    np.testing.assert_allclose(again.losses[:5], sweep.losses[:5], rtol=1e-4)
    assert 1e-5 < sweep.suggested < 1.0
    # TensorFlow leaves the functions that it generated until the process ends.
    left = [path.name for path in tmp_path.iterdir() if "autograph_generated" not in path.name]
    assert left == []


@pytest.mark.big
@pytest.mark.shared
def test_suggested_rate_trains_real_flowers(shared: Path, tmp_path: Path) -> None:
    from slimworks.components.ingest.config import DataConfig
    from slimworks.components.ingest.ingest import IngestOutputs, ingest
    from slimworks.components.transform.config import TransformSettings
    from slimworks.components.transform.transform import TransformOutputs, transform

    flowers = str(shared / "data" / "datasets" / "flowers_800")
    outputs = IngestOutputs(*(str(tmp_path / name) for name in ("examples", "label_map", "report")))
    ingest(flowers, outputs, DataConfig(), str(tmp_path / "state"))
    transform(
        str(tmp_path / "examples"),
        TransformOutputs(str(tmp_path / "graph"), str(tmp_path / "stored")),
        TransformSettings(family="inception", stored_size=110, num_channels=3),
    )
    model = ModelConfig(net="mobilenet_v2", image_size=96)
    checkpoint = str(shared / "data" / "checkpoints" / "mobilenet_v2_1.0_224")
    config = TrainConfig(checkpoint_path=checkpoint, batch_size=16)
    sweep = find_lr.find_learning_rate(_inputs(tmp_path), model, config)
    settings = {"learning_rate": sweep.suggested, "epochs": 4}
    facts = train(
        _inputs(tmp_path),
        str(tmp_path / "model"),
        str(tmp_path / "work"),
        model,
        config.model_copy(update=settings),
        ExportConfig(),
    )
    assert facts["best_eval_accuracy"] > 0.6  # of five classes
