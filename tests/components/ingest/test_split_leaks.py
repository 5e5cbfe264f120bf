"""What becomes of images that connect splits: few are set aside, nothing leaks."""

import itertools

import numpy as np
import pytest
from split_tables import (
    image_table,
    names_of,
    plan,
    random_pairs,
    random_table,
    require_leak_free,
    ties_of,
)

from slimworks.components.ingest.splits import ImageTable, SplitPlan


def _set_aside(result: SplitPlan) -> list[tuple[int, int, str]]:
    return sorted((image.index, image.other, image.reason) for image in result.set_aside)


def test_near_duplicates_and_groups_make_one_component() -> None:
    """0-1 are near-duplicates, 1 and 2 of one group, 2-3 near-duplicates."""
    result = plan(image_table([0] * 40, group={1: 5, 2: 5}), [[0, 1], [2, 3]])
    assert len(set(result.component[:4].tolist())) == 1
    assert len(set(result.split[:4].tolist())) == 1
    assert len(set(result.component.tolist())) == 37


def test_components_are_numbered_without_gaps() -> None:
    result = plan(image_table([0] * 4, frozen={0: "train", 1: "test"}), [[0, 1], [2, 3]])
    assert result.split[0] == result.component[0] == -1
    assert sorted(set(result.component.tolist())) == [-1, 0, 1]


def test_a_new_image_follows_its_neighbours() -> None:
    table = image_table([0] * 6, frozen={0: "test"}, group={2: 0, 3: 0})
    assert names_of(plan(table, [[0, 1], [1, 2]]), range(4)) == ["test"] * 4


def test_a_new_image_between_two_splits_is_set_aside() -> None:
    table = image_table([0] * 3, frozen={0: "train", 1: "test"})
    result = plan(table, [[0, 2], [1, 2]])
    assert names_of(result) == ["train", "test", "-"]
    assert _set_aside(result) == [(2, 1, "split_bridge")]


def test_only_one_image_of_a_bridge_is_set_aside() -> None:
    """Train 0 - 2 - 3 - 4 - test 1."""
    table = image_table([0] * 5, frozen={0: "train", 1: "test"})
    result = plan(table, [[0, 2], [2, 3], [3, 4], [4, 1]])
    assert names_of(result) == ["train", "test", "train", "train", "-"]


def test_the_one_image_that_ties_many_to_another_split_goes_not_the_many() -> None:
    """Train 0 has 50 new neighbours, each tied to new image 2, which is tied to test 1."""
    many = range(3, 53)
    pairs = [*([0, row] for row in many), *([row, 2] for row in many), [2, 1]]
    result = plan(image_table([0] * 53, frozen={0: "train", 1: "test"}), pairs)
    assert _set_aside(result) == [(2, 1, "split_bridge")]
    assert set(names_of(result, many)) == {"train"}


def test_of_a_new_group_between_two_splits_only_one_member_goes() -> None:
    """Group 7 is new; one member resembles a train image, another a test image."""
    table = image_table(
        [0] * 12, frozen={0: "train", 1: "test"}, group=dict.fromkeys(range(2, 12), 7)
    )
    result = plan(table, [[0, 2], [1, 3]])
    assert len(result.set_aside) == 1
    assert result.set_aside[0].index in (2, 3)


def test_a_new_member_of_a_frozen_group_that_resembles_another_split_is_set_aside() -> None:
    frozen = {0: "train", 1: "train", 2: "test"}
    result = plan(image_table([0] * 4, frozen=frozen, group={0: 4, 1: 4, 3: 4}), [[3, 2]])
    assert _set_aside(result) == [(3, 2, "split_bridge")]


def test_an_image_that_one_cut_frees_from_another_is_used() -> None:
    """Image 3 touches test 2 and new image 4, which alone ties it to train 0 and eval 1."""
    table = image_table([0] * 5, frozen={0: "train", 1: "eval", 2: "test"})
    result = plan(table, [[2, 3], [3, 4], [4, 0], [4, 1]])
    assert _set_aside(result) == [(4, 3, "split_bridge")]
    assert names_of(result, [3]) == ["test"]


def test_what_hung_on_an_image_set_aside_is_free() -> None:
    table = image_table([0] * 4, frozen={0: "train", 1: "test"})
    result = plan(table, [[0, 2], [1, 2], [2, 3]])
    assert names_of(result, [2]) == ["-"]
    assert result.split[3] >= 0


def test_an_image_set_aside_stays_so_in_the_next_ingest() -> None:
    pairs = [[0, 2], [2, 3], [3, 1]]
    first = plan(image_table([0] * 4, frozen={0: "train", 1: "test"}), pairs)
    names = dict(enumerate(names_of(first)))
    frozen = {row: split for row, split in names.items() if split != "-"}
    assert names_of(plan(image_table([0] * 4, frozen=frozen), pairs)) == names_of(first)


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [("train", "test", 0), ("test", "eval", 1), ("eval", "train", 1)],
)
def test_of_two_resembling_images_the_less_precious_split_loses_one(
    first: str, second: str, left: int
) -> None:
    table = image_table([0] * 9, user={0: first, 1: second})
    assert _set_aside(plan(table, [[0, 1]])) == [(left, 1 - left, "split_leak")]


def test_a_group_in_several_splits_of_the_user_stays_in_the_most_precious() -> None:
    user = {0: "train", 1: "train", 2: "eval", 3: "test", 4: "train"}
    result = plan(image_table([0] * 9, user=user, group=dict.fromkeys(range(4), 1)))
    assert names_of(result, range(5)) == ["-", "-", "-", "test", "train"]
    assert {image.other for image in result.set_aside} == {3}


def test_only_the_border_between_the_users_splits_is_set_aside() -> None:
    """Train 0 - 1 - 2, test 3: only 2 resembles 3."""
    table = image_table([0] * 9, user={0: "train", 1: "train", 2: "train", 3: "test"})
    result = plan(table, [[0, 1], [1, 2], [2, 3]])
    assert names_of(result, range(4)) == ["train", "train", "-", "test"]


def test_a_train_image_stays_where_the_eval_image_that_it_resembles_is_set_aside() -> None:
    """Train 0 - eval 1 - test 2."""
    table = image_table([0] * 9, user={0: "train", 1: "eval", 2: "test"})
    assert names_of(plan(table, [[0, 1], [1, 2]]), range(3)) == ["train", "-", "test"]


def test_contradicting_frozen_splits_leak_nothing() -> None:
    result = plan(image_table([0] * 9, frozen={0: "train", 1: "test"}), [[0, 1]])
    assert _set_aside(result) == [(0, 1, "split_leak")]
    assert result.num_changed_split == 0


@pytest.mark.parametrize("seed", range(60))
def test_random_ties_leak_nothing_and_move_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_images = int(rng.integers(1, 60))
    table = random_table(rng, num_images, frozen=rng.random(), grouped=rng.choice([0, 0.4]))
    pairs = random_pairs(rng, num_images, int(rng.integers(0, 2 * num_images)))
    result = plan(table, pairs)
    require_leak_free(result, table, pairs)
    is_kept = (table.frozen_split >= 0) & (result.split >= 0)
    assert (result.split[is_kept] == table.frozen_split[is_kept]).all()
    assert result.num_changed_split == 0


@pytest.mark.parametrize("seed", range(60))
def test_between_two_splits_no_fewer_images_would_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = random_table(rng, 9, frozen=0.35, grouped=rng.choice([0, 0.3]))
    table.frozen_split[table.frozen_split == 1] = 2
    pairs = random_pairs(rng, 9, int(rng.integers(4, 13)))
    result = plan(table, pairs)
    leaks = {image.index for image in result.set_aside if image.reason == "split_leak"}
    assert len(result.set_aside) - len(leaks) == _fewest_bridges(table, pairs, leaks)


def _fewest_bridges(table: ImageTable, pairs: np.ndarray, leaks: set[int]) -> int:
    """Tries every set of new images, small ones first."""
    new = [row for row in range(len(table.group)) if table.frozen_split[row] < 0]
    for size in range(len(new) + 1):
        for gone in itertools.combinations(new, size):
            if _is_separated(table, ties_of(table, pairs), {*gone, *leaks}):
                return size
    raise AssertionError("removing every new image separates the splits")


def _is_separated(table: ImageTable, ties: set[tuple[int, int]], gone: set[int]) -> bool:
    reached = {row: {int(split)} - {-1} for row, split in enumerate(table.frozen_split)}
    for _ in reached:  # so many rounds reach the end of every path
        for a, b in ties:
            if not {a, b} & gone:
                reached[a] |= reached[b]
    return all(len(splits) <= 1 for splits in reached.values())
