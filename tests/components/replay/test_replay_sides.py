"""Candidate and baseline side by side, without servers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from replay_samples import filename, image_id, images, write_examples

from slimworks.components.errors import ServingError
from slimworks.components.replay.comparison import Expected
from slimworks.components.replay.config import ReplaySettings
from slimworks.components.replay.replay import _send
from slimworks.components.replay.servers import Served, peak_memory_bytes
from slimworks.components.replay.side import Side
from slimworks.components.serving.answers import Prediction

NUM_IMAGES = 5
SETTINGS = ReplaySettings(num_images=NUM_IMAGES, tolerance=1e-3, timeout_seconds=1.0)
EXPECTED = {image_id(index): Expected(1, (0.2, 0.8)) for index in range(NUM_IMAGES)}


class Answering:
    """A client that answers the same to everything, `num_answers` times."""

    def __init__(self, num_answers: int = 1_000) -> None:
        self.num_left = num_answers

    def predict_bytes(self, images: Sequence[bytes]) -> list[Prediction]:
        if not self.num_left:
            raise ServingError("It burns.", "Put it out.")
        self.num_left -= 1
        return [Prediction(("b", "a"), (0.8, 0.2), (1, 0), True, 1) for _ in images]


def side(name: str, client: Answering) -> Side:
    return Side(name, Served({"grpc": client, "rest": client}), EXPECTED, SETTINGS.tolerance)


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    return write_examples(tmp_path / "examples", images()[:NUM_IMAGES])


@pytest.mark.parametrize("num_answers", [0, 2, 9])
def test_baseline_that_stops_answering_is_left_out(examples: Path, num_answers: int) -> None:
    notes: list[str] = []
    candidate, baseline = side("candidate", Answering()), side("baseline", Answering(num_answers))
    assert _send(candidate, baseline, examples, "test", SETTINGS, notes) is None
    (note,) = notes
    assert note.startswith("The baseline's server did not answer for photos/")
    assert note.endswith(": It burns.")
    assert candidate.result().protocols["rest"].num_images == NUM_IMAGES


def test_both_get_every_image(examples: Path) -> None:
    sides = side("candidate", Answering()), side("baseline", Answering())
    assert _send(*sides, examples, "test", SETTINGS, []) is sides[1]
    for each in sides:
        result = each.result()
        assert {name: r.num_images for name, r in result.protocols.items()} == {
            "grpc": NUM_IMAGES, "rest": NUM_IMAGES,
        }  # fmt: skip
        assert result.max_repeat_difference == 0


def test_candidate_that_stops_answering_ends_the_replay(examples: Path) -> None:
    with pytest.raises(ServingError, match=f"The candidate's server .* {filename(0)}: It burns"):
        _send(side("candidate", Answering(2)), None, examples, "test", SETTINGS, [])


def test_memory_of_a_process_that_is_gone_is_not_known() -> None:
    assert peak_memory_bytes(2**22 + 1) is None, "above the largest process id of Linux"
