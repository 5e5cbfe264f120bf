"""The name map, and which stored names are variables."""

from __future__ import annotations

import pytest

from slimworks.components.checkpoints.names import (
    Pair,
    parse_name_map,
    stored_by_variable,
    variables_among,
)
from slimworks.components.errors import ConfigError


def _renamed(stored: list[str], variables: list[str], **pairs: str) -> dict[str, str]:
    return stored_by_variable(stored, variables, parse_name_map(pairs), "m.ckpt")


def test_prefix_pairs_lead_from_the_checkpoint_to_the_network() -> None:
    found = _renamed(
        ["vgg_16/conv1/weights", "vgg_16/fc8/weights", "kept"],
        ["ssd_vgg_512/conv1/weights", "kept"],
        **{"vgg_16/": "ssd_vgg_512/"},
    )
    assert found == {"ssd_vgg_512/conv1/weights": "vgg_16/conv1/weights", "kept": "kept"}


@pytest.mark.parametrize(
    ("stored", "wanted", "name", "expected"),
    [
        ("re:my_model/", "", "my_model/Conv/weights", "Conv/weights"),
        (r"re:tower_\d/(\w+)", r"Net/\1", "tower_3/conv/weights", "Net/conv/weights"),
        ("re:conv", "x", "Net/conv", None),
        ("a.b", "x", "a-b/w", None),
        ("", "Net/", "conv/weights", "Net/conv/weights"),
        (r"a\1", r"b\1", r"a\1/w", r"b\1/w"),
    ],
    ids=["remove", "groups", "anchored at the start", "plain dot", "add a root", "plain backslash"],
)
def test_pair(stored: str, wanted: str, name: str, expected: str | None) -> None:
    assert Pair(stored, wanted).rename(name) == expected


def test_first_matching_pair_counts() -> None:
    pairs = {"Net/conv1": "Other/first", "Net/": "Other/"}
    found = _renamed(["Net/conv1/w", "Net/fc/w"], ["Other/first/w", "Other/fc/w"], **pairs)
    assert found == {"Other/first/w": "Net/conv1/w", "Other/fc/w": "Net/fc/w"}


def test_two_names_for_one_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        _renamed(["a/w", "b/w"], ["b/w"], **{"a/": "b/"})
    assert caught.value.cause == (
        "train.checkpoint_name_map gives a/w and b/w of m.ckpt one name, b/w."
    )
    assert caught.value.fix == (
        "Write narrower pairs, so that one stored name is left for each variable."
    )


def test_one_name_for_two_that_the_network_does_not_ask_for() -> None:
    assert _renamed(["a/w", "b/w", "a/x"], ["b/x"], **{"a/": "b/"}) == {"b/x": "a/x"}


def test_pair_that_matches_nothing() -> None:
    with pytest.raises(ConfigError) as caught:
        _renamed(["vgg_16/conv1/w", "vgg_16/fc6/w"], ["x/conv1/w"], **{"vgg_19/": "x/"})
    assert caught.value.cause == (
        "train.checkpoint_name_map: 'vgg_19/' matches no name of m.ckpt that no earlier pair has "
        "taken."
    )
    assert caught.value.fix == (
        "Names there start with vgg_16/conv1, vgg_16/fc6; a pair is `stored: wanted`."
    )


def test_pair_that_leads_to_no_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        _renamed(["a/w"], ["Net/conv/w"], **{"a/": "Nett/"})
    assert caught.value.cause == (
        "train.checkpoint_name_map: 'a/' -> 'Nett/' makes Nett/w, and no variable of the network "
        "is named like that."
    )
    assert caught.value.fix == "The network's names start with Net/conv."


@pytest.mark.parametrize(
    ("stored", "wanted", "reason"),
    [
        ("re:a(", "b", "missing ), unterminated subpattern at position 1"),
        ("re:a(b)", r"\2", "invalid group reference 2 at position 1"),
    ],
)
def test_broken_regular_expression(stored: str, wanted: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_name_map({stored: wanted})
    assert caught.value.cause == (
        f"train.checkpoint_name_map: {stored!r} -> {wanted!r} is no valid regular expression with "
        f"replacement: {reason}."
    )
    assert caught.value.fix == "Mend it, or write a plain prefix without `re:`."


def test_slots_averages_and_scalars_are_no_variables() -> None:
    stored = [
        "a/weights", "a/weights/RMSProp", "a/weights/RMSProp_1", "global_step", "beta1_power",
        "a/weights/ExponentialMovingAverage", "b/weights/ExponentialMovingAverage", "c/Momentum",
    ]  # fmt: skip
    assert variables_among(stored) == ["a/weights", "b/weights", "c/Momentum"]
