"""Labels files: class names by class index, as TF-Slim (`index:name`) and TFDS write them."""

from __future__ import annotations

import re

from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest.sources import names
from slimworks.components.ingest.sources.items import display_name, quoted_name
from slimworks.components.ingest.sources.opening import unreadable
from slimworks.components.ingest.storage import access

_INDEXED = re.compile(r"\s*(\d{1,9})\s*:(.*)")
_MAX_BYTES = 64 << 20  # a million classes with long names


def read_labels(path: str) -> dict[int, str]:
    """Class names by index, in the order of the indices.

    Where every line is `index:name` the indices count, else a name's line does, from 0.

    Raises:
        ConfigError: There is no such file.
        DataError: It names no class, or one index or name twice.
    """
    lines = [line for line in _text(path).split("\n") if line.strip()]
    found = [_INDEXED.fullmatch(line) for line in lines]
    if all(found):
        pairs = [(int(match[1]), match[2]) for match in found if match]
    else:
        pairs = list(enumerate(lines))
    labels = {index: names.class_name_of(name.strip()) for index, name in sorted(pairs)}
    shown = display_name(path)
    if not labels:
        raise DataError(f"The labels file {shown} names no class.", _FIX)
    if len(labels) < len(pairs) or len(set(labels.values())) < len(labels):
        raise DataError(f"The labels file {shown} has {_double(pairs)} twice.", _FIX)
    if not all(labels.values()):
        raise DataError(f"The labels file {shown} has an index without a name.", _FIX)
    return labels


_FIX = "Write one class a line, such as 0:cats, and give it: --set data.labels_file=FILE"


def _double(pairs: list[tuple[int, str]]) -> str:
    seen: set[int | str] = set()
    for index, text in pairs:
        name = names.class_name_of(text.strip())
        if index in seen:
            return f"the index {index}"
        if name in seen:
            return f"the name {name!r}"
        seen |= {index, name}
    raise ValueError("nothing is there twice")


def _text(path: str) -> str:
    try:
        with access.open_binary(path) as stream:
            data = stream.read(_MAX_BYTES)
    except FileNotFoundError:
        raise ConfigError(
            f"The labels file {display_name(path)} does not exist.",
            "Correct it: --set data.labels_file=FILE",
        ) from None
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise DataError(
            f"The labels file {display_name(path)} is not UTF-8.",
            f"Convert it: iconv -f latin1 -t utf-8 {quoted_name(path)}",
        ) from None
