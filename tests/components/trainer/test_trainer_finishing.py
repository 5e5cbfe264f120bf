"""What a training ends with: averages, repaired moving statistics, the best of a stopped run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components import contracts, files
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.trainer import steps
from slimworks.components.trainer.batch_norm_check import BatchNormCheck, check_batch_norm
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.dataset import Batch
from slimworks.components.trainer.losses import cross_entropy
from slimworks.components.trainer.moving_averages import MovingAverages
from slimworks.components.trainer.optimizers import Optimizer
from slimworks.components.trainer.train import TrainInputs, train

AVERAGE = "/ExponentialMovingAverage"


def _train(tiny: Path, folder: Path, net: str = "lenet", **settings: object) -> dict[str, Any]:
    inputs = TrainInputs(str(tiny / "stored"), str(tiny / "graph"), str(tiny / "label_map"))
    return train(
        inputs,
        str(folder / "model"),
        str(folder / "work"),
        ModelConfig(net=net, image_size=28 if net == "lenet" else 32),
        TrainConfig.model_validate({"batch_size": 16, **settings}),
        ExportConfig(),
    )


def _checkpoint(folder: Path) -> dict[str, np.ndarray]:
    model = folder / "model" / contracts.CHECKPOINTS_FOLDER
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(model)))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def _photos(num: int, seed: int) -> Batch:
    """Noise with a colour for each of three classes: [num, 32, 32, 3] in [-1, 1]."""
    random = np.random.default_rng(seed)
    classes = np.arange(num) % 3
    images = random.uniform(-0.5, 0.5, (num, 32, 32, 3))
    images[np.arange(num), :, :, classes] += 0.5
    targets = tf.one_hot(classes, 3)
    return Batch(tf.constant(images, tf.float32), targets, tf.constant([""] * num))


def _trained(batch_norm_decay: float) -> SlimModule:
    """A network with batch norm after 30 steps, and ten more that move its statistics only."""
    module = SlimModule(get_net("mobilenet_v1_025"), 3, 32, 3, batch_norm_decay=batch_norm_decay)
    trained = module.trainable_by_name
    optimizer = Optimizer(TrainConfig(), trained)
    optimizer.learning_rate.assign(0.05)
    step = steps.TrainStep(
        forward=steps.training_forward(module, trained, seed=0),
        loss=cross_entropy,
        trained=list(trained.values()),
        optimizer=optimizer,
        batch_size=24,
    )
    update = tf.function(step, autograph=False)
    for number in range(40):
        if number == 30:
            optimizer.learning_rate.assign(0.0)
        update(_photos(24, number), tf.constant(number, tf.int64))
    return module


def _check(module: SlimModule) -> BatchNormCheck:
    data = tf.data.Dataset.from_tensor_slices(_photos(72, 100)).batch(24)
    eval_step = steps.make_eval_step(module)
    unseen = tf.data.Dataset.from_tensor_slices(_photos(60, 101)).batch(30)

    def evaluate() -> steps.SplitMetrics:
        return steps.evaluate_split(eval_step, unseen)

    return check_batch_norm(module, (), data, evaluate, evaluate())


def test_statistics_that_lag_behind_are_estimated_anew(caplog: pytest.LogCaptureFixture) -> None:
    module = _trained(batch_norm_decay=0.9997)
    found = _check(module)
    assert found.train_mode_accuracy > 0.9 > found.eval_mode_accuracy + 0.2
    assert not found.agrees
    assert found.is_repaired
    assert found.after.accuracy > 0.9 > found.before.accuracy + 0.2
    assert "72 training images are recognised by batch statistics" in caplog.text
    again = _check(module)
    assert again.agrees
    assert again.before.accuracy == found.after.accuracy, "the module has the new ones"


def test_statistics_that_follow_are_left_alone() -> None:
    module = _trained(batch_norm_decay=0.7)
    before = {name: variable.numpy() for name, variable in module.variables_by_name.items()}
    found = _check(module)
    assert found.agrees
    assert not found.is_repaired
    assert found.before == found.after
    for name, value in before.items():
        np.testing.assert_array_equal(module.variables_by_name[name].numpy(), value)


@pytest.mark.slow
def test_a_training_with_wrong_statistics_ends_with_better_ones(
    tiny_examples: Path, tmp_path: Path
) -> None:
    facts = _train(
        tiny_examples,
        tmp_path,
        net="mobilenet_v1_025",
        batch_norm_decay=0.9997,
        epochs=12,
        optimizer="adam",
        learning_rate=0.003,
    )
    found = facts["batch_norm"]
    assert not found["agrees"]
    assert found["reestimated"]
    evaluated = [
        line["accuracy"]
        for line in files.read_jsonl(tmp_path / "model" / contracts.METRICS_FILE)
        if line["split"] == "eval"
    ]
    assert facts["best_eval_accuracy"] == found["eval_accuracy"] > max(evaluated)
    assert facts["best_step"] == found["step"] == facts["num_steps"], "no choice could be made"
    assert json.loads((tmp_path / "model" / contracts.MODEL_FACTS_FILE).read_text()) == facts
    assert _checkpoint(tmp_path)["global_step"] == facts["num_steps"]


def test_networks_without_batch_norm_have_nothing_to_check(
    tiny_examples: Path, tmp_path: Path
) -> None:
    assert _train(tiny_examples, tmp_path, max_number_of_steps=1)["batch_norm"] == {}


def test_training_stops_when_evaluations_get_no_better(
    tiny_examples: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"epochs": 30, "learning_rate": 1e-30, "early_stopping_epochs": 2}
    with caplog.at_level("INFO", logger="slimworks"):
        facts = _train(tiny_examples, tmp_path, **settings)
    lines = list(files.read_jsonl(tmp_path / "model" / contracts.METRICS_FILE))
    evaluated = [line["step"] for line in lines if line["split"] == "eval"]
    steps_per_epoch = evaluated[0]
    assert facts["stopped_early"]
    assert lines[-1]["step"] == facts["best_step"] + 2 * steps_per_epoch < facts["num_steps"]
    assert "stopped early: no better evaluation since step" in caplog.text
    again = _train(tiny_examples, tmp_path, **settings)
    assert again["best_step"] == facts["best_step"], "what has stopped does not go on"


def test_averages_are_evaluated_and_exported(tiny_examples: Path, tmp_path: Path) -> None:
    settings = {"epochs": 3, "learning_rate": 0.02, "moving_average_decay": 0.9}
    facts = _train(tiny_examples, tmp_path, **settings)
    values = _checkpoint(tmp_path)
    names = {name for name in values if not name.endswith(AVERAGE)} - {"global_step"}
    assert {f"{name}{AVERAGE}" for name in names} <= set(values), "of all variables"
    raw, average = (values[f"LeNet/fc4/weights{end}"] for end in ("", AVERAGE))
    assert np.abs(raw - average).max() > 1e-4
    exported = tf.saved_model.load(str(tmp_path / "model" / contracts.SAVED_MODEL_FOLDER))
    pixels = tf.constant(np.random.default_rng(0).normal(size=(4, 28, 28, 1)), tf.float32)
    answer = exported.signatures[contracts.SIGNATURE_PIXELS](pixels)["probabilities"]
    expected = [_probabilities(values, end, pixels) for end in (AVERAGE, "")]
    np.testing.assert_allclose(answer, expected[0], rtol=1e-4)
    assert np.abs(answer - expected[1]).max() > 1e-4
    assert facts["best_step"] > 0


def _probabilities(values: dict[str, np.ndarray], end: str, pixels: tf.Tensor) -> np.ndarray:
    """Largest first."""
    module = SlimModule(get_net("lenet"), 3, 28, 1)
    for name, variable in module.variables_by_name.items():
        variable.assign(values[f"{name}{end}"])
    forward = tf.function(lambda images: module.forward(images, False).logits, autograph=False)
    return np.sort(tf.nn.softmax(forward(pixels)), axis=1)[:, ::-1]


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_averages_equal_tf1s(decay: float) -> None:
    values = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("w", initializer=values[0])
        step = tf1.placeholder(tf.int64, [])
        average = tf1.train.ExponentialMovingAverage(decay, num_updates=step)
        update = average.apply([variable])
        session.run(tf1.global_variables_initializer())
        expected = []
        for number, value in enumerate(values):
            variable.load(value, session)
            session.run(update, {step: number})
            expected.append(session.run(average.average(variable)))
        assert average.average_name(variable) == f"w{AVERAGE}"
    ours = tf.Variable(values[0])
    averages = MovingAverages(decay, {"w": ours})
    follow = tf.function(lambda number: averages.update(number, ["w"]), autograph=False)
    for number, value in enumerate(values):
        ours.assign(value)
        follow(tf.constant(number, tf.int64))
        shadow = averages.shadows[f"w{AVERAGE}"].numpy()
        np.testing.assert_allclose(shadow, expected[number], rtol=1e-6)


def test_averages_stand_in_only_for_a_while() -> None:
    variable = tf.Variable([1.0, 2.0])
    averages = MovingAverages(0.9, {"w": variable})
    variable.assign([5.0, 6.0])
    with averages.applied():
        np.testing.assert_array_equal(variable.numpy(), [1.0, 2.0])
    np.testing.assert_array_equal(variable.numpy(), [5.0, 6.0])
