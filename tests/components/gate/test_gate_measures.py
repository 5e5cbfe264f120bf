"""Metrics of the gate from their definitions, and how often their intervals hold the truth."""

import dataclasses

import numpy as np
import pytest
from gate_samples import answers

from slimworks.components.gate import answers as answer_files
from slimworks.components.gate import measures

NUM_CLASSES = 4
NAMES = tuple("abcd")


def generated(num_images=500, seed=0, margin=1.5):
    """Answers of a model that is right more often than not, and its probabilities."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, NUM_CLASSES, num_images)
    logits = rng.normal(size=(num_images, NUM_CLASSES))
    logits[np.arange(num_images), true] += margin
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    model = answers(probabilities.argmax(axis=1), true, NAMES)
    scores = answer_files.scores_of(model.class_index, probabilities)
    return dataclasses.replace(model, scores=scores), probabilities


def value(metric, model, class_index=None):
    return measures.measure(metric, model, class_index, 0.95).interval.value


def test_count_metrics_equal_scikit_learns():
    from sklearn import metrics

    model, _ = generated()
    true, predicted = model.class_index, model.predicted_index
    assert value("macro_f1", model) == pytest.approx(
        metrics.f1_score(true, predicted, average="macro")
    )
    assert value("weighted_f1", model) == pytest.approx(
        metrics.f1_score(true, predicted, average="weighted")
    )
    assert value("macro_recall", model) == pytest.approx(
        metrics.recall_score(true, predicted, average="macro")
    )
    for index in range(NUM_CLASSES):
        for name, function in (
            ("f1", metrics.f1_score),
            ("precision", metrics.precision_score),
            ("recall", metrics.recall_score),
        ):
            expected = function(true, predicted, average=None)[index]
            assert value(name, model, index) == pytest.approx(expected)


def test_losses_equal_their_definitions():
    model, probabilities = generated()
    number = np.arange(len(model))
    targets = np.eye(NUM_CLASSES)[model.class_index]
    assert value("brier", model) == pytest.approx(((probabilities - targets) ** 2).sum(1).mean())
    log_loss = -np.log(probabilities[number, model.class_index]).mean()
    assert value("log_loss", model) == pytest.approx(log_loss)
    confidence, total = probabilities.max(1), 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            total += inside.mean() * abs(model.correct[inside].mean() - confidence[inside].mean())
    assert value("ece", model) == pytest.approx(total)


def test_image_of_a_class_that_the_model_does_not_know_has_no_loss():
    scores = answer_files.scores_of(np.array([0, 5]), np.array([[0.9, 0.1], [0.5, 0.5]]))
    assert np.isnan(scores["log_loss"]).tolist() == [False, True]


def test_same_rows_give_the_same_interval():
    model, _ = generated()
    first, second = (measures.measure("macro_f1", model, None, 0.95) for _ in range(2))
    assert first.interval == second.interval


@pytest.mark.parametrize("metric", ["macro_f1", "log_loss"])
def test_bootstrap_interval_holds_the_truth_about_as_often_as_it_says(metric, monkeypatch):
    monkeypatch.setattr(measures, "NUM_SAMPLES", 300)
    truth = value(metric, generated(100_000, seed=99)[0])
    held = 0
    for seed in range(200):
        interval = measures.measure(metric, generated(200, seed)[0], None, 0.95).interval
        held += interval.low <= truth <= interval.high
    # 95 % of 200, and three standard deviations to both sides.
    assert 0.90 <= held / 200 <= 0.995


def test_interval_of_a_calibrated_models_error_reaches_down():
    # Its true error is 0; the measured one is not, for want of images.
    rng = np.random.default_rng(4)
    confidence = rng.uniform(0.5, 1.0, 2_000)
    model = answers((rng.random(2_000) >= confidence).astype(int), np.zeros(2_000), NAMES)
    model = dataclasses.replace(model, scores={"confidence": confidence})
    interval = measures.measure("ece", model, None, 0.95).interval
    assert interval.low < interval.value / 2
    assert interval.value <= interval.high < 1.5 * interval.value


def test_multinomial_cells_are_the_bootstrap_of_images(monkeypatch):
    model, _ = generated(300)
    (by_cells,) = measures._resampled_counts("macro_f1", [model], None)
    monkeypatch.setattr(measures, "NUM_SAMPLES", 1)
    rng = np.random.default_rng(5)
    by_images = []
    for _ in range(400):
        part = model.where(rng.integers(0, 300, 300))
        by_images.append(measures._resampled_counts("macro_f1", [part], None)[0][0])
    assert np.std(by_cells[1:]) == pytest.approx(np.std(by_images), rel=0.15)
    assert np.mean(by_cells[1:]) == pytest.approx(np.mean(by_images), abs=0.005)


def test_identical_models_do_not_change():
    model, _ = generated()
    for metric in ("macro_f1", "log_loss", "ece", "brier"):
        change, _ = measures.measure_change(metric, model, model, None, 0.95)
        assert (change.interval.low, change.interval.high) == (0.0, 0.0)
