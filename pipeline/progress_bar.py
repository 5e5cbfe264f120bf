"""The bar that a terminal shows of `components/progress.py`, below the lines of the log."""

from __future__ import annotations

import logging
import os
from typing import IO, Any

from slimworks.components import progress
from slimworks.components.progress import ProgressState

CLEAR_LINE = "\r\x1b[K"
_FORMAT = (
    "{desc:<18} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
)


class TerminalHandler(logging.StreamHandler[IO[str]]):
    """Writes records as lines, and progress as a bar on the last line of the terminal.

    Where the stream is no terminal, progress is a line every ten seconds.
    """

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(stream)
        self._has_bar = _has_room(stream)
        self._bar: Any = None
        self._bar_label = ""
        if self._has_bar:
            # Every look at the work makes a record, not only one in ten seconds.
            progress.LOGGER.setLevel(logging.DEBUG)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record, or moves the bar."""
        try:
            state = progress.state_of(record)
            if state is None:
                self._write_line(record)
            elif self._has_bar:
                self._draw(state)
            elif record.levelno >= logging.INFO:
                super().emit(record)
        except Exception:
            self.handleError(record)

    def _write_line(self, record: logging.LogRecord) -> None:
        if self._bar is None:
            super().emit(record)
            return
        self.stream.write(CLEAR_LINE)
        super().emit(record)
        self._bar.refresh()

    def _draw(self, state: ProgressState) -> None:
        if self._bar is None or self._bar_label != state.label:
            self._close()
            self._bar, self._bar_label = _new_bar(state, self.stream), state.label
        if not self._bar.update(state.done - self._bar.n):
            self._bar.refresh()  # the time goes on where the number does not
        if state.is_ended:
            self._close()

    def _close(self) -> None:
        """Leaves the finished bar as a line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _has_room(stream: IO[str]) -> bool:
    """Whether a bar can be drawn: on a terminal that knows its width."""
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    return os.get_terminal_size(stream.fileno()).columns > 0


def _new_bar(state: ProgressState, stream: IO[str]) -> Any:
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread of its own: the state comes four times a second
    return tqdm(
        desc=f"  {state.label}", total=state.total, initial=state.initial, unit=f" {state.unit}",
        file=stream, dynamic_ncols=True, bar_format=_FORMAT, mininterval=0.0, miniters=0,
        smoothing=0.1,  # tasks end in clusters, but the start of an engine soon does not count
    )  # fmt: skip
