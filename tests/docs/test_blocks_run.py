"""Every block of every document that can run here is run, in order: `make test-docs`."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from code_blocks import Block
from documents import PAGES, ROOT, run_blocks
from ports import free_port
from workshop import copy_of, prepared, run_id

from slimworks.components.serving.process import ServerProcess

pytestmark = [pytest.mark.docs, pytest.mark.shared, pytest.mark.timeout(1_800)]

PORTS = ("8500", "8501", "8510")
# Of a page, `await` may stand outside of a function, as in Python's own `python -m asyncio`.
PYTHON = """\
import ast, asyncio, inspect, sys
code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
names = {"__name__": "__main__"}
result = eval(code, names)
if inspect.iscoroutine(result):
    asyncio.run(result)
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    base = tmp_path_factory.getbasetemp()
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    return prepared(base.parent if is_worker else base, shared)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_blocks_of_the_page_run(name: str, workshop: Path, tmp_path: Path) -> None:
    page = PAGES[name]
    copy_of(workshop, tmp_path, page.needs)
    replaced = {
        old: new.format(folder=tmp_path, run_id=run_id(workshop))
        for old, new in page.replaced.items()
    } | {port: str(free_port()) for port in PORTS}
    with (
        _servers(tmp_path, replaced[PORTS[0]]) as environment,
        _served(tmp_path, page.served, replaced),
    ):
        for block in run_blocks(ROOT / name):
            _run(block, replaced, tmp_path, environment)


def _run(block: Block, replaced: dict[str, str], folder: Path, environment: dict[str, str]) -> None:
    text = block.text
    for old, new in replaced.items():
        text = (
            re.sub(rf"(?<![\w]){re.escape(old)}(?!\w)", new, text)
            if old[-1].isalnum()
            else (text.replace(old, new))
        )
    if block.language == "python":
        (folder / "block.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-c", PYTHON, "block.py"]
    else:
        command = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, (
        f"{block} ends with {done.returncode}:\n{text}\n{done.stdout[-1500:]}\n"
        f"{done.stderr[-3000:]}"
    )


@contextlib.contextmanager
def _servers(folder: Path, port: str) -> Iterator[dict[str, str]]:
    """The environment of a shell in the folder; ends the servers that were started from it."""
    pids = folder / "servers.txt"
    pids.touch()
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "SLIMWORKS_SERVERS": str(pids),
        "SLIMWORKS_DEFAULT_PORT": port,
        "BROWSER": "true",  # the program of that name, for `--open`
        "no_proxy": "127.0.0.1,localhost",
    }
    try:
        yield environment
    finally:
        for pid in pids.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(pid), signal.SIGTERM)


@contextlib.contextmanager
def _served(folder: Path, name: str, replaced: dict[str, str]) -> Iterator[None]:
    """A server of `serving/photos` where the document takes one for granted."""
    if not name:
        yield
        return
    config = (folder / "models.config").read_text("utf-8").replace("flowers", name)
    (folder / "served.config").write_text(config, encoding="utf-8")
    flags = (
        f"--model_config_file={folder / 'served.config'}",
        "--allow_version_labels_for_unavailable_models",
    )
    with ServerProcess("", "", port=int(replaced["8500"]), extra_flags=flags) as server:
        replaced["8501"] = server.rest_address.rpartition(":")[2]
        yield
