"""Looks at the machine: each check says what it found and, where it fails, the fix."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import psutil

from slimworks.components.errors import SlimWorksError

# What was tested together (requirements.lock); other versions may work.
STACK = {
    "tfx": "1.16.",
    "tensorflow": "2.16.",
    "tensorflow-serving-api": "2.16.",
    "tf-slim": "1.1.",
    "apache-beam": "2.",
    "kfp": "2.",
}
MIN_FREE_BYTES = (
    5 * 2**30
)  # examples, transformed examples and checkpoints of a few thousand photos
MIN_MEMORY_BYTES = 4 * 2**30  # training inception_v3 with batch 32 peaks below this


@dataclasses.dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    is_healthy: bool
    found: str
    fix: str = ""


def examine(root: str, server: str | None, model_name: str) -> list[Check]:
    """Runs every check.

    Args:
        root: Run root that is to be written.
        server: host:port of a model server, or None.
        model_name: Model to ask the server for.
    """
    checks = [_python(), *(_package(name, prefix) for name, prefix in STACK.items())]
    checks += [_processor(), _memory(), _disk(root), _writable(root), _loopback()]
    if server:
        checks.append(_server(server, model_name))
    return checks


def _python() -> Check:
    version = platform.python_version()
    return Check(
        "python",
        sys.version_info[:2] in ((3, 10), (3, 11)),
        version,
        "Use Python 3.11 (or 3.10): TFX 1.16 has wheels for no newer one.",
    )


def _package(name: str, prefix: str) -> Check:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(
            name, False, "not installed", "Run `make setup`, or pip install slimworks[pipeline]."
        )
    return Check(
        name, version.startswith(prefix), version, f"Install {name} {prefix}x: make setup."
    )


def _processor() -> Check:
    flags: set[str] = set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("flags"):
                flags = set(line.split(":", 1)[1].split())
                break
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    offers = [flag for flag in wanted if flag in flags]
    known = bool(flags)
    return Check(
        "processor",
        not known or "avx" in flags,
        f"{os.cpu_count()} cores, {', '.join(offers) or 'no vector extensions known'}",
        "TensorFlow's wheels need a processor with AVX.",
    )


def _memory() -> Check:
    memory = psutil.virtual_memory()
    return Check(
        "memory",
        memory.available >= MIN_MEMORY_BYTES,
        f"{memory.available / 2**30:.1f} GiB free of {memory.total / 2**30:.1f}",
        "Close other programs, or lower train.batch_size.",
    )


def _existing_parent(root: str) -> Path:
    path = Path(root).resolve()
    while not path.exists():
        path = path.parent
    return path


def _disk(root: str) -> Check:
    free = shutil.disk_usage(_existing_parent(root)).free
    return Check(
        "disk",
        free >= MIN_FREE_BYTES,
        f"{free / 2**30:.1f} GiB free for {root}",
        "Make room, or give another --root.",
    )


def _writable(root: str) -> Check:
    parent = _existing_parent(root)
    try:
        with tempfile.TemporaryFile(dir=parent):
            return Check("write permission", True, f"{parent} can be written")
    except OSError as error:
        return Check(
            "write permission",
            False,
            f"{parent}: {error.strerror}",
            "Give a --root that you may write to.",
        )


def _loopback() -> Check:
    try:
        with socket.create_server(("127.0.0.1", 0)):
            return Check("loopback", True, "a port on 127.0.0.1 can be opened")
    except OSError as error:
        return Check(
            "loopback", False, str(error), "The replay needs a port on 127.0.0.1: allow it."
        )


def _server(server: str, model_name: str) -> Check:
    from slimworks.components.serving.client import Client

    try:
        with Client(server, model_name, timeout_seconds=5.0) as client:
            return Check("server", True, f"{server} answers for {model_name}: {client.status()}")
    except SlimWorksError as error:
        return Check("server", False, error.cause, error.fix)
