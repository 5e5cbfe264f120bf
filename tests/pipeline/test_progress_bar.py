"""What a terminal shows of progress, and what a file gets."""

import fcntl
import io
import logging
import os
import pty
import struct
import termios
from collections.abc import Iterator
from typing import IO

import pytest

from slimworks.components import progress
from slimworks.components.progress import Progress
from slimworks.pipeline.progress_bar import TerminalHandler


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
    while not text.endswith(end.encode()):
        text += os.read(screen, 100_000)
    return text.decode()


def test_terminal_gets_a_bar_with_speed_below_the_log(
    terminal: tuple[IO[str], int], logger: logging.Logger
) -> None:
    stream, screen = terminal
    logger.addHandler(TerminalHandler(stream))
    with Progress("check", 8_000) as shown:
        shown.update(2_000)
        logger.info("a line")
        shown.update(8_000)
    logger.info("the end")
    text = read_until(screen, "the end\r\n").removesuffix("the end\r\n")
    assert "check" in text
    assert " 25%|" in text
    assert "2000/8000" in text
    assert "images/s]" in text
    assert "\r\x1b[Ka line\r\n" in text
    assert text.rstrip("\r\n").rpartition("\r")[2].lstrip().startswith("check")
    assert "8000/8000" in text.rpartition("\r\n")[0].rpartition("\r")[2]


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
