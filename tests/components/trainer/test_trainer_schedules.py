from __future__ import annotations

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.learning_rate import batch_norm_decay, learning_rate_at


def _rates(num_steps: int = 100, steps_per_epoch: float = 10.0, **settings: object) -> list[float]:
    config = TrainConfig.model_validate({"learning_rate": 0.1, "warmup_epochs": 0, **settings})
    return [learning_rate_at(s, config, steps_per_epoch, num_steps) for s in range(num_steps)]


def test_fixed_rate_never_changes() -> None:
    assert set(_rates(learning_rate_decay_type="fixed")) == {0.1}


def test_exponential_decay_is_a_staircase_of_num_epochs_per_decay() -> None:
    rates = _rates(learning_rate_decay_type="exponential", num_epochs_per_decay=2.0)
    assert rates[19] == 0.1
    assert rates[20] == pytest.approx(0.1 * 0.94)
    assert rates[40] == pytest.approx(0.1 * 0.94**2)


@pytest.mark.parametrize("decay", ["polynomial", "cosine"])
def test_decays_start_at_the_rate_and_end_near_the_end_rate(decay: str) -> None:
    rates = _rates(learning_rate_decay_type=decay, end_learning_rate=0.001)
    assert rates[0] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(0.0505, rel=1e-6)
    assert 0.001 < rates[-1] < 0.003
    assert rates == sorted(rates, reverse=True)


def test_warm_up_is_linear_from_zero_as_in_tf_slim() -> None:
    rates = _rates(learning_rate_decay_type="fixed", warmup_epochs=1.5)
    assert rates[0] == 0.0
    assert rates[5] == pytest.approx(0.1 * 5 / 15)
    assert rates[15] == 0.1


def test_warm_up_never_exceeds_the_decayed_rate() -> None:
    rates = _rates(
        learning_rate_decay_type="exponential", num_epochs_per_decay=1.0, warmup_epochs=3,
        learning_rate_decay_factor=0.5,
    )  # fmt: skip
    assert rates[19] == pytest.approx(0.05), "the decay clock runs during warm-up"
    assert rates[25] == pytest.approx(0.025)


def test_warm_up_takes_by_default_one_epoch_but_at_most_a_fifth() -> None:
    assert _rates(learning_rate_decay_type="fixed", warmup_epochs=None)[10] == 0.1
    short = _rates(num_steps=10, learning_rate_decay_type="fixed", warmup_epochs=None)
    assert short[1] < short[2] == 0.1
    assert _rates(num_steps=1, learning_rate_decay_type="fixed", warmup_epochs=None) == [0.1]


def test_polynomial_decay_takes_tf_slims_length_where_one_is_set() -> None:
    rates = _rates(
        learning_rate_decay_type="polynomial", num_epochs_per_decay=2.0, end_learning_rate=0.02
    )
    assert rates[10] == pytest.approx(0.06)
    assert rates[20] == rates[-1] == pytest.approx(0.02)


def test_a_phase_brings_its_own_rate() -> None:
    config = TrainConfig(learning_rate=0.1, warmup_epochs=0, learning_rate_decay_type="fixed")
    assert learning_rate_at(3, config, 10.0, 100, initial_rate=0.4) == 0.4


def test_quantization_aware_training_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(quantize_delay=100)
    assert caught.value.cause.startswith("train.quantize_delay is 100, but TensorFlow 2 has no")
    assert "slimworks export --help" in caught.value.fix


def test_batch_norm_decay_is_shortened_for_short_runs_only() -> None:
    config = TrainConfig()
    assert batch_norm_decay(config, 0.9997, 60) == 0.9
    assert batch_norm_decay(config, 0.9997, 1_000) == pytest.approx(0.99)
    assert batch_norm_decay(config, 0.9997, 1_000_000) == 0.9997
    assert batch_norm_decay(config, None, 60) is None
    assert batch_norm_decay(TrainConfig(batch_norm_decay=0.5), 0.9997, 60) == 0.5


@pytest.mark.parametrize(
    ("steps_per_epoch", "num_steps"), [(1, 60), (4, 200), (10, 200), (20, 400), (100, 2_000)]
)
def test_small_sets_are_passed_more_often(steps_per_epoch: int, num_steps: int) -> None:
    assert TrainConfig().num_steps(steps_per_epoch) == num_steps


def test_number_of_steps_wins_over_epochs_and_epochs_over_the_default() -> None:
    assert TrainConfig(epochs=1.5).num_steps(10) == 15
    assert TrainConfig(epochs=1.5, max_number_of_steps=7).num_steps(10) == 7


def test_default_rate_is_lower_from_a_checkpoint() -> None:
    assert TrainConfig().resolved_learning_rate == 0.05
    assert TrainConfig(checkpoint_path="x.ckpt").resolved_learning_rate == 0.01
    assert TrainConfig(checkpoint_path="x.ckpt", learning_rate=0.3).resolved_learning_rate == 0.3
