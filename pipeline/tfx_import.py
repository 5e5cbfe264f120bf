"""Imports TFX without its own components, which nothing here uses.

`tfx.orchestration.portable.launcher` needs one constant below `tfx.components`; importing that
package the ordinary way loads TFDV, TFT, TFMA and the example generators: 3 s and 250 MB.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
import os
import sys
import types
import warnings
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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"google\.")
    logging.getLogger("absl").setLevel(logging.ERROR)
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
