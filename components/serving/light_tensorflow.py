"""Starts TensorFlow's session without importing all of TensorFlow.

`import tensorflow` builds the whole public API: 3.5 CPU seconds and 400 MB. A server runs
graphs and needs only `tensorflow.python.client.session` and what that imports: 0.6 seconds. Any
import below `tensorflow` first runs `tensorflow/__init__.py`, so an empty package object with
the right search path takes its place.
"""

from __future__ import annotations

import importlib.machinery
import sys
import types


def install() -> None:
    """Puts the light package in place, unless TensorFlow was imported already.

    For a process that only serves: `tensorflow.constant` and the like do not exist afterwards.
    """
    if "tensorflow" in sys.modules:
        return
    spec = importlib.machinery.PathFinder.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("TensorFlow is not installed", name="tensorflow")
    package = types.ModuleType("tensorflow")
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    package.__file__ = spec.origin
    sys.modules["tensorflow"] = package
