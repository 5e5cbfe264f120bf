"""What counts as a mismatch."""

import math

import pytest

from slimworks.components.replay.comparison import Expected, Mismatch, difference_of
from slimworks.components.replay.config import ReplaySettings
from slimworks.components.replay.replay import _batches
from slimworks.components.replay.tally import percentile
from slimworks.components.serving.config import ServingConfig

EXPECTED = Expected(2, (0.1, 0.2, 0.7))


def exceeds(class_indices, probabilities, expected=EXPECTED) -> bool:
    return difference_of(expected, class_indices, probabilities, 1e-3).exceeds(1e-3)


def test_same_answer_is_no_mismatch() -> None:
    assert not exceeds((2, 1), (0.7, 0.2))
    assert not exceeds((2, 1), (0.7005, 0.1995))


@pytest.mark.parametrize(
    ("class_indices", "probabilities"),
    [
        ((1, 2), (0.2, 0.7)),  # another best class, although each probability is right
        ((2, 1), (0.7, 0.21)),  # a probability further down
        ((2, 1), (math.nan, 0.2)),
        ((2, 1), (0.7, math.nan)),
        ((2, 3), (0.7, 0.0)),  # a class that does not exist
        ((2, -1), (0.7, 0.1)),
        ((), ()),
        ((2, 1), (0.7,)),
    ],
)
def test_other_answers_are_mismatches(class_indices, probabilities) -> None:
    assert exceeds(class_indices, probabilities)


def test_tie_within_the_tolerance_is_no_mismatch() -> None:
    tied = Expected(0, (0.4004, 0.4001, 0.1995))
    assert not exceeds((1, 0), (0.4003, 0.4002), tied)
    assert exceeds((1, 0), (0.42, 0.38), tied)


def test_offline_nan_is_a_mismatch() -> None:
    assert exceeds((2, 1), (0.7, 0.2), Expected(-1, (math.nan,) * 3))


def test_nan_becomes_null_in_json() -> None:
    difference = difference_of(EXPECTED, (2,), (math.nan,), 1e-3)
    served = {"class_index": 2, "probability": math.nan}
    value = Mismatch("a.png", {"class_index": 2, "probability": 0.7}, served, difference, 1)
    assert value.to_json()["difference"] is None
    assert value.to_json()["served"] == {"class_index": 2, "probability": None}


def test_batches_take_every_image_once_in_sizes_of_two_to_eight() -> None:
    batches = list(_batches(iter(range(64))))  # type: ignore[arg-type]
    assert [image for batch in batches for image in batch] == list(range(64))
    assert {len(batch) for batch in batches} >= set(range(2, 9))


def test_percentile_is_the_nearest_rank() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.99) == 4.0
    assert percentile([1.0], 0.5) == 1.0


def test_settings_hold_only_what_the_replay_depends_on() -> None:
    one = ReplaySettings.of(ServingConfig(model_name="roses", top_k=3, replay_num_images=7))
    other = ReplaySettings.of(ServingConfig(model_name="tulips", replay_num_images=7))
    assert one == other
    assert one.num_images == 7
