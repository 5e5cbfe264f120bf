"""How far work that takes a while has come: numbers in log records, for whoever wants to show them.

A component reports; the command line draws a bar (slimworks.pipeline.terminal). Where nobody
draws, a line appears every ten seconds like any other line of the log.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

LOGGER = logging.getLogger("slimworks.progress")
LINE_SECONDS = 10.0
_POLL_SECONDS = 0.25
# A look at thousands of files takes time of its own: not more than a twentieth of it.
_POLL_SHARE = 20
_RECORD_ATTRIBUTE = "progress"


@dataclasses.dataclass(frozen=True)
class ProgressState:
    """One look at the work: `done` of `total`; `initial` were done before it began.

    `note` is what else is to be said of it, such as the loss of a training.
    """

    label: str
    unit: str
    done: int
    total: int
    initial: int
    seconds: float
    is_ended: bool
    note: str = ""

    @property
    def per_second(self) -> float:
        """Speed since the beginning; 0 where nothing was done yet."""
        return (self.done - self.initial) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time left at that speed; None where there is none yet."""
        return (self.total - self.done) / self.per_second if self.per_second > 0 else None

    def __str__(self) -> str:
        left = self.seconds_left
        fraction = self.done / self.total if self.total else 1.0
        end = "" if left is None or self.is_ended else f", {clock(left)} left"
        note = f", {self.note}" if self.note else ""
        return (
            f"{self.label}: {self.done} of {self.total} {self.unit} ({fraction:.0%}){note}, "
            f"{self.per_second:.0f} {self.unit}/s{end}"
        )


def clock(seconds: float) -> str:
    """`1:05` of 65 seconds, `1:00:05` of an hour more."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else (
        f"{minutes}:{rest:02d}"
    )  # fmt: skip


def state_of(record: logging.LogRecord) -> ProgressState | None:
    """The state that a log record carries; None for any other record."""
    state = getattr(record, _RECORD_ATTRIBUTE, None)
    return state if isinstance(state, ProgressState) else None


class Progress:
    """Reports how far some work is, from entry to exit. Use as a context manager.

    Either the work calls `update`, or `count` is asked a few times a second by a thread.

    Every look is a record of level DEBUG; every ten seconds it is one of level INFO. Work that
    ends within ten seconds thus leaves no line, but a bar.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str = "images",
        *,
        initial: int = 0,
        count: Callable[[], int] | None = None,
        note: Callable[[], str] = str,
        line_seconds: float = LINE_SECONDS,
    ) -> None:
        """Nothing is reported before entry.

        Args:
            label: What is done, such as "check".
            total: How much there is.
            unit: Of what, in the plural.
            initial: How much was done already.
            count: Returns how much is done by now; must be quick, and safe in a thread.
            note: Returns what else is to be said; as `count`. By default nothing.
            line_seconds: Between lines of the log; more where the work has lines of its own.
        """
        self._label, self._total, self._unit, self._initial = label, total, unit, initial
        self._count, self._note, self._line_seconds = count, note, line_seconds
        self._done = initial
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._start = self._last_line = 0.0

    def __enter__(self) -> Progress:
        self._start = self._last_line = time.monotonic()
        self._report()
        if self._count is not None:
            self._thread = threading.Thread(target=self._poll, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._count is not None and kind is None:
            self._done = self._count()
        self._report()

    def update(self, done: int) -> None:
        """Says how much is done by now, what was done before included."""
        self._done = done
        self._report()

    def _poll(self) -> None:
        assert self._count is not None
        pause = _POLL_SECONDS
        while not self._ended.wait(pause):
            start = time.monotonic()
            self.update(self._count())
            pause = max(_POLL_SECONDS, _POLL_SHARE * (time.monotonic() - start))

    def _report(self) -> None:
        now = time.monotonic()
        state = ProgressState(
            self._label, self._unit, self._done, self._total, self._initial,
            now - self._start, self._ended.is_set(), self._note(),
        )  # fmt: skip
        is_line = now - self._last_line >= self._line_seconds
        if is_line:
            self._last_line = now
        level = logging.INFO if is_line else logging.DEBUG
        LOGGER.log(level, "%s", state, extra={_RECORD_ATTRIBUTE: state})
