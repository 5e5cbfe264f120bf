"""Looks at the machine: each check says what it found and, where it fails, the fix."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import socket
import tempfile
from pathlib import Path

import psutil

from slimworks.components import processor
from slimworks.components.errors import SlimWorksError
from slimworks.pipeline import stacks

MIN_FREE_BYTES = (
    5 * 2**30
)  # examples, transformed examples and checkpoints of a few thousand photos
MIN_MEMORY_BYTES = 4 * 2**30  # training inception_v3 with batch 32 peaks below this

VECTOR_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@dataclasses.dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    is_healthy: bool
    found: str
    fix: str = ""


def examine(root: str, server: str | None, model_name: str, is_quick: bool = False) -> list[Check]:
    """Runs every check.

    Args:
        root: Run root that is to be written.
        server: host:port of a model server, or None.
        model_name: Model to ask the server for.
        is_quick: Only what can go wrong while a run goes on: a container's health check, which
            must not mind the memory and the cores that the run itself takes.
    """
    stack = stacks.meant_stack()
    packages = [_package(name, prefix) for name, prefix in stack.packages.items()]
    checks = [_stack(stack), _python(stack), *packages]
    if is_quick:
        return [*checks, _disk(root), _writable(root)]
    checks += [
        _processor(),
        _gpu(stack),
        _huge_pages(),
        _memory(),
        _disk(root),
        _writable(root),
        _loopback(),
    ]
    if server:
        checks.append(_server(server, model_name))
    return checks


def _stack(stack: stacks.Stack) -> Check:
    library, version = platform.libc_ver()
    return Check("stack", True, f"{stack.name}, {library or 'no glibc'} {version}".rstrip())


def _python(stack: stacks.Stack) -> Check:
    version = stacks.python_version()
    is_tested = version in stack.tested_pythons
    return Check(
        "python",
        version in stack.pythons,
        platform.python_version() + ("" if is_tested else ", not tested: docs/stacks.md"),
        f"TFX {stack.packages['tfx']}x has wheels for Python "
        f"{stack.pythons[0]} to {stack.pythons[-1]}: use one of these.",
    )


def _package(name: str, prefix: str) -> Check:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(
            name, False, "not installed", "Run `make setup`, or pip install slimworks[pipeline]."
        )
    return Check(
        name,
        version.startswith(prefix),
        version,
        f"Install {name} {prefix}x: make setup, or the lock that docs/stacks.md names.",
    )


def _processor() -> Check:
    flags = processor.cpu_flags()
    offers = [flag for flag in VECTOR_FLAGS if flag in flags]
    has_bfloat16 = flags & processor.BFLOAT16_FLAGS
    return Check(
        "processor",
        not flags or "avx" in flags,
        f"{os.cpu_count()} cores, {processor.num_usable_cores():g} of them usable, "
        f"{', '.join(offers) or 'no vector extensions known'}"
        + ("; train.bfloat16 has instructions of its own" if has_bfloat16 else ""),
        "TensorFlow's wheels need a processor with AVX.",
    )


def _gpu(stack: stacks.Stack) -> Check:
    """Asks TensorFlow, seconds to import, only where the driver knows a GPU."""
    models = processor.nvidia_gpus()
    if not models:
        return Check("gpu", True, "none: training runs on the processor")
    import tensorflow as tf

    num_seen = len(tf.config.list_physical_devices("GPU"))
    return Check(
        "gpu",
        num_seen == len(models),
        f"{', '.join(models)}; TensorFlow sees {num_seen} of {len(models)}",
        f"Install the CUDA libraries, pip install "
        f"'tensorflow[and-cuda]=={stack.packages['tensorflow']}*', and look at "
        "CUDA_VISIBLE_DEVICES.",
    )


def _huge_pages() -> Check:
    mode = HUGE_PAGES.read_text("ascii") if HUGE_PAGES.exists() else ""
    chosen = mode.partition("[")[2].partition("]")[0] or "unknown"
    is_on = chosen == "always" or "hugetlb=1" in os.environ.get("GLIBC_TUNABLES", "")
    hint = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1 lets training use them"
    wants_hint = chosen == "madvise" and not is_on
    return Check("huge pages", True, f"{chosen}; {hint}" if wants_hint else chosen)


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
