"""What docstrings say: attributes of a record, the text of a module."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

_ATTRIBUTE = re.compile(r"^(\w+(?:, \w+)*): (.*)$")


def attributes_of(path: Path, class_name: str) -> Iterator[tuple[str, str]]:
    """(names, text) of each entry under `Attributes:` of a class, in order."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (node,) = [
        one for one in ast.walk(tree) if isinstance(one, ast.ClassDef) and one.name == class_name
    ]
    _, _, listed = (ast.get_docstring(node) or "").partition("Attributes:\n")
    entry: list[str] = []
    for line in textwrap.dedent(listed).splitlines():
        if _ATTRIBUTE.match(line) and entry:
            yield _split(entry)
            entry = []
        if line.strip():
            entry.append(line.strip())
    if entry:
        yield _split(entry)


def _split(entry: list[str]) -> tuple[str, str]:
    match = _ATTRIBUTE.match(" ".join(entry))
    assert match is not None, entry
    return match[1].replace(", ", "`, `"), match[2]


def module_text(path: Path) -> str:
    """The docstring of a module, as it stands."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
