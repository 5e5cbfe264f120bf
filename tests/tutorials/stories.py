"""Follows a story of docs/tutorials, beside other tests on the same machine."""

from __future__ import annotations

import dataclasses
import re
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

from tutorials.page_runner import ROOT, CodeBlock, PageRunner, sections

PORT = "8500"  # as the pages have it; another test may use the same
SECONDS = 3_600.0  # for a block
_NOT_RUN = "<!-- not run: "  # the line above a block that is only read says why


def follow(
    name: str, folder: Path, variables: Mapping[str, str], without: Collection[str] = ()
) -> str:
    """Does what docs/tutorials/<name> says; returns all that is printed.

    Args:
        name: Of the page.
        folder: Where its reader is.
        variables: That the page lets a reader export first.
        without: Sections that are left out.

    Raises:
        BlockError: A block fails.
    """
    page = ROOT / "docs/tutorials" / name
    lines = page.read_text(encoding="utf-8").splitlines()
    blocks = [
        block
        for section, found in sections(page)
        if section not in without
        for block in found
        if block.is_done and not lines[block.line - 2].startswith(_NOT_RUN)
    ]
    port = str(_free_port())
    with PageRunner(folder, {"PYTHONPATH": str(ROOT), **variables}, SECONDS) as runner:
        return "".join(runner.do(_with_port(block, port)) for block in blocks)


def _with_port(block: CodeBlock, port: str) -> CodeBlock:
    return dataclasses.replace(block, text=re.sub(rf"\b{PORT}\b", port, block.text))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
