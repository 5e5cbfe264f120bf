import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from slimworks.components.evaluator import metrics


def generated(num_images, num_classes, seed=0):
    """Predictions of a model that is right more often than not."""
    rng = np.random.default_rng(seed)
    class_index = rng.integers(0, num_classes, num_images)
    logits = rng.normal(size=(num_images, num_classes))
    logits[np.arange(num_images), class_index] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return class_index, probabilities.astype(np.float32)


def summarized(class_index, probabilities):
    counts = metrics.count(class_index, probabilities)
    names = [f"class {index}" for index in range(probabilities.shape[1])]
    return metrics.summarize(counts, names, 0.95)


@pytest.mark.parametrize("num_classes", [2, 3, 12])
def test_metrics_equal_scikit_learn(num_classes):
    class_index, probabilities = generated(500, num_classes)
    normalised = probabilities.astype(np.float64)
    normalised /= normalised.sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    result = summarized(class_index, probabilities)
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        class_index, predicted, labels=range(num_classes)
    )
    assert result["accuracy"] == pytest.approx(
        sklearn_metrics.accuracy_score(class_index, predicted)
    )
    assert [entry["precision"] for entry in result["classes"]] == pytest.approx(precision)
    assert [entry["recall"] for entry in result["classes"]] == pytest.approx(recall)
    assert [entry["f1"] for entry in result["classes"]] == pytest.approx(f1)
    assert [entry["support"] for entry in result["classes"]] == support.tolist()
    assert result["macro_f1"] == pytest.approx(np.mean(f1))
    assert (
        result["confusion_matrix"]
        == sklearn_metrics.confusion_matrix(
            class_index, predicted, labels=range(num_classes)
        ).tolist()
    )
    assert result["log_loss"] == pytest.approx(
        sklearn_metrics.log_loss(class_index, normalised, labels=range(num_classes)),
        rel=1e-5,
    )


def test_top5_equals_scikit_learn_and_is_absent_with_few_classes():
    class_index, probabilities = generated(400, 12)
    expected = sklearn_metrics.top_k_accuracy_score(
        class_index, probabilities, k=5, labels=range(12)
    )
    assert summarized(class_index, probabilities)["top5_accuracy"] == pytest.approx(expected)
    assert summarized(*generated(40, 5))["top5_accuracy"] is None


def test_top5_gives_no_credit_for_equal_probabilities():
    probabilities = np.full((10, 10), 0.1, np.float32)
    result = summarized(np.arange(10), probabilities)
    assert result["top5_accuracy"] == 0.5
    assert result["accuracy"] == 0.1


def test_counts_of_batches_add_up_to_the_whole():
    class_index, probabilities = generated(300, 7)
    probabilities[::50] = np.nan
    whole = metrics.count(class_index, probabilities)
    parts = metrics.empty_counts(7)
    for start in range(0, 300, 64):
        rows = slice(start, start + 64)
        parts += metrics.count(class_index[rows], probabilities[rows])
    np.testing.assert_array_equal(parts.confusion, whole.confusion)
    np.testing.assert_array_equal(parts.nan_by_class, whole.nan_by_class)
    assert parts.top_k_correct == whole.top_k_correct
    assert parts.log_loss_sum == pytest.approx(whole.log_loss_sum)


def test_nan_rows_are_counted_as_wrong_and_never_predicted():
    class_index = np.zeros(4, np.int64)
    probabilities = np.array([[0.9, 0.1], [np.nan, np.nan], [np.inf, 0.0], [0.8, 0.2]])
    assert metrics.predicted_indices(probabilities).tolist() == [0, -1, -1, 0]
    result = summarized(class_index, probabilities)
    assert result["num_nan"] == 2
    assert result["num_images"] == 4
    assert result["accuracy"] == 0.5
    assert result["log_loss"] is None
    assert result["confusion_matrix"] == [[2, 0], [0, 0]]
    assert result["classes"][0]["support"] == 4
    assert result["classes"][0]["recall"] == 0.5


def test_all_rows_nan_gives_accuracy_zero():
    result = summarized(np.array([0, 1]), np.full((2, 2), np.nan))
    assert (result["num_nan"], result["accuracy"]) == (2, 0.0)


def test_class_without_images_has_no_recall_and_does_not_enter_macro_f1():
    result = summarized(np.array([0, 0, 1]), np.eye(3)[[0, 0, 1]])
    assert result["classes"][2]["recall"] is None
    assert result["classes"][2]["precision"] is None
    assert result["classes"][2]["f1"] is None
    assert result["macro_f1"] == 1.0


def test_no_images_gives_nulls_instead_of_figures():
    result = metrics.summarize(metrics.empty_counts(2), ["a", "b"], 0.95)
    assert result["num_images"] == 0
    for key in ("accuracy", "accuracy_interval", "majority_class_rate", "macro_f1", "log_loss"):
        assert result[key] is None


def test_confident_mistake_costs_a_finite_log_loss():
    result = summarized(np.array([0]), np.array([[0.0, 1.0]]))
    assert result["log_loss"] == pytest.approx(-np.log(metrics.LOG_LOSS_CLIP))


def test_majority_class_rate_is_the_share_of_the_most_frequent_class():
    assert (
        summarized(np.array([0, 1, 1, 1]), np.eye(2)[[0, 0, 0, 0]])["majority_class_rate"] == 0.75
    )


def test_intervals_hold_the_value_and_stay_in_range():
    for successes in range(21):
        entry = metrics.proportion("recall", successes, 20, 0.95)
        low, high = entry["recall_interval"]
        assert 0.0 <= low <= entry["recall"] <= high <= 1.0
        assert low < high
