"""Which variables train when, and at what part of the learning rate."""

from __future__ import annotations

from typing import Any

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.phases import Phase, is_auxiliary, plan_phases

BODY = [f"Net/conv{number}/{kind}" for number in range(8) for kind in ("weights", "BatchNorm/beta")]
HEAD = ["Net/Logits/weights", "Net/Logits/biases"]
AUXILIARY = ["Net/AuxLogits/weights"]


def _plan(
    new: list[str],
    names: list[str] | None = None,
    steps_per_epoch: int = 10,
    num_steps: int = 200,
    **settings: Any,
) -> list[Phase]:
    config = TrainConfig.model_validate({"checkpoint_path": "x.ckpt", **settings})
    names = names or [*BODY, *HEAD]
    return plan_phases(names, new, config, steps_per_epoch=steps_per_epoch, num_steps=num_steps)


def test_a_new_head_is_trained_alone_first_then_everything() -> None:
    head, rest = _plan(HEAD)
    assert list(head.factors) == HEAD
    assert list(rest.factors) == [*BODY, *HEAD]
    assert head.first_step == 0
    assert head.end == rest.first_step
    assert rest.end == 200
    assert head.num_steps % 10 == 0, "whole epochs"


@pytest.mark.parametrize("new", [[], [*BODY, *HEAD]], ids=["head fits", "from scratch"])
def test_one_phase_at_one_rate_where_no_new_head_meets_old_layers(new: list[str]) -> None:
    (phase,) = _plan(new)
    assert (phase.name, phase.first_step, phase.end) == ("all", 0, 200)
    assert set(phase.factors.values()) == {1.0}


def test_tf_slims_plain_way_can_be_had() -> None:
    (phase,) = _plan(HEAD, head_epochs=0, layer_learning_rates="equal")
    assert set(phase.factors.values()) == {1.0}


def test_trainable_scopes_are_one_phase_at_one_rate() -> None:
    (phase,) = _plan(HEAD, names=["Net/conv7/weights", *HEAD], trainable_scopes=["Net/(conv7|L)"])
    assert set(phase.factors.values()) == {1.0}


def test_factors_grow_from_the_first_layer_to_the_head() -> None:
    factors = _plan(HEAD)[1].factors
    in_order = [factors[name] for name in [*BODY, *HEAD]]
    assert in_order == sorted(in_order)
    assert in_order[0] < in_order[-3] < in_order[-1] == 1.0
    assert factors["Net/conv3/weights"] == factors["Net/conv3/BatchNorm/beta"]
    assert 2 < len(set(in_order)) <= 6, "each is an optimizer of its own"


def test_the_first_scope_that_matches_counts_and_zero_freezes() -> None:
    rates = {"Net/conv[01]/": 0, "Net/conv": 0.25, "Net/conv7": 9}
    (phase,) = _plan([], layer_learning_rates=rates)
    assert not any(name.startswith(("Net/conv0", "Net/conv1")) for name in phase.factors)
    assert phase.factors["Net/conv7/weights"] == 0.25
    assert phase.factors["Net/Logits/weights"] == 1.0


def test_an_auxiliary_head_waits_for_the_layers_that_it_serves() -> None:
    head, rest = _plan([*HEAD, *AUXILIARY], names=[*BODY, *AUXILIARY, *HEAD])
    assert list(head.factors) == HEAD
    assert rest.factors[AUXILIARY[0]] == 1.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("InceptionV3/AuxLogits/Conv2d_2b_1x1/weights", True),
        ("aux_7/aux_logits/FC/weights", True),
        ("cell_11/aux_11/aux_logits/FC/weights", True),
        ("InceptionV3/Logits/Conv2d_1c_1x1/weights", False),
    ],
)
def test_auxiliary_heads_are_known_by_name(name: str, expected: bool) -> None:
    assert is_auxiliary(name) is expected


@pytest.mark.parametrize(
    ("settings", "head_steps"),
    [({"head_epochs": 1.5}, 15), ({"head_epochs": 99}, 200), ({"head_epochs": 0.01}, 1)],
)
def test_head_epochs_are_part_of_the_training(settings: dict[str, Any], head_steps: int) -> None:
    phases = _plan(HEAD, **settings)
    assert phases[0].name == "head"
    assert phases[0].num_steps == head_steps
    assert phases[-1].end == 200


@pytest.mark.parametrize(
    ("num_steps", "head_steps"), [(1_000, 50), (200, 50), (60, 10), (20, 10), (7, 3), (2, 1)]
)
def test_length_of_the_head_phase_follows_the_trainings(num_steps: int, head_steps: int) -> None:
    head, rest = _plan(HEAD, num_steps=num_steps)
    assert (head.name, head.num_steps) == ("head", head_steps)
    assert rest.num_steps == num_steps - head_steps


def test_a_single_step_trains_everything() -> None:
    (phase,) = _plan(HEAD, num_steps=1)
    assert phase.name == "all"


def test_a_scope_of_rates_that_matches_nothing_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        _plan([], layer_learning_rates={"Net/conw": 0.1})
    assert caught.value.cause == (
        "train.layer_learning_rates: 'Net/conw' matches no trained variable."
    )
    assert "slimworks nets" in caught.value.fix


def test_rates_that_freeze_everything_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        _plan([], layer_learning_rates={"Net/": 0})
    assert caught.value.cause == (
        "train.layer_learning_rates freezes every variable: each factor is 0."
    )
    assert "above 0" in caught.value.fix


@pytest.mark.parametrize(
    ("rates", "cause"),
    [
        ({"Net/": -1}, "train.layer_learning_rates: the factor of 'Net/' is -1.0, expected"),
        ({"Net/(": 1}, "train.layer_learning_rates: 'Net/(' is no regular expression: missing )"),
    ],
)
def test_broken_rates_are_refused_before_anything_runs(rates: dict[str, float], cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.model_validate({"layer_learning_rates": rates})
    assert caught.value.cause.startswith(cause)
    assert caught.value.fix
