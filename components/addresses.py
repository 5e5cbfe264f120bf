"""Accounts that stand in addresses: what is kept or shown must not hold them."""

from __future__ import annotations

import re

HIDDEN = "***"

# A password may hold '/' and '@'; of `http://host:8500/a@b` the part behind the colon is a port.
_ACCOUNT = re.compile(r"(?<=://)[^/\s@:]*:(?!\d+(?:[/?#]|$))\S*@")
# The same without a scheme, as HOST:PORT is written; `image@sha256:1f0c...` is none.
_ACCOUNT_OF_HOST = re.compile(r"[^/\s@:=,'\"\[]+:(?!//)[^\s@]+@(?=[^/\s@:]+:\d{1,5}(?!\w))")
_USER = re.compile(r"(?<=://)[^/\s]*@")


def holds_account(text: str) -> bool:
    """Whether there is a `user:password@` in an address within a text."""
    return bool(_ACCOUNT.search(text) or _ACCOUNT_OF_HOST.search(text))


def without_accounts(text: str) -> str:
    """A text with `***` for what stands before the '@' of its addresses."""
    for account in (_ACCOUNT, _ACCOUNT_OF_HOST, _USER):
        text = account.sub(f"{HIDDEN}@", text)
    return text
