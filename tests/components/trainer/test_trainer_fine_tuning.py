"""Fine-tuning in phases: the head first, then everything, wherever it is interrupted."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components import contracts, files
from slimworks.components.checkpoints.save import save
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.trainer import loop
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.train import TrainInputs, train

HEAD = "LeNet/fc4"
STEPS_PER_EPOCH = 5


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for ten classes, which the tiny photos are not."""
    module = SlimModule(get_net("lenet"), 10, 28, 1, seed=5)
    prefix = tmp_path_factory.mktemp("published") / "lenet.ckpt"
    save(dict(module.variables_by_name), prefix)
    return prefix


def _train(tiny: Path, folder: Path, published: Path, **settings: object) -> dict[str, Any]:
    inputs = TrainInputs(str(tiny / "stored"), str(tiny / "graph"), str(tiny / "label_map"))
    more = {
        "checkpoint_path": str(published),
        "batch_size": 16,
        "epochs": 3,
        "head_epochs": 1,
        "moving_average_decay": 0.9,
        "cache_features": False,
        **settings,
    }
    return train(
        inputs,
        str(folder / "model"),
        str(folder / "work"),
        ModelConfig(net="lenet"),
        TrainConfig.model_validate(more),
        ExportConfig(),
    )


def _values(prefix: Path | str) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def _result(folder: Path) -> dict[str, np.ndarray]:
    """The last weights, whichever were the best."""
    prefixes = [path.with_suffix("") for path in (folder / "work").glob("model.ckpt-*.index")]
    return _values(max(prefixes, key=lambda prefix: int(prefix.name.rpartition("-")[2])))


def test_the_first_phase_changes_the_head_alone(
    tiny_examples: Path, tmp_path: Path, published: Path
) -> None:
    facts = _train(tiny_examples, tmp_path, published, epochs=1)
    assert [phase["name"] for phase in facts["phases"]] == ["head"]
    before, after = _values(published), _result(tmp_path)
    for name, value in before.items():
        if not name.startswith(HEAD):
            np.testing.assert_array_equal(after[name], value)
            np.testing.assert_array_equal(after[f"{name}/ExponentialMovingAverage"], value)
    assert after[f"{HEAD}/weights"].shape == (1024, 3)


@pytest.fixture(scope="module")
def whole(tiny_examples: Path, published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    _train(tiny_examples, folder, published)
    return folder


def test_the_second_phase_changes_every_layer(whole: Path, published: Path) -> None:
    facts = files.read_json(whole / "model" / contracts.MODEL_FACTS_FILE)
    head, rest = facts["phases"]
    assert (head["name"], head["num_steps"]) == ("head", STEPS_PER_EPOCH)
    assert (rest["name"], rest["first_step"]) == ("all", STEPS_PER_EPOCH)
    assert min(rest["layer_learning_rates"]) < max(rest["layer_learning_rates"]) == 1.0
    before, after = _values(published), _result(whole)
    assert np.any(after["LeNet/conv1/weights"] != before["LeNet/conv1/weights"])
    lines = list(files.read_jsonl(whole / "model" / contracts.METRICS_FILE))
    assert [line["phase"] for line in lines if line["split"] == "eval"] == ["head", "all", "all"]


@pytest.mark.parametrize("step", [3, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1])
def test_an_interrupted_phase_goes_on_to_the_same_weights(
    tiny_examples: Path,
    tmp_path: Path,
    published: Path,
    whole: Path,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = loop.Loop._after_step

    def interrupt_after(self: loop.Loop, *args: Any) -> None:
        if self.progress.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_after_step", interrupt_after)
        with pytest.raises(KeyboardInterrupt):
            _train(tiny_examples, tmp_path, published)
    _train(tiny_examples, tmp_path, published)
    expected, found = _result(whole), _result(tmp_path)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-5)
