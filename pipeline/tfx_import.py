"""Imports TFX without its own components, which nothing here uses, and without its noise.

`tfx.orchestration.portable.launcher` needs one constant below `tfx.components`; importing that
package the ordinary way loads TFDV, TFT, TFMA and the example generators: 3 s and 250 MB.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import logging
import os
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

_PACKAGE = "tfx.components"


class _PathOnlyPackage(types.ModuleType):
    """A package whose submodules can be imported and whose own names cannot."""

    def __getattr__(self, name: str) -> object:
        raise AttributeError(
            f"{_PACKAGE}.{name} is not loaded here; import the submodule that defines it"
        )


def prepare() -> None:
    """Makes `import tfx...` quick and quiet. Call before the first TFX import."""
    # Not even errors from C++: those that matter come back as exceptions; the others are about
    # CUDA on machines without it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    warnings.filterwarnings("ignore", r"You are using a .*Python version", FutureWarning)
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger().addFilter(_is_wanted)
    if _PACKAGE in sys.modules:
        return
    spec = importlib.util.find_spec("tfx")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "components"
    package = _PathOnlyPackage(_PACKAGE)
    package.__path__ = [str(folder)]
    package.__spec__ = importlib.machinery.ModuleSpec(_PACKAGE, None, is_package=True)
    sys.modules[_PACKAGE] = package


def load() -> None:
    """Imports TensorFlow and TFX's launcher, once, before nodes are forked."""
    prepare()
    with _native_stderr_silenced():
        import tensorflow  # noqa: F401
        from tfx.orchestration.portable import launcher  # noqa: F401


def _is_wanted(record: logging.LogRecord) -> bool:
    """Beam warns at import about a package that it does not need beside google-crc32c."""
    return not str(record.msg).startswith("crcmod package not found")


@contextlib.contextmanager
def _native_stderr_silenced() -> Iterator[None]:
    """Drops what C++ prints while libraries load: CUDA plug-ins registered twice on any CPU.

    An import that fails still raises: only file descriptor 2 is silent.
    """
    sys.stderr.flush()
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
