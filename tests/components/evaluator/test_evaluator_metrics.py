"""Every metric against scikit-learn or its definition, and its edge cases."""

import numpy as np
import pytest
from evaluator_samples import generated
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from slimworks.components.calibration import reliability
from slimworks.components.evaluator import average_precision, metrics, scores
from slimworks.components.evaluator.intervals import Resampling

QUICK = Resampling(samples=100)


def summarized(class_index, probabilities, resampling=QUICK):
    num_classes = probabilities.shape[1]
    rankings = [
        average_precision.rank(
            np.where(scores.finite_rows(probabilities), probabilities[:, index], np.nan),
            class_index == index,
        )
        for index in range(num_classes)
    ]
    names = [f"class {index}" for index in range(num_classes)]
    return metrics.summarize(scores.score(class_index, probabilities), names, rankings, resampling)


def values_of(result, name):
    return [entry[name] for entry in result["classes"]]


@pytest.mark.parametrize("num_classes", [2, 3, 12])
def test_metrics_of_classes_equal_scikit_learn(num_classes):
    class_index, probabilities = generated(500, num_classes)
    predicted = probabilities.argmax(axis=1)
    result = summarized(class_index, probabilities)
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        class_index, predicted, labels=range(num_classes)
    )
    assert values_of(result, "precision") == pytest.approx(precision)
    assert values_of(result, "recall") == pytest.approx(recall)
    assert values_of(result, "f1") == pytest.approx(f1)
    assert values_of(result, "support") == support.tolist()
    assert result["macro_f1"] == pytest.approx(np.mean(f1))
    assert result["weighted_f1"] == pytest.approx(np.average(f1, weights=support))
    balanced = sklearn_metrics.balanced_accuracy_score(class_index, predicted)
    assert result["macro_recall"] == pytest.approx(balanced)
    assert result["worst_class"]["recall"] == pytest.approx(recall.min())
    expected = [
        sklearn_metrics.average_precision_score(class_index == index, probabilities[:, index])
        for index in range(num_classes)
    ]
    assert values_of(result, "ap") == pytest.approx(expected)


@pytest.mark.parametrize("num_classes", [2, 3, 12])
def test_metrics_of_images_equal_scikit_learn(num_classes):
    class_index, probabilities = generated(500, num_classes)
    normalised = probabilities.astype(np.float64)
    normalised /= normalised.sum(axis=1, keepdims=True)
    result = summarized(class_index, probabilities)
    assert result["accuracy"] == pytest.approx(
        sklearn_metrics.accuracy_score(class_index, probabilities.argmax(axis=1))
    )
    assert result["log_loss"] == pytest.approx(
        sklearn_metrics.log_loss(class_index, normalised, labels=range(num_classes)), rel=1e-5
    )
    one_against_rest = [
        sklearn_metrics.brier_score_loss(class_index == index, normalised[:, index])
        for index in range(num_classes)
    ]
    assert result["brier"] == pytest.approx(sum(one_against_rest), rel=1e-5)


def test_calibration_error_equals_its_definition_over_scikit_learns_curve():
    class_index, probabilities = generated(900, 4)
    confidence = probabilities.max(axis=1).astype(np.float64)
    is_correct = probabilities.argmax(axis=1) == class_index
    diagram = reliability.diagram(confidence, is_correct)
    filled = [entry for entry in diagram["bins"] if entry["count"]]
    accuracies, confidences = calibration_curve(is_correct, confidence, n_bins=15)
    assert [entry["accuracy"] for entry in filled] == pytest.approx(accuracies)
    assert [entry["confidence"] for entry in filled] == pytest.approx(confidences)
    counts = np.array([entry["count"] for entry in filled])
    expected = (counts * np.abs(accuracies - confidences)).sum() / 900
    result = summarized(class_index, probabilities)
    assert result["ece"] == pytest.approx(expected)
    assert diagram["ece"] == pytest.approx(expected)


def test_bins_hold_their_upper_edge_and_the_first_one_zero():
    assert reliability.bin_numbers(np.array([0.0, 1 / 15, 0.07, 1.0])).tolist() == [0, 0, 1, 14]


def test_perfectly_calibrated_answers_have_no_calibration_error():
    confidence = np.full(8, 0.75)
    is_correct = np.array([True, True, True, False] * 2)
    assert reliability.expected_calibration_error(confidence, is_correct) == 0.0


def test_top5_equals_scikit_learn_and_is_absent_with_few_classes():
    class_index, probabilities = generated(400, 12)
    expected = sklearn_metrics.top_k_accuracy_score(
        class_index, probabilities, k=5, labels=range(12)
    )
    assert summarized(class_index, probabilities)["top5_accuracy"] == pytest.approx(expected)
    result = summarized(*generated(40, 5))
    assert result["top5_accuracy"] is result["top5_accuracy_interval"] is None


def test_top5_gives_no_credit_for_equal_probabilities():
    probabilities = np.full((10, 10), 0.1, np.float32)
    result = summarized(np.arange(10), probabilities)
    assert result["top5_accuracy"] == 0.5
    assert result["accuracy"] == 0.1


def test_equal_probabilities_are_one_rank_in_average_precision():
    labels = np.array([True, False, True, False, False])
    values = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    ranking = average_precision.rank(values, labels)
    expected = sklearn_metrics.average_precision_score(labels, values)
    assert average_precision.average_precision(ranking) == pytest.approx(expected)


def test_scores_of_batches_are_the_scores_of_the_whole():
    class_index, probabilities = generated(300, 7)
    probabilities[::50] = np.nan
    whole = scores.score(class_index, probabilities)
    parts = [
        scores.score(class_index[start : start + 64], probabilities[start : start + 64])
        for start in range(0, 300, 64)
    ]
    for name, values in vars(scores.concatenate(parts)).items():
        np.testing.assert_array_equal(values, getattr(whole, name))


def test_nan_rows_are_counted_as_wrong_and_never_predicted():
    class_index = np.zeros(4, np.int64)
    probabilities = np.array([[0.9, 0.1], [np.nan, np.nan], [np.inf, 0.0], [0.8, 0.2]])
    assert scores.predicted_indices(probabilities).tolist() == [0, -1, -1, 0]
    result = summarized(class_index, probabilities)
    assert (result["num_nan"], result["num_images"]) == (2, 4)
    assert result["accuracy"] == 0.5
    for name in ("log_loss", "brier", "ece"):
        assert result[name] is result[f"{name}_interval"] is None
    entry = result["classes"][0]
    assert (entry["support"], entry["num_predicted"]) == (4, 2)
    assert entry["recall"] == 0.5
    assert entry["ap"] == 0.5, "what was never retrieved is missing from the recall"


def test_all_rows_nan_gives_accuracy_zero():
    result = summarized(np.array([0, 1]), np.full((2, 2), np.nan))
    assert (result["num_nan"], result["accuracy"], result["macro_f1"]) == (2, 0.0, 0.0)


def test_class_without_images_has_no_recall_and_does_not_enter_the_means():
    result = summarized(np.array([0, 0, 1]), np.eye(3)[[0, 0, 1]])
    for name in ("recall", "precision", "f1", "ap"):
        assert result["classes"][2][name] is result["classes"][2][f"{name}_interval"] is None
    assert result["macro_f1"] == result["macro_recall"] == result["weighted_f1"] == 1.0


def test_class_that_is_only_predicted_has_precision_and_f1_zero():
    entry = summarized(np.array([0, 0]), np.eye(2)[[0, 1]])["classes"][1]
    assert (entry["precision"], entry["f1"], entry["recall"]) == (0.0, 0.0, None)


def test_one_class_alone_is_measured():
    result = summarized(np.zeros(5, np.int64), np.ones((5, 1), np.float32))
    assert result["accuracy"] == result["macro_f1"] == result["majority_class_rate"] == 1.0
    assert result["log_loss"] == result["brier"] == result["ece"] == 0.0


def test_no_images_gives_nulls_instead_of_figures():
    result = summarized(np.zeros(0, np.int64), np.zeros((0, 2)))
    assert result["num_images"] == 0
    assert result["worst_class"] is None
    named = ("accuracy", "macro_f1", "weighted_f1", "macro_recall", "log_loss", "brier", "ece")
    for name in named:
        assert result[name] is result[f"{name}_interval"] is None
    assert result["majority_class_rate"] is None


def test_worst_class_is_the_one_of_lowest_recall_and_of_equal_ones_the_largest():
    true = np.array([0, 1, 1, 2, 2, 2])
    result = summarized(true, np.eye(3)[[0, 1, 0, 2, 1, 1]])
    assert result["worst_class"]["class_name"] == "class 2"
    result = summarized(true, np.eye(3)[[1, 2, 2, 0, 0, 0]])
    assert result["worst_class"] == {
        "class_index": 2, "class_name": "class 2", "support": 3, "recall": 0.0,
        "recall_interval": result["classes"][2]["recall_interval"],
    }  # fmt: skip


def test_confident_mistake_costs_a_finite_log_loss():
    result = summarized(np.array([0]), np.array([[0.0, 1.0]]))
    assert result["log_loss"] == pytest.approx(-np.log(scores.LOG_LOSS_CLIP))
    assert result["brier"] == 2.0


def test_majority_class_rate_is_the_share_of_the_most_frequent_class():
    assert (
        summarized(np.array([0, 1, 1, 1]), np.eye(2)[[0, 0, 0, 0]])["majority_class_rate"] == 0.75
    )
