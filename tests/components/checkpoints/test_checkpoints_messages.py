"""What a checkpoint that cannot be restored tells a user, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimworks.components.checkpoints import restore
from slimworks.components.checkpoints.misfit import Misfit, table
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


def test_checkpoint_where_tensorflow_cannot_read() -> None:
    with pytest.raises(ConfigError) as caught:
        restore.resolve("foo://bucket/model.ckpt", "--checkpoint")
    assert caught.value.cause.startswith(
        "--checkpoint is foo://bucket/model.ckpt, where TensorFlow cannot read: "
        "File system scheme 'foo' not implemented"
    )
    assert caught.value.fix == (
        "Check the path and the right to read it, or copy the checkpoint to this machine."
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


def told(
    network: Shapes, checkpoint: Shapes, excluded_scopes: tuple[str, ...] = ()
) -> tuple[str, str, str]:
    """Cause, fix and table where the head of the network is `Net/Logits`."""
    error = Misfit(
        checkpoint_path="m.ckpt",
        shapes=network,
        checkpoint_shapes=checkpoint,
        missing=[name for name in network if name not in checkpoint],
        unexpected=[name for name in checkpoint if name not in network],
        reshaped={n: n for n in network if n in checkpoint and network[n] != checkpoint[n]},
        head_scopes=("Net/Logits", "Net/AuxLogits/"),
        excluded_scopes=excluded_scopes,
    ).error()
    assert isinstance(error, ConfigError)
    return error.cause, error.fix, error.details


EXCLUDE_THE_HEAD = (
    "Type `--set train.checkpoint_exclude_scopes=auto`, which is the default: the head is trained "
    "from its initial values."
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
        f"m.ckpt does not fit the network: 1 of another shape. {cause}",
        EXCLUDE_THE_HEAD,
        "wrong shape (1):\n"
        f"  Net/Logits/weights  2x{ours} in the network, 2x{theirs} in the checkpoint",
    )


def test_checkpoint_without_the_head() -> None:
    assert told({"Net/Logits/weights": (2, 5)}, {"Net/conv/weights": (3, 2)}) == (
        "m.ckpt does not fit the network: 1 missing, 1 unexpected. Only the head differs.",
        EXCLUDE_THE_HEAD,
        "missing in the checkpoint (1):\n"
        "  Net/Logits/weights  2x5\n"
        "unexpected in the checkpoint (1):\n"
        "  Net/conv/weights  3x2",
    )


def test_one_of_two_heads_left_out() -> None:
    name = "Net/Logits/weights"
    fix = told({name: (2, 5)}, {name: (2, 1001)}, excluded_scopes=("Net/AuxLogits",))[1]
    assert fix == EXCLUDE_THE_HEAD


def test_head_is_added_to_other_layers_that_are_left_out() -> None:
    name = "Net/Logits/weights"
    fix = told({name: (2, 5)}, {name: (2, 1001)}, excluded_scopes=("Net/Mixed_7c",))[1]
    assert fix == (
        "Type `--set train.checkpoint_exclude_scopes=[Net/Mixed_7c,Net/Logits]` to train these "
        "from their initial values."
    )


def test_head_and_another_layer() -> None:
    names = ("Net/Logits/weights", "Net/Mixed_7c/weights")
    fix = told(dict.fromkeys(names, (2, 5)), dict.fromkeys(names, (2, 6)))[1]
    assert fix.startswith(
        "Type `--set train.checkpoint_exclude_scopes=[Net/Logits,Net/Mixed_7c]` to train"
    )


def test_checkpoint_without_one_layer() -> None:
    cause, fix, _ = told({"Net/new/biases": (4,)}, {"Net/conv/weights": (3, 2)})
    assert cause == "m.ckpt does not fit the network: 1 missing, 1 unexpected. The layers differ."
    assert fix == (
        "Type `--set train.checkpoint_exclude_scopes=[Net/new]` to train these from their initial "
        "values."
    )


def test_checkpoint_of_something_else() -> None:
    network: Shapes = {f"Net/conv{number}/weights": (3, 2) for number in range(5)}
    cause, fix, _ = told(network, {"Other/conv/weights": (3, 2)})
    assert cause == (
        "m.ckpt does not fit the network: 5 missing, 1 unexpected. It is of no registered network; "
        "its names start with Other."
    )
    assert fix == (
        "Give a checkpoint of this network as train.checkpoint_path, or map its names: "
        "train.checkpoint_name_map."
    )


def test_table_shows_ten_of_a_kind() -> None:
    network: Shapes = {f"Net/conv{number:02d}/weights": (3, 2) for number in range(12)}
    lines = told(network, {})[2].splitlines()
    assert lines[0] == "missing in the checkpoint (12):"
    assert lines[-2:] == ["  Net/conv09/weights  3x2", "  +2 more"]
    assert len(lines) == 12


def test_table_names_what_is_stored_under_another_name() -> None:
    misfit = Misfit("m.ckpt", {"a": (2,)}, {"b/a": ()}, [], [], {"a": "b/a"}, ())
    assert table(misfit) == (
        "wrong shape (1):\n  a  2 in the network, scalar in the checkpoint (b/a)"
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
