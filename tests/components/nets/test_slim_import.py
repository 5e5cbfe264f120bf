"""tf_slim finds what it looks for in today's TensorFlow."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from slimworks.components.nets.slim import slim

_INSIDE = "tensorflow.python"


def taken_from_tensorflow(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of whatever a file takes from modules of TensorFlow that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {
        name.asname or name.name: f"{node.module}.{name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(_INSIDE)
        for name in node.names
    }
    for node in ast.walk(tree):
        owner = node.value if isinstance(node, ast.Attribute) else None
        if isinstance(owner, ast.Name) and owner.id in modules:
            yield modules[owner.id], node.attr


def test_every_name_that_tf_slim_takes_from_tensorflow_is_there() -> None:
    files = [p for p in Path(slim.__file__).parent.rglob("*.py") if not p.stem.endswith("_test")]
    taken = {pair for path in files for pair in taken_from_tensorflow(path)}
    missing = {
        f"{module}.{name}"
        for module, name in taken
        if not hasattr(importlib.import_module(module), name)
    }
    assert len(taken) > 100
    assert missing == set()


def test_gradients_are_clipped_by_tf_slim() -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        slices = tf.IndexedSlices(tf.constant([[3.0, 4.0]]), tf.constant([0]), tf.constant([1, 2]))
        dense = tf.constant([6.0, 8.0])
        clipped = slim.learning.clip_gradient_norms([(slices, None), (dense, None)], 1.0)
        values = session.run([clipped[0][0].values, clipped[1][0]])
    np.testing.assert_allclose(values[0], [[0.6, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(values[1], [0.6, 0.8], rtol=1e-6)


def test_variables_of_tf_slim_are_made() -> None:
    with tf.Graph().as_default():
        variable = slim.local_variable(tf.constant(1.5), name="kept")
        assert tf.compat.v1.local_variables() == [variable]


def test_scikit_learn_is_imported_when_the_clustering_loss_asks_for_it() -> None:
    script = """
import sys
from slimworks.components.nets.slim import slim
from tf_slim.losses import metric_learning
assert not any(name.split(".")[0] == "sklearn" for name in sys.modules)
assert metric_learning.HAS_SKLEARN
score = metric_learning.metrics.v_measure_score
import sklearn.metrics
assert score is sklearn.metrics.v_measure_score
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)
