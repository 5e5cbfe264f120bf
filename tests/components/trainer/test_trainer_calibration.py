"""The calibration of a training's model is that of what it serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components import contracts, files
from slimworks.components.calibration import fitting, known
from slimworks.components.calibration.fitting import Observed, Wanted, fit
from slimworks.components.calibration.temperature import softmax
from slimworks.components.examples.reading import iterate_examples
from slimworks.components.trainer import calibrating
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.train import TrainInputs, train

SPLITS = ("train", "eval", "test")


@pytest.fixture(scope="module", autouse=True)
def _few_images_are_enough() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "MIN_IMAGES", 5)
        yield


@pytest.fixture(scope="module")
def model(tiny_examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained a little, so that it makes mistakes; with moving averages, which are exported."""
    output = tmp_path_factory.mktemp("calibrated") / "model"
    inputs = TrainInputs(*(str(tiny_examples / name) for name in ("stored", "graph", "label_map")))
    config = TrainConfig(
        max_number_of_steps=2, optimizer="adam", learning_rate=0.0005, batch_size=16,
        moving_average_decay=0.5,
    )  # fmt: skip
    export = ExportConfig(min_precision=0.5, known_rate=0.9)
    work = str(output.with_suffix(".work"))
    train(inputs, str(output), work, ModelConfig(net="lenet"), config, export)
    return output


@pytest.fixture(scope="module")
def served(model: Path, tiny_examples: Path) -> dict[str, dict[str, np.ndarray]]:
    """What the exported graph makes of the original bytes of each split."""
    loaded = tf.saved_model.load(str(model / contracts.SAVED_MODEL_FOLDER))
    answers = {}
    for split in SPLITS:
        examples = list(iterate_examples(str(tiny_examples / "examples"), split))
        images = tf.constant([example[contracts.IMAGE_ENCODED] for example in examples])
        answers[split] = {
            **{k: v.numpy() for k, v in loaded.signatures["evaluate"](images=images).items()},
            "is_known": loaded.signatures["serving_default"](images=images)["is_known"].numpy(),
            "class_index": np.array([example[contracts.CLASS_INDEX] for example in examples]),
        }
    return answers


def least(calibration: dict[str, Any]) -> list[float]:
    """Thresholds by class index; where there is none, one that no probability reaches."""
    return [2.0 if value is None else value for value in calibration["thresholds"].values()]


def test_facts_are_those_of_the_served_answers(
    model: Path, served: dict[str, dict[str, np.ndarray]]
) -> None:
    facts = files.read_json(model / contracts.MODEL_FACTS_FILE)
    of_eval, of_train = served["eval"], served["train"]
    assert np.bincount(of_train["class_index"]).max() <= calibrating.MAX_IMAGES_PER_CLASS
    means = known.class_means(of_train["embedding"], of_train["class_index"])
    observed = Observed(of_eval["logits"], of_eval["embedding"], of_eval["class_index"])
    wanted = Wanted(min_precision=0.5, known_rate=0.9)
    _, expected = fit(observed, facts["class_names"], wanted, means)
    found = facts["calibration"]
    assert found["num_images"] == len(of_eval["logits"])
    for key in ("temperature", "log_loss_before", "log_loss_after", "ece_after"):
        assert found[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-5), key
    assert found["temperature"] != 1.0
    assert found["is_known"]["threshold"] == pytest.approx(expected["is_known"]["threshold"], 1e-3)
    assert list(found["thresholds"]) == facts["class_names"]
    assert least(found) == pytest.approx(least(expected), rel=1e-3)


def test_served_probabilities_are_calibrated(
    model: Path, served: dict[str, dict[str, np.ndarray]]
) -> None:
    temperature = files.read_json(model / contracts.MODEL_FACTS_FILE)["calibration"]["temperature"]
    answers = served["test"]
    np.testing.assert_allclose(
        answers["probabilities"], softmax(answers["logits"], temperature), atol=1e-6
    )


def test_known_images_are_those_of_the_rule(
    model: Path, served: dict[str, dict[str, np.ndarray]]
) -> None:
    facts = files.read_json(model / contracts.MODEL_FACTS_FILE)["calibration"]
    of_train = served["train"]
    means = known.class_means(of_train["embedding"], of_train["class_index"])
    for split in SPLITS:
        probabilities = served[split]["probabilities"]
        is_sure = probabilities.max(axis=1) >= np.array(least(facts))[probabilities.argmax(axis=1)]
        distances = known.distance(served[split]["embedding"], means)
        expected = is_sure & (distances <= facts["is_known"]["threshold"])
        np.testing.assert_array_equal(served[split]["is_known"], expected)
    assert facts["is_known"]["kept_rate"] >= 0.9


def test_images_of_each_class_are_spread_evenly() -> None:
    class_indices = np.repeat([0, 2], [1_000, 3])
    numbers = calibrating._some_of_each_class(class_indices)
    assert len(numbers) == calibrating.MAX_IMAGES_PER_CLASS + 3
    assert list(numbers[-3:]) == [1000, 1001, 1002]
    assert (numbers[0], numbers[63]) == (0, 984)
    assert set(np.diff(numbers[:64])) == {15, 16}
