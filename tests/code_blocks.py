"""The fenced blocks of documents, and why one of them is not run."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

RUN_LANGUAGES = ("bash", "python")

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)``` *$",
    re.M | re.S,
)
_TITLE = re.compile(r'\btitle="([^"]+)"')
# On the line above the block: <!-- not run: needs a cluster -->
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^\n]*?) -->\n+\Z")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        path: The document.
        line: Of the opening fence, from 1.
        language: The word behind the fence; empty where there is none.
        title: Of the file that the block is; None for others.
        text: Its lines, without the fence's own indentation.
        not_run: The reason that the document gives for not running it; else empty.
    """

    path: Path
    line: int
    language: str
    title: str | None
    text: str
    not_run: str = ""

    @property
    def is_done(self) -> bool:
        """Whether a reader does something with it: types it or writes it into a file."""
        return self.title is not None or self.language in RUN_LANGUAGES

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"


def code_blocks(path: Path) -> list[Block]:
    """All fenced blocks of a Markdown document, in their order."""
    document = path.read_text(encoding="utf-8")
    blocks = []
    for match in _FENCE.finditer(document):
        before = document[: match.start()]
        marked = _NOT_RUN.search(before)
        title = _TITLE.search(match["info"])
        lines = [line.removeprefix(match["indent"]) for line in match["text"].splitlines()]
        blocks.append(
            Block(
                path,
                before.count("\n") + 1,
                match["language"],
                title[1] if title else None,
                "\n".join(lines),
                marked["reason"].strip() if marked else "",
            )
        )
    return blocks
