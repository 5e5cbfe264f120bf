"""Variables, initial values, end points and outputs equal those recorded from TF-Slim."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components.nets import layout, nets_factory
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import REGISTRY

QUICK_LAYOUTS = {
    *("lenet", "cifarnet", "mobilenet_v1", "mobilenet_v1_075", "mobilenet_v1_050"),
    *("mobilenet_v1_025", "vgg_a", "alexnet_v2"),
}
QUICK_GOLDENS = {"lenet", "cifarnet", "mobilenet_v1_025", "inception_v1", "resnet_v1_50"}
WITHOUT_GOLDEN = frozenset(
    {
        *("mobilenet_v1_075", "mobilenet_v2_035", "mobilenet_v3_small"),
        *("mobilenet_v3_large_minimalistic", "mobilenet_edgetpu_075"),
        *("inception_v2", "inception_resnet_v2", "resnet_v2_101", "vgg_19"),
        *("nasnet_mobile", "pnasnet_mobile"),
    }
)


def _nets(quick: set[str], skipped: frozenset[str] = frozenset()) -> list[Any]:
    return [
        pytest.param(name, marks=() if name in quick else pytest.mark.slow)
        for name in REGISTRY
        if name not in skipped
    ]


@pytest.fixture(scope="module")
def golden(shared: Path) -> ModuleType:
    path = shared / "nets" / "golden.py"
    specification = importlib.util.spec_from_file_location("golden", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.shared
@pytest.mark.parametrize("name", _nets(QUICK_LAYOUTS))
def test_training_graph_equals_the_recorded_layout(name: str, shared: Path) -> None:
    spec = REGISTRY[name]
    folder = shared / "nets" / "layout"
    facts = json.loads((folder / f"{name}.facts.json").read_text())
    lines = (folder / f"{name}.tsv").read_text().splitlines()[1:]
    expected = [tuple(line.split("\t")[index] for index in (0, 1, 3)) for line in lines]
    net_graph = layout.build_graph(
        name,
        spec.num_classes,
        spec.default_image_size,
        spec.num_channels,
        is_training=True,
        weight_decay=0.5,
    )
    found = [
        (variable.name, "x".join(map(str, variable.shape)), str(int(variable.trainable)))
        for variable in net_graph.variables
    ]
    assert found == expected
    assert list(net_graph.end_points) == facts["train_end_points"]
    assert net_graph.logits.op.name == facts["logits_op"]
    updates = net_graph.graph.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)
    assert len(updates) == facts["update_ops"]
    assert _initializers(net_graph) == facts["initializers"]
    assert _decayed(net_graph.graph) == sorted(facts["regularized_with_weight_decay"])
    assert _batch_norm_epsilons(net_graph.graph) == facts["batch_norm_epsilon"]
    assert _random_operations(net_graph.graph) == set(facts["random_ops_in_training_graph"])


def _decayed(graph: tf.Graph) -> list[str]:
    losses = graph.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES)
    return sorted(
        operation.name
        for loss in losses
        for operation in layout.operations_behind([loss]).values()
        if operation.type == "VarHandleOp"
    )


def _batch_norm_epsilons(graph: tf.Graph) -> dict[str, int]:
    fused = [op for op in graph.get_operations() if op.type == "FusedBatchNormV3"]
    return dict(Counter(f"fused {op.get_attr('epsilon'):g}" for op in fused))


def _random_operations(graph: tf.Graph) -> set[str]:
    """Names of what draws at every step: dropout and drop path."""
    return {
        op.name
        for op in graph.get_operations()
        if op.type == "RandomUniform" and "Initializer" not in op.name
    }


@pytest.mark.shared
@pytest.mark.parametrize("name", _nets(QUICK_LAYOUTS))
def test_inference_graph_has_the_recorded_end_points(name: str, shared: Path) -> None:
    spec = REGISTRY[name]
    facts = json.loads((shared / "nets" / "layout" / f"{name}.facts.json").read_text())
    net_graph = layout.build_graph(
        name, spec.num_classes, spec.default_image_size, spec.num_channels, is_training=False
    )
    assert list(net_graph.end_points) == facts["eval_end_points"]


def _initializers(net_graph: layout.NetGraph) -> dict[str, str]:
    with tf.Graph().as_default():
        return {
            variable.name: _initializer(variable.initializer()) for variable in net_graph.variables
        }


def _initializer(value: tf.Tensor) -> str:
    constant = tf.get_static_value(value)
    if constant is not None:
        return f"constant({constant.flat[0]:g})"
    operations = layout.operations_behind([value])
    parameters = {
        name.rpartition("/")[2]: float(tf.get_static_value(operation.outputs[0]))
        for name, operation in operations.items()
        if name.rpartition("/")[2] in ("mean", "stddev", "min", "max")
    }
    (random,) = {op.type for op in operations.values()} & {"TruncatedNormal", "RandomUniform"}
    arguments = ", ".join(f"{key}={parameters[key]:g}" for key in sorted(parameters))
    return f"{random}({arguments})"


@pytest.mark.shared
@pytest.mark.parametrize("name", _nets(QUICK_GOLDENS, WITHOUT_GOLDEN))
def test_forward_equals_the_golden_outputs(name: str, golden: ModuleType, shared: Path) -> None:
    spec = REGISTRY[name]
    module = SlimModule(
        spec,
        golden.NUM_CLASSES,
        spec.default_image_size,
        spec.num_channels,
        weight_decay=golden.WEIGHT_DECAY,
    )
    for variable_name, variable in module.variables_by_name.items():
        variable.assign(golden.fill_value(variable_name, variable.shape))

    forward = tf.function(lambda images: module.forward(images, is_training=False))
    outputs = forward(golden.golden_images(spec.default_image_size, spec.num_channels))
    structured = forward(golden.structured_images(spec.default_image_size, spec.num_channels))

    result = {
        "logits": outputs.logits.numpy(),
        "logits_structured": structured.logits.numpy(),
        "regularization_loss": float(outputs.regularization_loss),
        "end_points": {
            key: golden.summarize(value.numpy()) for key, value in outputs.end_points.items()
        },
    }
    assert golden.compare(result, name, str(shared / "nets" / "golden")) == []


@pytest.mark.shared
def test_network_fn_works_in_a_tf1_graph(golden: ModuleType, shared: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        network_fn = nets_factory.get_network_fn("mobilenet_v1_025", golden.NUM_CLASSES)
        size = network_fn.default_image_size
        images = tf.compat.v1.placeholder(tf.float32, [None, size, size, 3])
        logits, _ = network_fn(images)
        variables = tf.compat.v1.global_variables()
        values = {
            variable.initial_value: golden.fill_value(variable.op.name, variable.shape)
            for variable in variables
        }
        session.run([variable.initializer for variable in variables], values)
        found = session.run(logits, {images: golden.golden_images(size)})
    expected = np.load(shared / "nets" / "golden" / "mobilenet_v1_025.npz")["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
