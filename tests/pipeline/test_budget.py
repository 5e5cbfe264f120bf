"""`--budget`: durations, and what of the time is kept for the steps behind training."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.trainer.budget import (
    DEFAULT_RESERVE_SECONDS,
    Deadline,
    Pace,
    Speed,
    deadline_of,
)
from slimworks.pipeline.budget import parse_duration, set_deadline
from slimworks.pipeline.paths import PipelinePaths


@pytest.fixture
def paths(tmp_path: Path) -> PipelinePaths:
    paths = PipelinePaths(tmp_path, "flowers")
    paths.create("photos", is_name_chosen=True)
    return paths


def write_run(paths: PipelinePaths, run_id: str, **seconds: float) -> None:
    """Leaves a run.json whose steps took so long; negative: reused."""
    folder = paths.run(run_id)
    folder.mkdir()
    steps = [
        {"name": name, "seconds": abs(value), "state": "ran" if value >= 0 else "reused"}
        for name, value in seconds.items()
    ]
    (folder / "run.json").write_text(json.dumps({"steps": steps}))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("1h30m", 5400), ("90s", 90), ("600", 600), ("1.5h", 5400), (" 2M ", 120)],
)
def test_durations_are_written_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", " ", "soon", "-5m", "10 m", "5m1h", "m"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ConfigError, match="is no duration") as caught:
        parse_duration(text)
    assert "10m" in caught.value.fix


def test_a_budget_too_short_for_any_run_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'10s' is 10 s: too short"):
        parse_duration("10s")


def test_a_run_leaves_its_deadline_for_the_trainer(paths: PipelinePaths) -> None:
    started = time.time()
    set_deadline(paths, started, 600.0)
    deadline = deadline_of(paths.work, 600.0)
    assert deadline == Deadline(started, 600.0, DEFAULT_RESERVE_SECONDS)


def test_a_run_without_a_budget_forgets_the_deadline_of_the_one_before(
    paths: PipelinePaths,
) -> None:
    set_deadline(paths, time.time(), 600.0)
    set_deadline(paths, time.time(), None)
    assert deadline_of(paths.work, None) is None
    assert not list(paths.work.iterdir())


def test_the_reserve_is_what_the_slowest_of_the_last_runs_took_and_more(
    paths: PipelinePaths,
) -> None:
    write_run(paths, "1", evaluator=10, gate=1, replay=5, pusher=4)
    write_run(paths, "2", evaluator=40, gate=1, replay=5, pusher=4)
    write_run(paths, "3", evaluator=-1, gate=-1, replay=-1, pusher=-1)  # says nothing
    write_run(paths, "4", evaluator=90, gate=1)  # refused by the gate: neither
    set_deadline(paths, time.time(), 600.0)
    deadline = deadline_of(paths.work, 600.0)
    assert deadline is not None
    assert deadline.reserve is not None
    assert 50 < deadline.reserve < 100


def test_a_training_on_its_own_has_the_whole_budget(tmp_path: Path) -> None:
    deadline = deadline_of(tmp_path, 60.0)
    assert deadline is not None
    assert deadline.budget == 60.0
    assert 0 <= time.time() - deadline.started < 60


def test_steps_are_planned_with_their_evaluations() -> None:
    speed = Speed(step_seconds=0.5, evaluation_seconds=10.0)
    num_steps = speed.affordable_steps(seconds=1_000.0, steps_per_epoch=20)
    num_evaluations = -(-num_steps // 20)
    assert 940 < num_steps * 0.5 + num_evaluations * 10.0 <= 1_000


def test_there_is_always_one_step_to_evaluate() -> None:
    assert Speed(1.0, 1.0).affordable_steps(seconds=-5.0, steps_per_epoch=10) == 1


def test_the_time_left_leaves_room_for_what_follows() -> None:
    deadline = Deadline(time.time(), 100.0, reserve=20.0)
    assert 60 < deadline.seconds_left(evaluation_seconds=4.0) <= 64


def test_a_first_run_reserves_what_the_steps_before_the_training_took() -> None:
    slow = Deadline(time.time() - 90.0, 600.0).at_training()
    assert slow.reserve == pytest.approx(90.0, abs=5.0)
    late = Deadline(time.time() - 500.0, 600.0).at_training()
    assert late.reserve == 240.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def paced(clock: Clock, seconds: float, *, is_last_phase: bool = True) -> Pace:
    """Ten steps of a second and an evaluation of five, with so much time left, or a bit less."""
    deadline = Deadline(time.time(), seconds + 20.0, reserve=0.0)
    pace = Pace(deadline, steps_per_epoch=10, is_last_phase=is_last_phase, clock=clock)
    is_measured = []
    for number in range(10):
        clock.now += 30.0 if number == 0 else 1.0  # the first is traced
        is_measured.append(pace.count_step())
    assert is_measured == [False] * 9 + [True]
    with pace.evaluating():
        clock.now += 5.0
    return pace


def test_as_many_steps_are_planned_as_fit() -> None:
    assert 55 < paced(Clock(), 100.0).affordable_steps() <= 100 / 1.5


def test_evaluations_are_no_part_of_a_step() -> None:
    clock = Clock()
    pace = paced(clock, 100.0)
    for _ in range(10):
        clock.now += 1.0
        pace.count_step()
    with pace.evaluating():
        clock.now += 5.0
    assert 55 < pace.affordable_steps() <= 100 / 1.5


def test_a_phase_that_another_one_follows_leaves_it_most_of_the_time() -> None:
    assert paced(Clock(), 100.0, is_last_phase=False).affordable_steps() < 100 / 1.5 / 3


def test_time_is_over_when_only_the_reserve_is_left() -> None:
    assert not paced(Clock(), 100.0).is_over
    assert paced(Clock(), 1.0).is_over
