"""Progress: numbers in log records, from the first moment to the last."""

import logging
import threading

import pytest

from slimworks.components import progress
from slimworks.components.progress import Progress, ProgressState, state_of


@pytest.fixture(autouse=True)
def every_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger=progress.LOGGER.name)


def states(caplog: pytest.LogCaptureFixture) -> list[ProgressState]:
    return [state for record in caplog.records if (state := state_of(record))]


def state(done: int, seconds: float, initial: int = 0) -> ProgressState:
    return ProgressState("check", "images", done, 8_000, initial, seconds, is_ended=False)


def test_speed_and_time_left_leave_out_what_was_done_before() -> None:
    half = state(done=5_000, seconds=4.0, initial=1_000)
    assert (half.per_second, half.seconds_left) == (1_000.0, 3.0)


def test_time_left_is_unknown_before_the_first_image() -> None:
    assert state(done=0, seconds=5.0).seconds_left is None


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (state(0, 0.0), "check: 0 of 8000 images (0%), 0 images/s"),
        (state(2_000, 10.0), "check: 2000 of 8000 images (25%), 200 images/s, 0:30 left"),
        (state(10, 10.0), "check: 10 of 8000 images (0%), 1 images/s, 2:13:10 left"),
    ],
)
def test_line_for_people(shown: ProgressState, line: str) -> None:
    assert str(shown) == line


def test_line_has_the_note_before_the_speed(caplog: pytest.LogCaptureFixture) -> None:
    with Progress("train", 10, note=lambda: "loss 0.12") as shown:
        shown.update(5)
    assert str(states(caplog)[-1]).startswith("train: 5 of 10 images (50%), loss 0.12, ")


def test_first_report_comes_at_once_and_the_last_is_complete(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Progress("check", 10, count=lambda: 10):
        assert [(s.done, s.is_ended) for s in states(caplog)] == [(0, False)]
    assert [(s.done, s.is_ended) for s in states(caplog)][-1] == (10, True)


def test_count_is_asked_while_work_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_POLL_SECONDS", 0.001)
    asked = threading.Semaphore(0)

    def count() -> int:
        asked.release()
        return 4

    with Progress("check", 10, count=count):
        # The state of the first look is reported before the second.
        assert asked.acquire(timeout=10)
        assert asked.acquire(timeout=10)
        assert 4 in [s.done for s in states(caplog) if not s.is_ended]


def test_work_that_fails_is_not_counted_once_more(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyError), Progress("check", 10, count=lambda: 7):
        raise KeyError
    assert states(caplog)[-1].is_ended


def test_lines_of_the_log_come_every_ten_seconds_only(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("slimworks.components.progress.time.monotonic", lambda: now[0])
    with Progress("check", 100) as shown:
        for second in range(1, 26):
            now[0] = float(second)
            shown.update(second)
    lines = [state_of(record) for record in caplog.records if record.levelno == logging.INFO]
    assert [s.done for s in lines if s] == [10, 20]


def test_work_with_lines_of_its_own_has_fewer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("slimworks.components.progress.time.monotonic", lambda: now[0])
    with Progress("train", 100, line_seconds=600.0) as shown:
        for minute in range(1, 16):
            now[0] = 60.0 * minute
            shown.update(minute)
    lines = [state_of(record) for record in caplog.records if record.levelno == logging.INFO]
    assert [s.done for s in lines if s] == [10]
