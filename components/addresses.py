"""Accounts that stand in addresses: what is kept or shown must not hold them.

Addresses come from rows of other people's manifests too: the time grows with the length only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

HIDDEN = "***"

# A password may hold '/' and '@'; of `http://host:8500/a@b` the part behind the colon is a port.
_USER_OF_SCHEME = re.compile(r"(?<=://)[^/\s@:]*:(?!\d+(?:[/?#]|$))")
# The same without a scheme, as HOST:PORT is written; `image@sha256:1f0c...` is none.
_USER_OF_HOST = re.compile(r"(?<![^/@:=,'\"\[])[^/@:=,'\"\[]+:(?!//)(?=.)")
_HOST_AND_PORT = re.compile(r"[^/@:]+:\d{1,5}(?!\w)")
_USER = re.compile(r"(?<=://)[^/\s]*@")
_TOKEN = re.compile(r"https?://[^/\s@]+@", re.IGNORECASE)  # of the web also without a password


def holds_account(text: str) -> bool:
    """Whether there is a `user:password@`, or a web address's `token@`, within a text."""
    if "@" not in text:
        return False
    words = (word for word in text.split() if "@" in word)
    return any(_hidden(word) != word or _TOKEN.search(word) for word in words)


def without_accounts(text: str) -> str:
    """A text with `***` for what stands before the '@' of its addresses."""
    if "@" not in text:
        return text
    text = re.sub(r"\S+", lambda word: _hidden(word[0]), text)
    return _USER.sub(f"{HIDDEN}@", text)


def _hidden(word: str) -> str:
    """A word without blanks, `***` for the accounts that have passwords."""
    last = word.rfind("@")
    user = _USER_OF_SCHEME.search(word)
    if user and user.end() <= last:
        word = word[: user.start()] + HIDDEN + word[last:]
    return "".join(_parts(word))


def _parts(word: str) -> Iterator[str]:
    """The word again; of `name:password@host:port` the first part is hidden."""
    start = 0
    while (at := word.find("@", start)) >= 0:
        part = word[start:at]
        user = _USER_OF_HOST.search(part)
        is_account = user and _HOST_AND_PORT.match(word, at + 1)
        yield part[: user.start()] + HIDDEN if user and is_account else part
        yield "@"
        start = at + 1
    yield word[start:]
