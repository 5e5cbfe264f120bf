r"""Text from files and names, for a terminal: shown as text, never obeyed.

Control characters move the cursor, change the window's title or the clipboard (ECMA-48); marks of
direction make a name look like another (Unicode Technical Report 36). Both become `\xNN`, `\uNNNN`.
"""

from __future__ import annotations

import logging
import re
from typing import IO

# Lines and tabs stay. C0 and C1 controls; marks of direction, overrides and isolates; halves of
# characters, which no terminal takes and which end a program that prints them.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# The same in JSON, where the rest is escaped already: this way the value stays what it is.
_OBEYED_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_FOLLOWING = "    "


def shown(text: str) -> str:
    r"""The text as a terminal may get it; a byte that is no UTF-8 (a surrogate) becomes `\xNN`."""
    return _OBEYED.sub(_escape, text)


def shown_line(text: str) -> str:
    """The same in one line: a name within a message begins no other."""
    return shown(text).replace("\n", "\\x0a")


def shown_message(text: str) -> str:
    """The same of a whole message: lines that follow stand further in, as none of ours begins."""
    return shown(text).replace("\n", f"\n{_FOLLOWING}")


def shown_json(text: str) -> str:
    """JSON of the same value, without a character that a terminal obeys."""
    return _OBEYED_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class _ShownFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return shown_message(super().format(record))  # no name may write a line of the log


def log_to(stream: IO[str], line: str) -> None:
    """Sends what this process logs to a terminal; requests and files put names into it.

    Args:
        stream: Of the terminal.
        line: `logging.Formatter`'s format.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_ShownFormatter(line))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
