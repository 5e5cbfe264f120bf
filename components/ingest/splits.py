"""Which split an image belongs to: a function of its key alone, so that growth changes nothing."""

from __future__ import annotations

import hashlib
import re

_SCALE = 2**64


def _position(key: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{key}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / _SCALE


def split_of(key: str, eval_fraction: float, test_fraction: float, seed: int = 0) -> str:
    """Returns "train", "eval" or "test" for a group or image id.

    Test comes first on the line from 0 to 1, so that another eval_fraction moves no image into
    or out of the test split.
    """
    position = _position(key, seed)
    if position < test_fraction:
        return "test"
    if position < test_fraction + eval_fraction:
        return "eval"
    return "train"


def group_of(relative_path: str, pattern: re.Pattern[str] | None) -> str | None:
    """Returns the group that `pattern` finds in the path, or None where it finds none."""
    match = pattern.search(relative_path) if pattern else None
    if match is None:
        return None
    return match.group(1) if match.re.groups else match.group(0)


def shuffle_key(image_id: str, seed: int) -> bytes:
    """Sort key that puts images into a seeded random order, independent of names and classes."""
    return hashlib.sha256(f"shuffle:{seed}:{image_id}".encode()).digest()
