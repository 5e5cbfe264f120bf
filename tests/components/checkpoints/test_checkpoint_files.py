"""Both formats, whole and in shards; files that are something else; damaged ones."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from checkpoint_samples import write_checkpoint

from slimworks.components.checkpoints.reading import open_checkpoint, resolve
from slimworks.components.errors import ConfigError

NEEDED = (
    "Give a checkpoint written by TF-Slim, by tf.compat.v1.train.Saver or by `slimworks train` "
    "(its folder checkpoints/)."
)
INCOMPLETE = "Download or copy it again, with its .index and .data files complete and unpacked."
UNPACK = "Unpack it, and give the checkpoint that is inside."


def _save_by_tf1(prefix: Path, version: int, sharded: bool) -> np.ndarray:
    """Two variables on two devices, so that a sharded checkpoint has two shards."""
    value = np.arange(6, dtype=np.float32).reshape(2, 3)
    config = tf.compat.v1.ConfigProto(device_count={"CPU": 2})
    with tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
        for number, name in enumerate("ab"):
            with tf.device(f"/cpu:{number}"):
                tf.compat.v1.get_variable(f"{name}/weights", initializer=value * (number + 1))
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(sharded=sharded, write_version=version)
        saver.save(session, str(prefix), write_meta_graph=False, write_state=False)
    return value


@pytest.mark.parametrize("sharded", [False, True], ids=["one", "shards"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("by", ["prefix", "folder", "file"])
def test_every_format_is_read(tmp_path: Path, version: int, sharded: bool, by: str) -> None:
    prefix = tmp_path / "model.ckpt"
    value = _save_by_tf1(prefix, version, sharded)
    names = sorted(path.name for path in tmp_path.iterdir())
    data = [name for name in names if not name.endswith(".index")]
    assert len(data) == (2 if sharded else 1), "the sample is what it should be"
    path = {"prefix": prefix, "folder": tmp_path, "file": tmp_path / data[-1]}[by]
    checkpoint = open_checkpoint(path)
    assert checkpoint.version == f"V{version}"
    assert checkpoint.shapes == {"a/weights": (2, 3), "b/weights": (2, 3)}
    np.testing.assert_array_equal(checkpoint.read("b/weights"), value * 2)


@pytest.fixture(params=["file", "ram"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder under another name than a local path, with a checkpoint "m-9" and "m-10"."""
    folder = f"file://{tmp_path}" if request.param == "file" else f"ram://{tmp_path.name}"
    tf.io.gfile.makedirs(folder)
    for step in (9, 10):
        tf.raw_ops.SaveV2(
            prefix=f"{folder}/m-{step}",
            tensor_names=["a"],
            shape_and_slices=[""],
            tensors=[tf.fill([2], float(step))],
        )
    return folder


def test_remote_folder_means_its_newest_checkpoint(remote: str) -> None:
    checkpoint = open_checkpoint(remote)
    assert checkpoint.prefix == f"{remote}/m-10"
    np.testing.assert_array_equal(checkpoint.read("a"), [10, 10])


def test_remote_state_file_decides(remote: str) -> None:
    with tf.io.gfile.GFile(f"{remote}/checkpoint", "w") as stream:
        stream.write('model_checkpoint_path: "m-9"\n')
    assert resolve(remote) == resolve(f"{remote}/checkpoint") == f"{remote}/m-9"


def test_remote_file_that_is_something_else(remote: str) -> None:
    with tf.io.gfile.GFile(f"{remote}/labels.txt", "w") as stream:
        stream.write("0:rose\n")
    with pytest.raises(ConfigError, match=r"labels\.txt is no readable .*: it is a text file"):
        open_checkpoint(f"{remote}/labels.txt")


def test_remote_index_without_data(remote: str) -> None:
    tf.io.gfile.remove(f"{remote}/m-10.data-00000-of-00001")
    with pytest.raises(ConfigError, match=r"m-10\.data-00000-of-00001 does not exist"):
        open_checkpoint(remote)


def test_state_file_means_its_folder(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path, {"a": (1,)})
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1"\n')
    assert resolve(tmp_path / "checkpoint") == str(prefix)


@pytest.mark.parametrize(
    ("version", "read_as", "shard"),
    [(2, "m", "m.data-00001-of-00002"), (1, "m-?????-of-00002", "m-00001-of-00002")],
)
def test_missing_shard(tmp_path: Path, version: int, read_as: str, shard: str) -> None:
    _save_by_tf1(tmp_path / "m", version, sharded=True)
    (tmp_path / shard).unlink()
    with pytest.raises(ConfigError) as caught:
        open_checkpoint(tmp_path / "m")
    assert caught.value.cause == (
        f"{tmp_path / read_as} is no readable TensorFlow checkpoint: {shard} does not exist."
    )
    assert caught.value.fix == INCOMPLETE


def test_index_without_data(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path, {"a": (1,)})
    Path(f"{prefix}.data-00000-of-00001").unlink()
    with pytest.raises(ConfigError, match="data-00000-of-00001 does not exist"):
        open_checkpoint(prefix)


def test_data_without_index(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path, {"a": (1,)})
    Path(f"{prefix}.index").unlink()
    data = f"{prefix}.data-00000-of-00001"
    with pytest.raises(ConfigError) as caught:
        open_checkpoint(data)
    assert caught.value.cause == (
        f"train.checkpoint_path is {data}, but {prefix}.index, which belongs to it, does not exist."
    )
    assert caught.value.fix == "Copy all files of the checkpoint: .index and every .data file."


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_truncated_file(tmp_path: Path, suffix: str) -> None:
    prefix = write_checkpoint(tmp_path, {f"a{number}": (100,) for number in range(20)})
    file = Path(prefix.as_posix() + suffix)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ConfigError) as caught:
        [open_checkpoint(prefix).read(f"a{number}") for number in range(20)]
    assert caught.value.cause.startswith(f"{prefix} is no readable TensorFlow checkpoint: ")
    assert caught.value.fix == INCOMPLETE


def test_truncated_v1_file(tmp_path: Path) -> None:
    _save_by_tf1(tmp_path / "m", version=1, sharded=False)
    (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes()[:-20])
    with pytest.raises(ConfigError) as caught:
        open_checkpoint(tmp_path / "m")
    assert caught.value.cause == (
        f"{tmp_path / 'm'} is no readable TensorFlow checkpoint: it is damaged, cut short, or "
        "something else."
    )
    assert caught.value.fix == INCOMPLETE


def _frozen_graph() -> bytes:
    with tf.Graph().as_default() as graph:
        tf.constant(1.0, name="a")
    return graph.as_graph_def().SerializeToString(deterministic=True)


def _tar() -> bytes:
    header: bytes = tarfile.TarInfo("model.ckpt").tobuf()
    return header


@pytest.mark.parametrize(
    ("name", "content", "what", "fix"),
    [
        ("labels.txt", "0:Rose\n1:Distel\n2:Löwenzahn\n".encode(), "a text file", NEEDED),
        ("net.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "a Keras HDF5 file", NEEDED),
        ("a.keras", b"PK\x03\x04", "a zip archive (Keras, NumPy or PyTorch)", NEEDED),
        ("a.tar.gz", b"\x1f\x8b\x08\x00", "a gzip archive", UNPACK),
        ("a.tar", _tar(), "a tar archive", UNPACK),
        ("a.tflite", b"\x1c\x00\x00\x00TFL3", "a TFLite model", NEEDED),
        ("a.jpg", b"\xff\xd8\xff\xe0", "a JPEG image", NEEDED),
        ("a.png", b"\x89PNG\r\n", "a PNG image", NEEDED),
        ("saved_model.pb", b"\x08\x01", "the graph of a SavedModel", NEEDED),
        (
            "frozen.pb", _frozen_graph(),
            "a frozen graph, which has constants instead of variables",
            "Give the checkpoint that it was frozen from.",
        ),
        ("empty.ckpt", b"", "empty", INCOMPLETE),
        ("a.bin", bytes(range(256)), "damaged, cut short, or something else", INCOMPLETE),
    ],
)  # fmt: skip
def test_file_that_is_something_else(
    tmp_path: Path, name: str, content: bytes, what: str, fix: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        open_checkpoint(path)
    assert caught.value.cause == (f"{path} is no readable TensorFlow checkpoint: it is {what}.")
    assert caught.value.fix == fix


def _object_checkpoint(folder: Path) -> Path:
    module = tf.Module()
    module.weights = tf.Variable([1.0])
    return Path(tf.train.Checkpoint(model=module).save(str(folder / "objects")))


def _saved_model_variables(folder: Path) -> Path:
    module = tf.Module()
    module.weights = tf.Variable([1.0])
    tf.saved_model.save(module, str(folder / "saved"))
    return folder / "saved" / "variables"


@pytest.mark.parametrize("write", [_object_checkpoint, _saved_model_variables])
def test_checkpoint_of_objects(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    with pytest.raises(ConfigError) as caught:
        open_checkpoint(write(tmp_path))
    assert caught.value.cause.endswith(
        " holds TensorFlow 2 objects (names that end in /.ATTRIBUTES/VARIABLE_VALUE), not named "
        "variables."
    )
    assert caught.value.fix == (
        "Give a checkpoint with TF1 names: one of TF-Slim, of tf.compat.v1.train.Saver, or of "
        "`slimworks train` (its folder checkpoints/)."
    )


def test_folder_of_a_saved_model(tmp_path: Path) -> None:
    saved_model = _saved_model_variables(tmp_path).parent
    with pytest.raises(ConfigError) as caught:
        open_checkpoint(saved_model, "--checkpoint")
    assert caught.value.cause == f"--checkpoint is {saved_model}, a SavedModel."
    assert caught.value.fix == (
        "Give the checkpoint that it was exported from; `slimworks train` keeps it in the folder "
        f"checkpoints/. Of a TF1 SavedModel give {saved_model}/variables/variables."
    )


def test_variables_of_a_tf1_saved_model_are_a_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("Net/weights", initializer=[3.0])
        session.run(tf.compat.v1.global_variables_initializer())
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.save()
    checkpoint = open_checkpoint(folder / "variables" / "variables")
    np.testing.assert_array_equal(checkpoint.read("Net/weights"), [3.0])
