"""Makes tf_slim importable on today's TensorFlow; other modules take `slim` from here.

Four faults of tf_slim 1.1.0 on TensorFlow 2.16 are cured without touching its files:

* `tensorflow.python.layers` loads `tf_keras.legacy_tf_layers` lazily, which has moved to
  `tf_keras.src.legacy_tf_layers`; the old names are entered in `sys.modules`.
* `_add_variable_to_collections` asks `variable in collection`, and `==` compares tensors
  element by element in TF2; it is replaced by a comparison of identities.
* Functions and classes that it takes from TensorFlow's inner modules stand in others now, such as
  `control_flow_ops.case` of its image reader; they are entered where it looks for them.
* That reader gives a GIF four dimensions, where it promises three; it takes the first frame now.

And scikit-learn, which only its clustering loss needs, is imported when that is used: 0.4 s less.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import tensorflow as tf

_MOVED_FROM, _MOVED_TO = "tf_keras.legacy_tf_layers", "tf_keras.src.legacy_tf_layers"
_MOVED_MODULES = (
    "base",
    "convolutional",
    "core",
    "normalization",
    "pooling",
    "variable_scope_shim",
    "migration_utils",
)
# In tensorflow.python: where tf_slim looks, where it is.
_MOVED_NAMES = {
    "framework.ops.IndexedSlices": "framework.indexed_slices.IndexedSlices",
    "framework.ops.Tensor": "framework.tensor.Tensor",
    "ops.array_ops.stack": "ops.array_ops_stack.stack",
    "ops.array_ops.unstack": "ops.array_ops_stack.unstack",
    "ops.control_flow_ops.Assert": "ops.control_flow_assert.Assert",
    "ops.control_flow_ops.case": "ops.control_flow_case.case",
    "ops.control_flow_ops.cond": "ops.cond.cond",
    "ops.control_flow_ops.while_loop": "ops.while_loop.while_loop",
    "ops.variable_scope.variable": "ops.variable_v1.VariableV1",
}


def _alias_moved_names() -> None:
    for old, new in _MOVED_NAMES.items():
        module, name = _module_and_name(old)
        if not hasattr(module, name):
            setattr(module, name, getattr(*_module_and_name(new)))


def _module_and_name(path: str) -> tuple[ModuleType, str]:
    module, _, name = path.rpartition(".")
    return importlib.import_module(f"tensorflow.python.{module}"), name


def _alias_legacy_layers() -> None:
    sys.modules.setdefault(_MOVED_FROM, importlib.import_module(_MOVED_TO))
    for name in _MOVED_MODULES:
        module = importlib.import_module(f"{_MOVED_TO}.{name}")
        sys.modules.setdefault(f"{_MOVED_FROM}.{name}", module)


class _ModuleOnUse(ModuleType):
    """A module that is imported when one of its names is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def _imported_on_use(name: str) -> Iterator[None]:
    """What is imported within gets a stand-in for the module `name`."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = _ModuleOnUse(name)
    try:
        yield
    finally:
        del sys.modules[name]


def _add_variable_to_collections(variable: Any, collections_set: Any, key: str) -> None:
    """Adds a layer's variable to the collections that its arg scope names for `key`."""
    names = collections_set.get(key) if isinstance(collections_set, dict) else collections_set
    for name in names or []:
        if all(variable is not other for other in tf.compat.v1.get_collection(name)):
            tf.compat.v1.add_to_collection(name, variable)


def _first_frame(contents: tf.Tensor, channels: int | None = None) -> tf.Tensor:
    return tf.io.decode_image(contents, channels=channels, expand_animations=False)


_alias_moved_names()
_alias_legacy_layers()

with _imported_on_use("sklearn.metrics"):
    import tf_slim as slim
from tf_slim import nets as published_nets  # noqa: E402
from tf_slim.data import tfexample_decoder as _decoder  # noqa: E402
from tf_slim.layers import layers as _layers  # noqa: E402

_layers._add_variable_to_collections = _add_variable_to_collections
_decoder.image_ops = SimpleNamespace(
    is_jpeg=tf.io.is_jpeg, decode_jpeg=tf.io.decode_jpeg, decode_image=_first_frame
)

__all__ = ["published_nets", "slim"]
