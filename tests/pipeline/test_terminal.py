"""What a terminal shows of progress, and what a file gets."""

import fcntl
import io
import logging
import os
import pty
import re
import struct
import termios
from collections.abc import Iterator
from typing import IO

import pytest

from slimworks.components import progress
from slimworks.components.progress import Progress, ProgressState
from slimworks.pipeline import launcher
from slimworks.pipeline.launcher import NodeResult
from slimworks.pipeline.terminal import LiveView, PlainView, StepRecord, TerminalHandler, new_view


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[IO[str], int]]:
    """The program's end of a terminal, and the descriptor of the person's end."""
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    with os.fdopen(theirs, "w", buffering=1, encoding="utf-8") as stream:
        yield stream, ours
    os.close(ours)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The logger of SlimWorks as it was before, afterwards."""
    slimworks = logging.getLogger("slimworks")
    before, level = list(slimworks.handlers), slimworks.level
    slimworks.setLevel(logging.INFO)
    yield slimworks
    slimworks.handlers[:] = before
    slimworks.setLevel(level)
    progress.LOGGER.setLevel(logging.NOTSET)


def read_until(screen: int, end: str) -> str:
    """What was written up to `end`: the system hands it over bit by bit."""
    text = b""
    while end.encode() not in text:
        text += os.read(screen, 100_000)
    return text.decode()


def screen_of(text: str) -> list[str]:
    """The rows that a person sees: what was drawn anew is gone."""
    rows, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif part.startswith("\x1b["):
            if part.endswith("A"):
                row -= int(part[2:-1] or 1)
            elif part == "\x1b[2K":
                rows[row] = ""
        elif part != "\r":
            rows[row] += part
    return [one.rstrip() for one in rows if one.strip()]


def test_terminal_gets_a_bar_with_speed_below_the_log(
    terminal: tuple[IO[str], int], logger: logging.Logger
) -> None:
    stream, screen = terminal
    logger.addHandler(TerminalHandler(stream))
    with Progress("check", 8_000, note=lambda: "loss 0.120") as shown:
        shown.update(2_000)
        logger.info("a line")
        half = read_until(screen, "a line\r\n")
        shown.update(8_000)
    logger.info("the end")
    rest = read_until(screen, "the end\r\n")
    assert re.search(r"check .* 25% 2000/8000, 0:0\d left, \d+ images/s, loss 0\.120", half)
    rows = screen_of(half + rest)
    assert rows[0] == "a line"
    assert re.search(r"^  check .*100% 8000/8000, \d+ images/s, loss 0\.120$", rows[1])
    assert rows[2:] == ["the end"]


RESULT = NodeResult("trainer", launcher.RAN, 12.34, "first run")
INFO = StepRecord(logging.INFO, "epoch 3 of 6: " + "long " * 40)


def test_a_run_on_a_terminal_keeps_a_line_for_each_step(terminal: tuple[IO[str], int]) -> None:
    stream, screen = terminal
    with new_view(stream) as view:
        assert isinstance(view, LiveView)
        view.started("trainer")
        view.record("trainer", StepRecord(logging.INFO, "epoch 1 of 6"))
        view.record("trainer", StepRecord(logging.WARNING, "the loss is nan"))
        state = ProgressState("train", "images", 40, 160, 0, 4.0, False, "loss 0.5")
        view.record("trainer", StepRecord(logging.DEBUG, "", state))
        view.record("trainer", INFO)
        view.tick()
        stream.write("MARK")
        stream.flush()
        half = read_until(screen, "MARK").removesuffix("MARK")
        view.ended(RESULT)
        view.ended(NodeResult("baseline", launcher.RAN, 0.1, "first run"))
    stream.write("END\n")
    seen, rows = screen_of(half), screen_of(half + read_until(screen, "END\r\n"))
    assert seen[0] == "  trainer   the loss is nan"
    assert seen[1].startswith("trainer     epoch 3 of 6: long long")
    assert re.fullmatch(r".*… 0:0\d", seen[1])
    assert re.search(r"^  train .* 25% 40/160, 0:12 left, 10 images/s, loss 0\.5", seen[2])
    assert all(len(row) <= 100 for row in seen)
    assert "trainer     ran        12.3 s  first run" in rows
    assert not any("baseline" in row for row in rows)
    assert not any("40/160" in row for row in rows)


@pytest.mark.parametrize(("variable", "has_colour"), [("", True), ("NO_COLOR", False)])
def test_colours_are_off_by_no_color(
    terminal: tuple[IO[str], int],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    has_colour: bool,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if variable:
        monkeypatch.setenv(variable, "1")
    stream, screen = terminal
    with LiveView(stream) as view:
        view.started("trainer")
        view.ended(RESULT)
    stream.write("END\n")
    assert ("\x1b[32m" in read_until(screen, "END\r\n")) == has_colour


def test_a_run_in_a_file_has_every_line() -> None:
    stream = io.StringIO()
    with new_view(stream) as view:
        assert isinstance(view, PlainView)
        view.started("trainer")
        view.record("trainer", INFO)
        view.record("trainer", StepRecord(logging.DEBUG, "a look"))
        view.tick()
        view.ended(RESULT)
    assert stream.getvalue().splitlines() == [
        f"  trainer    {INFO.message}",
        "trainer     ran        12.3 s  first run",
    ]


def test_file_gets_lines_without_a_bar(logger: logging.Logger) -> None:
    stream = io.StringIO()
    logger.addHandler(TerminalHandler(stream))
    with Progress("check", 10) as shown:
        shown.update(5)
        logger.info("a line")
    assert stream.getvalue() == "a line\n"


def test_terminal_without_a_width_gets_lines(logger: logging.Logger) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", buffering=1, encoding="utf-8") as stream:
        logger.addHandler(TerminalHandler(stream))
        with Progress("check", 10):
            logger.info("a line")
        assert read_until(ours, "\n") == "a line\r\n"
    os.close(ours)


def test_dumb_terminal_gets_lines(
    terminal: tuple[IO[str], int], logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream, screen = terminal
    logger.addHandler(TerminalHandler(stream))
    with Progress("check", 10) as shown:
        shown.update(10)
        logger.info("a line")
    assert read_until(screen, "\n") == "a line\r\n"
