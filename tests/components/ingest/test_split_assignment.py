"""Stratified assignment: fractions by class, tiny classes, splits that the user decided."""

import dataclasses
import re

import numpy as np
import pytest
from split_tables import COLUMNS, NO_PAIRS, counts_of, image_table, names_of, plan, subset

from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.splits import ImageTable, group_of, other_seed, plan_splits


def test_every_class_gets_its_fractions() -> None:
    table = image_table(np.repeat(range(10), 100).tolist())
    result = plan(table)
    assert [counts_of(result, table, index) for index in range(10)] == [[70, 15, 15]] * 10


def test_a_class_is_off_by_no_more_than_an_image_while_the_whole_is_exact() -> None:
    table = image_table(np.repeat(range(10), 30).tolist())
    result = plan(table)
    assert counts_of(result, table) == pytest.approx([210, 45, 45], abs=1)
    for index in range(10):
        assert counts_of(result, table, index) == pytest.approx([21, 4.5, 4.5], abs=1)


@pytest.mark.parametrize(
    ("size", "counts"),
    [(1, [1, 0, 0]), (2, [1, 0, 1]), (3, [1, 1, 1]), (4, [2, 1, 1]), (5, [3, 1, 1])],
)
def test_a_tiny_class_trains_first_then_tests_then_evaluates(size: int, counts: list[int]) -> None:
    table = image_table([0] * 100 + [1] * size)
    assert counts_of(plan(table), table, 1) == counts


def test_a_long_tail_is_in_every_split_of_every_class() -> None:
    sizes = np.geomspace(5, 500, 50).astype(int)
    table = image_table(np.repeat(range(50), sizes).tolist())
    result = plan(table)
    for index, size in enumerate(sizes):
        counts = counts_of(result, table, index)
        assert min(counts) >= 1
        assert counts == pytest.approx([0.7 * size, 0.15 * size, 0.15 * size], abs=1.01)


def test_groups_of_several_classes_keep_the_fractions_of_each() -> None:
    rng = np.random.default_rng(0)
    table = image_table(rng.integers(0, 3, 3_000).tolist())
    table = dataclasses.replace(table, group=rng.integers(0, 300, 3_000).astype(np.int32))
    result = plan(table)
    for index in range(3):
        counts = np.array(counts_of(result, table, index))
        assert counts / counts.sum() == pytest.approx([0.7, 0.15, 0.15], abs=0.005)


def test_large_groups_reach_every_split_not_only_train() -> None:
    table = image_table([0] * 1_000, group={row: row // 50 for row in range(1_000)})
    assert counts_of(plan(table), table) == [700, 150, 150]


def test_no_split_stays_empty_while_classes_have_too_few_groups_for_all_three() -> None:
    """Two slides a class: eval would come last for each of them, and so be empty."""
    table = image_table(np.repeat(range(4), 10), group={row: row // 5 for row in range(40)})
    counts = counts_of(plan(table), table)
    assert min(counts) >= 5
    assert all(counts_of(plan(table), table, index)[0] == 5 for index in range(4))


def test_new_images_fill_what_the_frozen_ones_lack() -> None:
    table = image_table([0] * 100, frozen=dict.fromkeys(range(50), "train"))
    assert counts_of(plan(table), table) == [70, 15, 15]


def test_the_order_of_rows_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    table = image_table(rng.integers(0, 4, 200).tolist(), group={row: row % 7 for row in range(40)})
    pairs = rng.integers(0, 200, (50, 2)).astype(np.int32)
    first = plan(table, pairs)
    order = rng.permutation(200)
    place = np.argsort(order)
    second = plan(subset(table, order), place[pairs][::-1, ::-1])
    assert (second.split == first.split[order]).all()
    assert (second.component == first.component[order]).all()


def test_plan_is_a_known_constant() -> None:
    # A changed order of assignment would give users another split for the same images.
    table = image_table([0, 1] * 10)
    letters = "".join(name[1] for name in names_of(plan(table)))  # tRain, eVal, tEst
    assert letters == "vrrrrverrrrerrrrervr"


def test_another_seed_gives_another_split() -> None:
    table = image_table([0] * 100)
    assert (plan(table, seed=0).split != plan(table, seed=1).split).any()


def test_ids_may_come_as_an_array_of_bytes() -> None:
    table = image_table([0] * 20)
    as_bytes = dataclasses.replace(table, image_ids=np.array(table.image_ids, dtype="S64"))
    assert (plan(as_bytes).split == plan(table).split).all()


def test_no_images_have_an_empty_plan() -> None:
    result = plan(image_table([]))
    assert (len(result.split), result.set_aside, result.num_changed_split) == (0, [], 0)


# --- Splits of the user ---------------------------------------------------------------------


def test_the_users_split_wins_over_a_frozen_one_and_is_counted() -> None:
    table = image_table([0] * 9, frozen={0: "train", 1: "train"}, user={0: "test", 1: "train"})
    result = plan(table)
    assert names_of(result, [0, 1]) == ["test", "train"]
    assert result.num_changed_split == 1


def test_a_test_split_of_the_user_takes_no_other_image() -> None:
    table = image_table([0] * 100, user=dict.fromkeys(range(5), "test"))
    result = plan(table)
    assert names_of(result, range(5)) == ["test"] * 5
    # Eval has the share of the rest that it has beside train: 0.15 of 0.85.
    assert counts_of(result, table) == [78, 17, 5]


def test_what_the_user_lacks_comes_from_images_without_a_split() -> None:
    user = {row: "train" if row < 60 else "test" for row in range(80)}
    table = image_table([0] * 100, user=user)
    result = plan(table)
    assert names_of(result, range(80)) == list(user.values())
    assert counts_of(result, table)[1] == 14  # 0.15 / 0.85 of the 80 that are no test images


def test_eval_is_taken_out_of_train_where_every_image_has_a_split_but_none_is_eval() -> None:
    user = {row: "train" if row < 80 else "test" for row in range(100)}
    table = image_table([0, 1] * 50, user=user)
    result = plan(table)
    assert names_of(result, range(80, 100)) == ["test"] * 20
    assert [counts_of(result, table, index) for index in range(2)] == [[33, 7, 10]] * 2
    assert result.num_changed_split == 0


def test_train_alone_gives_eval_and_test_too() -> None:
    table = image_table([0] * 100, user=dict.fromkeys(range(100), "train"))
    assert counts_of(plan(table), table) == [70, 15, 15]


@pytest.mark.parametrize("num_without_split", [0, 1])
def test_what_was_taken_out_of_train_stays_there(num_without_split: int) -> None:
    user = {row: "train" if row < 80 else "test" for row in range(100)}
    first = plan(image_table([0] * 100, user=user))
    frozen = dict(enumerate(names_of(first)))
    grown = image_table([0] * (120 + num_without_split), frozen=frozen, user={
        **user, **dict.fromkeys(range(100, 120), "train")
    })  # fmt: skip
    second = plan(grown)
    assert second.num_changed_split == 0
    assert names_of(second, range(100)) == names_of(first)


def test_naming_an_eval_split_later_gives_back_what_was_taken_out_of_train() -> None:
    user = {row: "train" if row < 80 else "test" for row in range(100)}
    frozen = dict(enumerate(names_of(plan(image_table([0] * 100, user=user)))))
    named = plan(image_table([0] * 101, frozen=frozen, user={**user, 100: "eval"}))
    assert names_of(named, range(80)) == ["train"] * 80
    assert named.num_changed_split == list(frozen.values()).count("eval")


def test_an_image_taken_out_of_train_never_joins_the_users_test_split() -> None:
    """Image 0 and test image 9 are near-duplicates."""
    table = image_table([0] * 10, user={row: "train" if row < 8 else "test" for row in range(10)})
    result = plan(table, [[0, 9]])
    assert names_of(result, [0, 8, 9]) == ["-", "test", "test"]
    assert [(i.index, i.other, i.reason) for i in result.set_aside] == [(0, 9, "split_leak")]


# --- Another seed, groups, settings -----------------------------------------------------------


def _is_sufficient(table: ImageTable, seed: int) -> bool:
    result = plan(table, seed=seed)
    trained = set(table.class_index[result.split == 0].tolist())
    return set(result.split.tolist()) == {0, 1, 2} and trained == set(table.class_index.tolist())


def test_another_seed_is_found_where_some_seed_fills_every_split() -> None:
    """Four groups of several classes; classes 0 and 2 must both be in the one or two of train."""
    group = {row: row // 3 for row in range(12)}
    table = image_table([1, 1, 2, 1, 1, 1, 1, 2, 0, 1, 1, 2], group=group)
    assert not _is_sufficient(table, 0)
    seed = other_seed(table, NO_PAIRS, 0.15, 0.15)
    assert seed is not None
    assert _is_sufficient(table, seed)


def test_another_seed_is_judged_as_if_nothing_were_frozen() -> None:
    """What a changed seed does: every split is made anew."""
    table = image_table([0] * 20, frozen=dict.fromkeys(range(20), "train"))
    assert other_seed(table, NO_PAIRS, 0.15, 0.15) == 0


def test_no_other_seed_is_named_where_the_groups_are_too_few() -> None:
    table = image_table([0] * 10, group={row: row % 2 for row in range(10)})
    assert other_seed(table, NO_PAIRS, 0.15, 0.15) is None


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_of_another_length_is_refused(column: str) -> None:
    table = image_table([0] * 4)
    short = dataclasses.replace(table, **{column: getattr(table, column)[:3]})
    with pytest.raises(ValueError, match=column):
        plan(short)


@pytest.mark.parametrize(
    ("change", "pairs", "fractions", "message"),
    [
        ({"frozen_split": np.array([3, 0], np.int8)}, [], (0.1, 0.1), r"outside -1\.\.2"),
        ({}, [[0, 2]], (0.1, 0.1), r"outside 0\.\.1"),
        ({}, [], (0.5, 0.5), "fractions"),
        ({"image_ids": ["a", "a"]}, [], (0.1, 0.1), "same id"),
    ],
)
def test_wrong_arrays_are_refused(
    change: dict[str, object], pairs: list[list[int]], fractions: tuple[float, float], message: str
) -> None:
    table: ImageTable = dataclasses.replace(image_table([0, 0]), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        plan_splits(table, np.array(pairs, np.int32).reshape(-1, 2), *fractions, seed=0)


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
