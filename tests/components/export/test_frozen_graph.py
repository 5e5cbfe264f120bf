"""Frozen graphs: TF-Slim's names, for programs that know nothing of us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from export_samples import value_of, write_checkpoint

from slimworks.components.export.batches import in_batches
from slimworks.components.export.export import export_frozen_graph
from slimworks.components.export.frozen_graph import FrozenGraph, freeze, frozen_probabilities
from slimworks.components.export.images import ComparisonImages
from slimworks.components.export.source import ExportSource, from_checkpoint

# What a TF1 user's program does; it must run where SlimWorks is not installed.
LABEL_IMAGE = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
assert not any(name.startswith("slimworks") for name in sys.modules)
graph_def = tf.GraphDef()
with open(sys.argv[1], "rb") as stream:
    graph_def.ParseFromString(stream.read())
with tf.Graph().as_default() as graph:
    tf.import_graph_def(graph_def)
image = graph.get_operation_by_name("import/input").outputs[0]
output = graph.get_operation_by_name("import/" + sys.argv[2]).outputs[0]
with tf.Session(graph=graph) as session:
    np.save(sys.argv[4], session.run(output, {image: np.load(sys.argv[3])}))
"""


@pytest.fixture(scope="module")
def frozen(mobilenet_source: ExportSource) -> FrozenGraph:
    return freeze(mobilenet_source)


def _node(frozen: FrozenGraph, name: str) -> tf.compat.v1.NodeDef:
    return next(node for node in frozen.graph_def.node if node.name == name)


def _shape(node: tf.compat.v1.NodeDef) -> list[int | None]:
    return tf.TensorShape(node.attr["shape"].shape).as_list()


def test_names_are_tf_slims(frozen: FrozenGraph) -> None:
    assert frozen.outputs == (
        "MobilenetV1/Logits/SpatialSqueeze",
        "MobilenetV1/Predictions/Reshape_1",
    )
    names = {node.name for node in frozen.graph_def.node}
    assert {
        "input",
        "MobilenetV1/Conv2d_0/weights/read",
        "MobilenetV1/Predictions/Softmax",
    } <= names
    assert _shape(_node(frozen, "input")) == [None, 32, 32, 3]


def test_variables_are_constants_of_their_names(frozen: FrozenGraph) -> None:
    node = _node(frozen, "MobilenetV1/Conv2d_0/weights")
    assert node.op == "Const"
    np.testing.assert_array_equal(
        tf.make_ndarray(node.attr["value"].tensor), value_of(node.name, (3, 3, 3, 8))
    )


def test_nothing_is_left_of_training_or_of_tf2(frozen: FrozenGraph) -> None:
    operations = {node.op for node in frozen.graph_def.node}
    assert operations <= {
        "Placeholder", "Const", "Identity", "Conv2D", "DepthwiseConv2dNative", "FusedBatchNormV3",
        "Relu6", "AvgPool", "BiasAdd", "Squeeze", "Reshape", "Softmax", "Shape", "Fill",
    }  # fmt: skip
    assert not frozen.graph_def.library.function


def test_foreign_program_gets_the_checkpoints_probabilities(
    frozen: FrozenGraph,
    mobilenet_pixels: np.ndarray,
    mobilenet_probabilities: np.ndarray,
    tmp_path: Path,
) -> None:
    (tmp_path / "frozen.pb").write_bytes(frozen.graph_def.SerializeToString())
    (tmp_path / "label_image.py").write_text(LABEL_IMAGE, encoding="utf-8")
    np.save(tmp_path / "pixels.npy", mobilenet_pixels)
    arguments = ["frozen.pb", "MobilenetV1/Predictions/Reshape_1", "pixels.npy", "answer.npy"]
    subprocess.run(
        [sys.executable, "label_image.py", *arguments],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "answer.npy"),
        mobilenet_probabilities,
        atol=1e-4,
    )


def test_batch_size_can_be_fixed(
    mobilenet_source: ExportSource,
    mobilenet_pixels: np.ndarray,
    mobilenet_probabilities: np.ndarray,
) -> None:
    fixed = freeze(mobilenet_source, batch_size=2)
    assert _shape(_node(fixed, "input")) == [2, 32, 32, 3]
    np.testing.assert_allclose(
        frozen_probabilities(fixed, mobilenet_pixels),
        mobilenet_probabilities,
        atol=1e-4,
    )


def test_folded_batch_norm_gives_the_same_probabilities(
    frozen: FrozenGraph,
    mobilenet_source: ExportSource,
    mobilenet_pixels: np.ndarray,
    mobilenet_probabilities: np.ndarray,
) -> None:
    folded = freeze(mobilenet_source, folds_batch_norm=True)
    operations = [node.op for node in folded.graph_def.node]
    assert "FusedBatchNormV3" not in operations
    assert folded.outputs == frozen.outputs
    assert len(operations) < len(frozen.graph_def.node)
    np.testing.assert_allclose(
        frozen_probabilities(folded, mobilenet_pixels),
        mobilenet_probabilities,
        atol=1e-4,
    )


def test_network_without_batch_norm_has_nothing_to_fold(lenet_source: ExportSource) -> None:
    plain, folded = freeze(lenet_source), freeze(lenet_source, folds_batch_norm=True)
    assert plain.outputs == ("LeNet/fc4/BiasAdd", "Predictions/Reshape_1")
    assert [n.name for n in folded.graph_def.node] == [n.name for n in plain.graph_def.node]


def test_the_same_checkpoint_gives_the_same_file(
    lenet_source: ExportSource, images: ComparisonImages, tmp_path: Path
) -> None:
    for name in ("a.pb", "b.pb"):
        export_frozen_graph(lenet_source, tmp_path / name, images)
    assert (tmp_path / "a.pb").read_bytes() == (tmp_path / "b.pb").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "image_size", "outputs"),
    [
        (
            "inception_v3",
            107,
            "InceptionV3/Logits/SpatialSqueeze InceptionV3/Predictions/Reshape_1",
        ),
        ("resnet_v1_50", 64, "resnet_v1_50/SpatialSqueeze resnet_v1_50/predictions/Reshape_1"),
        ("resnet_v2_50", 64, "resnet_v2_50/SpatialSqueeze resnet_v2_50/predictions/Reshape_1"),
        ("mobilenet_v2_035", 64, "MobilenetV2/Logits/output MobilenetV2/Predictions/Reshape_1"),
        pytest.param(
            "nasnet_mobile",
            96,
            "final_layer/FC/BiasAdd final_layer/predictions",
            marks=pytest.mark.big,
        ),
        ("alexnet_v2", 224, "alexnet_v2/fc8/squeezed"),
    ],
)
def test_every_family_freezes_without_its_auxiliary_heads(
    net: str, image_size: int, outputs: str, tmp_path: Path, images: ComparisonImages
) -> None:
    def without_auxiliary_heads(name: str) -> str | None:
        return None if "AuxLogits" in name or name.startswith("aux_") else name

    path = write_checkpoint(
        tmp_path, net, image_size, stored_name=without_auxiliary_heads, variance=(1, 2)
    )
    source = from_checkpoint(path, net=net, image_size=image_size)
    output = tmp_path / "frozen.pb"
    facts = export_frozen_graph(source, output, images, folds_batch_norm=True)
    assert facts["outputs"] == outputs.split()
    graph_def = tf.compat.v1.GraphDef.FromString(output.read_bytes())
    names = {node.name for node in graph_def.node}
    assert {"input", *facts["outputs"]} <= names
    assert not [name for name in names if "aux" in name.lower()]


def test_last_batch_is_filled_up() -> None:
    sizes = []

    def run(batch: np.ndarray) -> np.ndarray:
        sizes.append(len(batch))
        return batch * 2

    rows = in_batches(np.arange(5.0)[:, None], run, 2)
    assert sizes == [2, 2, 2]
    np.testing.assert_array_equal(rows[:, 0], [0, 2, 4, 6, 8])
