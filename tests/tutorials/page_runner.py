"""Code blocks of a page, run literally and in order, as someone who follows the page would.

    ```bash                       by bash -e; variables and the folder stay for the next one
    ```python                     in one interpreter a page
    ```python title="my_nets.py"  is written into that file; of any language
    ```text                       what is printed: not run

All blocks of a page share one folder. Between the pages nothing is shared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

ROOT = Path(__file__).parents[2]
RUN_LANGUAGES = ("bash", "python")
PHOTOS_VARIABLE = "PHOTOS"  # what pages call the reader's own photos

_FENCE = re.compile(r"^( *)```(\w*)([^\n`]*)\n(.*?)^\1```[ ]*$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'\btitle="([^"]+)"')
_SHOWN_CHARACTERS = 6000  # of what a failing block has printed
_END_SECONDS = 20.0

# Reads {"text", "line", "page"} a line, executes, answers {"error"} on the descriptor given.
_INTERPRETER = """
import json, os, sys, traceback
answers = os.fdopen(int(sys.argv[1]), "w", buffering=1)
sys.path.insert(0, "")
names = {"__name__": "__main__", "__builtins__": __builtins__}
for request in sys.stdin:
    block = json.loads(request)
    error = None
    try:
        source = "\\n" * block["line"] + block["text"]
        exec(compile(source, block["page"], "exec"), names)
    except BaseException:
        error = traceback.format_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    print(json.dumps({"error": error}), file=answers)
os._exit(0)
"""


@dataclasses.dataclass(frozen=True)
class CodeBlock:
    """One fenced block.

    Attributes:
        page: Where it stands.
        line: Of its fence, counted from one.
        language: As the fence says it; "" for none.
        title: Of a file that the block is; None for others.
        text: Without the fence's indent.
    """

    page: Path
    line: int
    language: str
    title: str | None
    text: str

    @property
    def is_done(self) -> bool:
        """Whether a reader does something with it: types it or writes it into a file."""
        return self.title is not None or self.language in RUN_LANGUAGES

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


class BlockError(AssertionError):
    """A block of a page does not do what it should."""


def read_blocks(page: Path) -> list[CodeBlock]:
    """Returns the blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for match in _FENCE.finditer(text):
        indent, language, info, body = match.groups()
        title = _TITLE.search(info)
        blocks.append(
            CodeBlock(
                page=page,
                line=text.count("\n", 0, match.start()) + 1,
                language=language,
                title=title[1] if title else None,
                text="".join(line.removeprefix(indent) for line in body.splitlines(keepends=True)),
            )
        )
    return blocks


def run_page(
    page: Path, folder: Path, environment: Mapping[str, str] | None = None, seconds: float = 600.0
) -> dict[str, str]:
    """Does all that a page says; returns what each block printed, by place.

    Args:
        page: A Markdown file.
        folder: Where its reader is; empty.
        environment: Variables besides this process's own, such as PHOTOS.
        seconds: That a block may take.

    Raises:
        BlockError: A block fails; what it printed is in the message.
    """
    with PageRunner(folder, environment, seconds) as runner:
        return {str(block): runner.do(block) for block in read_blocks(page) if block.is_done}


class PageRunner:
    """The shell and the interpreter of someone who follows a page."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str] | None = None, seconds: float = 600.0
    ) -> None:
        self._folder, self._seconds = folder, seconds
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        self._environment = {**os.environ, "PATH": path, **(environment or {})}
        self._state = folder / ".shell"  # variables and folder of the shell, between blocks
        self._output = folder / ".output"
        self._shells: list[int] = []
        self._python: subprocess.Popen[str] | None = None
        self._answers: IO[str] | None = None

    def __enter__(self) -> PageRunner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the interpreter, and what shells left in the background."""
        if self._python is not None:
            self._python.kill()
            self._python.wait()
            assert self._python.stdin is not None
            assert self._answers is not None
            with contextlib.suppress(BrokenPipeError):
                self._python.stdin.close()
            self._answers.close()
        for group in self._shells:
            _end_group(group)

    def do(self, block: CodeBlock) -> str:
        """Writes or runs one block; returns what it printed."""
        if block.title is not None:
            path = self._folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            return ""
        self._output.write_bytes(b"")
        run = self._run_python if block.language == "python" else self._run_bash
        fault = run(block)
        printed = self._output.read_text(encoding="utf-8", errors="replace")
        if fault is not None:
            raise BlockError(
                f"{block}: {fault}\n--- block\n{block.text}\n--- printed\n"
                f"{printed[-_SHOWN_CHARACTERS:]}"
            )
        return printed

    def _run_bash(self, block: CodeBlock) -> str | None:
        script = (
            "set -ae\n"  # every variable goes to the next block, and stops count
            f'if [ -f "{self._state}" ]; then . "{self._state}"; fi\n'
            f"{block.text}\n"
            f'{{ export -p; printf "cd %q\\n" "$PWD"; }} > "{self._state}"\n'
        )
        with open(self._output, "ab") as output:
            shell = subprocess.Popen(
                ["bash", "-c", script], cwd=self._folder, env=self._environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self._shells.append(shell.pid)
        try:
            code = shell.wait(self._seconds)
        except subprocess.TimeoutExpired:
            _end_group(shell.pid)
            shell.wait()
            return f"took longer than {self._seconds:.0f} s"
        return f"ended with code {code}" if code else None

    def _run_python(self, block: CodeBlock) -> str | None:
        if self._python is None:
            self._start_python()
        assert self._python is not None
        assert self._python.stdin is not None
        assert self._answers is not None
        request = {"text": block.text, "line": block.line, "page": block.page.name}
        self._python.stdin.write(json.dumps(request) + "\n")
        self._python.stdin.flush()
        answer = self._answers.readline()
        if not answer:
            return f"the interpreter ended with code {self._python.wait()}"
        error: str | None = json.loads(answer)["error"]
        return error

    def _start_python(self) -> None:
        reader, writer = os.pipe()
        with open(self._output, "ab") as output:
            self._python = subprocess.Popen(
                [sys.executable, "-c", _INTERPRETER, str(writer)],
                cwd=self._folder, env=self._environment, pass_fds=[writer],
                stdin=subprocess.PIPE, stdout=output, stderr=output, text=True,
            )  # fmt: skip
        os.close(writer)
        self._answers = os.fdopen(reader)


def _end_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + _END_SECONDS
        while time.monotonic() < deadline:
            os.killpg(group, 0)  # raises when all are gone
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


def sections(page: Path) -> Iterator[tuple[str, list[CodeBlock]]]:
    """The second-level headings of a page, each with its blocks; "" for those before the first."""
    text = page.read_text(encoding="utf-8")
    starts = [(0, ""), *((m.start(), m[1]) for m in re.finditer(r"^## (.+)$", text, re.MULTILINE))]
    lines = [(text.count("\n", 0, start) + 1, name) for start, name in starts]
    ends = [line for line, _ in lines[1:]] + [text.count("\n") + 2]
    for (start, name), end in zip(lines, ends, strict=True):
        yield name, [block for block in read_blocks(page) if start <= block.line < end]
