"""What a person sees of work: on a terminal the last lines are drawn anew, elsewhere lines follow.

`components/progress.py` and the log say what happens; here it is shown. NO_COLOR: without colours.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any, Protocol

from slimworks.components import progress
from slimworks.components.progress import ProgressState
from slimworks.components.terminal_text import shown, shown_message
from slimworks.pipeline.launcher import FAILED, RAN, REUSED, SKIPPED, NodeResult

NAME_WIDTH = 12
_STYLES = {RAN: "green", REUSED: "dim", SKIPPED: "yellow", FAILED: "bold red"}
_LABEL_WIDTH, _BAR_WIDTH = 12, 12

if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[IO[str]]
else:  # Python 3.10 cannot say of which stream
    _StreamHandler = logging.StreamHandler


@dataclasses.dataclass(frozen=True)
class StepRecord:
    """One record of a step's log, as it comes from the step's process."""

    level: int
    message: str
    progress: ProgressState | None = None


class View(Protocol):
    """Shows a run."""

    def __enter__(self) -> View: ...

    def __exit__(self, *_: object) -> None: ...

    def started(self, step: str) -> None:
        """A step begins."""

    def record(self, step: str, record: StepRecord) -> None:
        """A step says something."""

    def ended(self, result: NodeResult) -> None:
        """A step is over."""

    def tick(self) -> None:
        """Time goes by."""


def new_view(stream: IO[str]) -> View:
    """A view for a terminal with room, or for a file."""
    return LiveView(stream) if _has_room(stream) else PlainView(stream)


class PlainView:
    """Every line in its order; progress every ten seconds."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def started(self, step: str) -> None:
        """Shown when it says something."""

    def record(self, step: str, record: StepRecord) -> None:
        """Writes a line."""
        if record.level >= logging.INFO:
            self._write(f"  {step:<11}{record.message}")

    def ended(self, result: NodeResult) -> None:
        """Writes the step's line."""
        if is_shown(result):
            self._write(f"{_heading(result)}{result.reason}")

    def tick(self) -> None:
        """A file needs no clock."""

    def _write(self, line: str) -> None:
        print(shown_message(line), file=self._stream, flush=True)


class LiveView:
    """A line for each step that is over, warnings, and below what runs now and how far it is.

    What else a step says replaces what it said before; all of it is in its log.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._screen = Screen(stream)
        self._running: dict[str, _Running] = {}
        self._lock = threading.RLock()  # containers' lines come from a thread each

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *_: object) -> None:
        self._screen.close()

    def started(self, step: str) -> None:
        """Adds a line at the bottom."""
        with self._lock:
            self._running[step] = _Running(time.monotonic())
            self._draw()

    def record(self, step: str, record: StepRecord) -> None:
        """Changes the step's line; a warning stays."""
        with self._lock:
            if record.level >= logging.WARNING:
                self._screen.write(f"  {step:<10}{record.message}", "yellow")
            running = self._running.setdefault(step, _Running(time.monotonic()))
            if record.progress is not None:
                running.progress = None if record.progress.is_ended else record.progress
            elif record.level == logging.INFO:
                running.message = record.message
            self._draw()

    def ended(self, result: NodeResult) -> None:
        """The step's line stays, and the last that it said."""
        with self._lock:
            running = self._running.pop(result.name, None)
            self._draw()
            if is_shown(result):
                self._screen.write_step(result)
                if running is not None and running.message:
                    self._screen.write(f"  {running.message}", "dim", is_cut=True)

    def tick(self) -> None:
        """Draws what runs now."""
        with self._lock:
            self._draw()

    def _draw(self) -> None:
        rows: list[Any] = []
        for step, running in self._running.items():
            rows.append(_line_of(step, running))
            if running.progress is not None:
                rows.append(bar_of(running.progress))
        self._screen.draw(rows)


@dataclasses.dataclass
class _Running:
    started: float
    message: str = ""
    progress: ProgressState | None = None


class Screen:
    """A terminal whose last rows are drawn anew, below lines that stay."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._stream = stream
        self._console = Console(file=stream, highlight=False, emoji=False, markup=False)
        # No thread of its own: steps are forked from this process.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._is_live = False

    def draw(self, rows: Sequence[Any]) -> None:
        """Replaces the last rows."""
        from rich.console import Group

        self._measure()
        if rows and not self._is_live:
            self._live.start()
            self._is_live = True
        if self._is_live:
            self._live.update(Group(*rows), refresh=True)
        if not rows:
            self.close()

    def write(self, line: str, style: str = "", *, is_cut: bool = False) -> None:
        """Writes a line above them; longer ones wrap, or are cut."""
        from rich.text import Text

        self.write_row(Text(shown_message(line), style), is_cut=is_cut)

    def write_step(self, result: NodeResult) -> None:
        """Writes what became of a step, its state in colour."""
        from rich.text import Text

        text = Text(shown_message(f"{_heading(result)}{result.reason}"))
        text.stylize(_STYLES.get(result.state, ""), NAME_WIDTH, NAME_WIDTH + len(result.state))
        self.write_row(text)

    def write_row(self, row: Any, *, is_cut: bool = True) -> None:
        """Writes one of the last rows as a line that stays."""
        self._measure()
        self._console.print(row, no_wrap=is_cut, overflow="ellipsis" if is_cut else "fold")

    def _measure(self) -> None:
        # Rich asks stdin, stdout and stderr, not the stream, and once only.
        self._console.width = os.get_terminal_size(self._stream.fileno()).columns

    def close(self) -> None:
        """Removes the last rows."""
        if self._is_live:
            self._live.stop()
            self._is_live = False


class TerminalHandler(_StreamHandler):
    """Writes records as lines, and progress as a bar on the last line of the terminal.

    Where the stream is no terminal, progress is a line every ten seconds.
    """

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(stream)
        self._screen = Screen(stream) if _has_room(stream) else None
        if self._screen is not None:
            # Every look at the work makes a record, not only one in ten seconds.
            progress.LOGGER.setLevel(logging.DEBUG)

    def format(self, record: logging.LogRecord) -> str:
        """The record's text; names in it are shown, not obeyed."""
        return shown_message(super().format(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record, or moves the bar."""
        try:
            state = progress.state_of(record)
            if self._screen is None:
                if state is None or record.levelno >= logging.INFO:
                    super().emit(record)
            elif state is None:
                self._screen.write(self.format(record))
            elif state.is_ended:
                self._screen.draw([])
                self._screen.write_row(bar_of(state))
            else:
                self._screen.draw([bar_of(state)])
        except Exception:
            self.handleError(record)


def is_shown(result: NodeResult) -> bool:
    """The baseline's look-up is part of the evaluation."""
    return result.name != "baseline" or result.state == FAILED


def bar_of(state: ProgressState) -> Any:
    """How far work has come: label, bar, share, counts, speed, time left, note."""
    from rich.text import Text

    share = state.done / state.total if state.total else 1.0
    left = state.seconds_left
    facts = [f"{share:4.0%} {state.done}/{state.total}"]
    if left is not None and not state.is_ended:
        facts.append(f"{progress.clock(left)} left")
    facts.append(f"{state.per_second:.0f} {state.unit}/s")
    facts += [state.note] if state.note else []
    full = round(share * _BAR_WIDTH)
    return Text.assemble(
        f"  {state.label:<{_LABEL_WIDTH}} ",
        ("━" * full, "green"),
        ("━" * (_BAR_WIDTH - full), "dim"),
        shown(f" {', '.join(facts)}"),
        overflow="ellipsis",
        no_wrap=True,
    )


def _line_of(step: str, running: _Running) -> Any:
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(width=NAME_WIDTH - 1, no_wrap=True)
    row.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    row.add_column(justify="right", no_wrap=True)
    seconds = time.monotonic() - running.started
    row.add_row(
        Text(step, style="bold"), Text(shown(running.message)), Text(progress.clock(seconds))
    )
    return row


def _heading(result: NodeResult) -> str:
    return f"{result.name:<{NAME_WIDTH - 1}} {result.state:<8}{result.seconds:7.1f} s  "


def _has_room(stream: IO[str]) -> bool:
    """Whether rows can be drawn: on a terminal that knows its width."""
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    return os.get_terminal_size(stream.fileno()).columns > 0
