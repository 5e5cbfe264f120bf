"""A program on a terminal of its own, and pictures of what a person saw there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path

COLUMNS, LINES = 100, 40
_PART = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+")
_ERASED = "\x1b[2K"
# Fonts of the reader's own machine instead of one from the network.
_WEB_FONTS = re.compile(r"\s*@font-face \{\{.*?\}\}(?=\s)", re.DOTALL)


def recorded(command: Sequence[str], folder: Path) -> str:
    """Runs a command on a terminal; returns everything that it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 100_000)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    assert process.wait() == 0, written.decode()[-3000:]
    return written.decode()


def rows_of(text: str) -> list[str]:
    """The rows that are seen after a text, with their colours: what was drawn anew is gone."""
    rows, row = [""], 0
    for part in _PART.findall(text):
        if part == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif part == _ERASED:
            rows[row] = ""
        elif part.startswith("\x1b[") and part.endswith("A"):
            row = max(row - int(part[2:-1] or 1), 0)
        elif part.endswith("m") or not part.startswith(("\x1b", "\r")):
            rows[row] += part
    while rows and not plain(rows[-1]):
        rows.pop()
    return rows


def plain(row: str) -> str:
    """A row without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", row).strip()


def while_showing(text: str, *words: str) -> list[str]:
    """The rows of the last moment at which the lowest ones showed all of the words.

    A moment is complete where the next drawing begins: with the erasure of a row.
    """
    moments = [match.start() for match in re.finditer(re.escape(f"\r{_ERASED}"), text)]
    for moment in reversed(moments):
        rows = rows_of(text[:moment])
        if all(any(word in plain(row) for row in rows[-4:]) for word in words):
            return rows
    raise AssertionError(f"never on the screen: {words}")


def write_svg(rows: Sequence[str], path: Path, title: str) -> None:
    """Draws rows as a terminal's window."""
    from rich import terminal_theme
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for row in rows:
            console.print(Text.from_ansi(row), no_wrap=True, overflow="crop")
    drawn = console.export_svg(
        title=title,
        theme=terminal_theme.DIMMED_MONOKAI,
        code_format=_WEB_FONTS.sub("", CONSOLE_SVG_FORMAT),
        unique_id=path.stem,
    )
    path.write_text(drawn, encoding="utf-8")
