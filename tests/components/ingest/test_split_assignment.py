"""Splits by hash."""

import re
from collections import Counter

import pytest

from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.splits import group_of, split_of

KEYS = [f"image-{number}" for number in range(10_000)]


def test_fractions_are_kept() -> None:
    counts = Counter(split_of(key, 0.1, 0.2) for key in KEYS)
    assert counts["eval"] == pytest.approx(1_000, abs=100)
    assert counts["test"] == pytest.approx(2_000, abs=150)


def test_split_is_a_known_constant_for_a_key() -> None:
    # A changed hash would move images between the splits of every user.
    assert [split_of(f"image-{number}", 0.15, 0.15) for number in range(12)] == [
        "train", "eval", "train", "eval", "eval", "train",
        "train", "train", "train", "train", "train", "eval",
    ]  # fmt: skip


def test_another_eval_fraction_leaves_the_test_split_alone() -> None:
    before = {key for key in KEYS if split_of(key, 0.1, 0.15) == "test"}
    after = {key for key in KEYS if split_of(key, 0.3, 0.15) == "test"}
    assert before == after


def test_another_seed_gives_another_split() -> None:
    assert [split_of(key, 0.15, 0.15, 0) for key in KEYS] != [
        split_of(key, 0.15, 0.15, 1) for key in KEYS
    ]


@pytest.mark.parametrize(
    ("pattern", "group"), [(r"slide(\d+)", "12"), (r"slide\d+", "slide12"), (r"patient", None)]
)
def test_group_is_the_first_group_or_the_whole_match(pattern: str, group: str | None) -> None:
    assert group_of("cells/slide12_3.png", re.compile(pattern)) == group


def test_fractions_that_leave_nothing_to_train_are_refused() -> None:
    with pytest.raises(ValueError, match=r"leaves less than 0.2 to train"):
        DataConfig(eval_fraction=0.45, test_fraction=0.45)


def test_broken_regex_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'\(' is not a regular expression"):
        DataConfig(group_regex="(")
