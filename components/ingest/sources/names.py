"""What names tell: system files, sidecars, split words, class names that can be used."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from slimworks.components.examples.image_formats import READ_SUFFIXES

SYSTEM_NAMES = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r", "lost+found"}
)
SIDECAR_SUFFIXES = (".xmp", ".xml", ".json", ".txt", ".csv", ".aae", ".thm")
# Those that cannot be read count as images too: they are rejected by name, not passed over.
IMAGE_SUFFIXES = READ_SUFFIXES | (
    {".avif", ".heic", ".heif", ".ico", ".psd", ".svg", ".jxl", ".eps", ".pdf"}
)
SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "eval", "valid": "eval", "validation": "eval", "eval": "eval",
    "test": "test", "testing": "test",
}  # fmt: skip
# Sidecars are told by names that may come later: so many files wait for a second look at most.
_MAX_WAITING = 25_000
# Categories of characters that no class name may have: controls, and line and paragraph separators.
_FORBIDDEN = frozenset({"Cc", "Zl", "Zp"})

Named = TypeVar("Named")


def is_left_out(name: str) -> bool:
    """Whether a file or folder of this name is hidden or the system's own."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_image_name(name: str) -> bool:
    """Whether a name ends like an image's, readable or not."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def split_word(name: str) -> str | None:
    """Split that a whole word stands for, in any case; None for other words."""
    return SPLIT_WORDS.get(name.strip().lower())


def split_token(name: str) -> str | None:
    """Split that the last split word inside a name stands for: `flowers_train_00000-of-00005`."""
    found = [SPLIT_WORDS.get(token) for token in re.split(r"[^a-z]+", name.lower())]
    return next((split for split in reversed(found) if split), None)


def printable(text: str) -> str:
    r"""Text that UTF-8 can hold: undecodable bytes become `\xNN`, lone surrogates `\uNNNN`."""
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # JSON and tables can say what no file system can
        encoded = text.encode("utf-8", "backslashreplace")
    return encoded.decode("utf-8", "backslashreplace")


def class_name_of(text: str) -> str:
    """Class name in Unicode's composed form, printable."""
    return unicodedata.normalize("NFC", printable(text))


def has_control_character(name: str) -> bool:
    """Whether a class name would break labels.txt, which holds one name a line."""
    return any(unicodedata.category(letter) in _FORBIDDEN for letter in name)


def without_sidecars(
    list_again: Callable[[], Iterable[Named]], name_of: Callable[[Named], str]
) -> Iterator[Named]:
    """Yields all but the sidecars: `a.xmp` or `a.jpg.json` beside an image `a.jpg`.

    Args:
        list_again: Lists the files of one folder, or of one tree with their paths; called again
            where files are found that could be sidecars.
        name_of: Name, or path, of one of them.
    """
    waiting: dict[str, Named] = {}
    for file in list_again():
        name = name_of(file)
        if not name.lower().endswith(SIDECAR_SUFFIXES):
            yield file
            continue
        waiting[name] = file
        if len(waiting) >= _MAX_WAITING:
            yield from _without_owner(waiting, map(name_of, list_again()))
            waiting.clear()
    if waiting:
        yield from _without_owner(waiting, map(name_of, list_again()))


def _without_owner(waiting: dict[str, Named], names: Iterable[str]) -> list[Named]:
    by_stem: dict[str, list[str]] = {}
    for name in waiting:
        by_stem.setdefault(os.path.splitext(name)[0], []).append(name)
    owned: set[str] = set()
    for name in names:
        if is_image_name(name):
            owned.update(by_stem.get(name, ()))
            owned.update(by_stem.get(os.path.splitext(name)[0], ()))
    return [file for name, file in waiting.items() if name not in owned]
