"""What a checkpoint that cannot be restored tells a user, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimworks.components.checkpoints import restore
from slimworks.components.checkpoints.misfit import Misfit
from slimworks.components.errors import ConfigError

Shapes = dict[str, tuple[int, ...]]


def test_checkpoint_that_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    with pytest.raises(ConfigError) as caught:
        restore.resolve(path)
    assert caught.value.cause == (
        f"train.checkpoint_path is {path}, but neither {path} nor {path}.index exists."
    )
    assert caught.value.fix == (
        "Give an unpacked checkpoint: the path before `.index`, a V1 file, or their folder."
    )


def test_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        restore.resolve(tmp_path)
    assert caught.value.cause == (
        f"train.checkpoint_path is {tmp_path}, a folder without a checkpoint."
    )
    assert caught.value.fix == (
        "Give the folder that holds the .index file, or the path before `.index`."
    )


def test_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff" * 100)
    with pytest.raises(ConfigError) as caught:
        restore.restore({}, path)
    assert caught.value.cause.startswith(f"{path} is no readable TensorFlow checkpoint: ")
    assert caught.value.fix == (
        "Download or copy it again, with its .index and .data files complete and unpacked."
    )


def told(network: Shapes, checkpoint: Shapes) -> tuple[str, str]:
    """Cause and fix where the head of the network is `Net/Logits`."""
    error = Misfit(
        checkpoint_path="m.ckpt",
        shapes=network,
        checkpoint_shapes=checkpoint,
        missing=[name for name in network if name not in checkpoint],
        reshaped={n: n for n in network if n in checkpoint and network[n] != checkpoint[n]},
        head_scopes=("Net/Logits",),
    ).error()
    assert isinstance(error, ConfigError)
    return error.cause, error.fix


EXCLUDE_THE_HEAD = (
    "Type `--set train.checkpoint_exclude_scopes=[Net/Logits]` to train these from their initial "
    "values."
)


@pytest.mark.parametrize(
    ("ours", "theirs", "cause"),
    [
        (5, 1001, "The network has 5 classes, the checkpoint 1001."),
        (
            1000, 1001,
            "The network has 1000 classes, the checkpoint 1001: one of the two counts a "
            "background class.",
        ),
    ],
)  # fmt: skip
def test_head_of_another_class_count(ours: int, theirs: int, cause: str) -> None:
    name = "Net/Logits/weights"
    assert told({name: (2, ours)}, {name: (2, theirs)}) == (
        f"m.ckpt does not fit the network: {name} is [2, {ours}] in the network and "
        f"[2, {theirs}] in the checkpoint. {cause}",
        EXCLUDE_THE_HEAD,
    )


def test_checkpoint_without_the_head() -> None:
    assert told({"Net/Logits/weights": (2, 5)}, {"Net/conv/weights": (3, 2)}) == (
        "m.ckpt does not fit the network: Net/Logits/weights [2, 5] is not in the checkpoint. "
        "Only the head differs.",
        EXCLUDE_THE_HEAD,
    )


def test_checkpoint_without_one_layer() -> None:
    assert told({"Net/new/biases": (4,)}, {"Net/conv/weights": (3, 2)}) == (
        "m.ckpt does not fit the network: Net/new/biases [4] is not in the checkpoint. "
        "The layers differ.",
        "Type `--set train.checkpoint_exclude_scopes=[Net/new]` to train these from their initial "
        "values.",
    )


def test_checkpoint_of_something_else() -> None:
    network: Shapes = {f"Net/conv{number}/weights": (3, 2) for number in range(5)}
    assert told(network, {"Other/conv/weights": (3, 2)}) == (
        "m.ckpt does not fit the network: Net/conv0/weights [3, 2] is not in the checkpoint; "
        "Net/conv1/weights [3, 2] is not in the checkpoint; Net/conv2/weights [3, 2] is not in "
        "the checkpoint; +2 more. Most layers differ: the checkpoint's names start with Other.",
        "Give a checkpoint of this network as train.checkpoint_path.",
    )


def test_scopes_that_leave_nothing(tmp_path: Path) -> None:
    import tensorflow as tf

    from slimworks.components.checkpoints.save import save

    variables = {"Net/conv/weights": tf.Variable([1.0])}
    prefix = tmp_path / "model.ckpt-1"
    save(variables, prefix)
    with pytest.raises(ConfigError) as caught:
        restore.restore(variables, prefix, exclude_scopes=["Net"])
    assert caught.value.cause == (
        f"train.checkpoint_exclude_scopes ['Net'] leaves nothing to restore from {prefix}."
    )
    assert caught.value.fix == (
        "Name fewer scopes, or leave train.checkpoint_path out to train from scratch."
    )
