"""The table of docs/gate.md, line by line."""

import dataclasses
import math

import numpy as np
import pytest
from gate_samples import CLASS_NAMES, answers, metrics_of, pair, right, truth

from slimworks.components.contracts import LabelMap
from slimworks.components.gate.bounds import Bound
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.decision import combine, decide


def judged(candidate, baseline=None, class_names=CLASS_NAMES, metrics=None, **config):
    label_map = LabelMap(tuple(class_names))
    metrics = metrics_of(candidate) if metrics is None else metrics
    return decide(metrics, candidate, baseline, label_map, GateConfig(**config))


def bound_of(decision, name):
    (bound,) = [bound for bound in decision.bounds if bound.name == name]
    return bound


# --- First run ------------------------------------------------------------------------------


def test_first_run_passes_when_better_than_the_most_frequent_class():
    decision = judged(right(90, 60))
    assert (decision.verdict, decision.blessed, decision.baseline) == ("pass", True, None)
    assert decision.reasons == [
        "Accuracy 0.667 on 90 images means 0.564 to 0.755: better than always "
        "guessing daisy (0.333)."
    ]


def test_first_run_fails_when_always_guessing_one_class():
    decision = judged(answers(np.zeros(90), truth(90)))
    assert (decision.verdict, decision.blessed) == ("fail", False)
    assert decision.reasons == ["Accuracy 0.333 is not better than always guessing daisy (0.333)."]


def test_first_run_is_inconclusive_when_luck_explains_the_accuracy():
    decision = judged(right(90, 34))
    assert (decision.verdict, decision.blessed) == ("inconclusive", False)
    assert "that may be no better than always guessing daisy" in decision.reasons[0]
    assert "such test images would settle it." in decision.reasons[0]


def test_first_run_on_a_skewed_test_set_needs_more_than_the_skew():
    true = np.array([0] * 95 + [1] * 5)
    assert judged(answers(true * 0, true)).verdict == "fail"
    assert judged(answers(true, true), require_every_class=False).verdict == "pass"


def test_test_images_of_one_class_prove_nothing():
    true = np.zeros(50)
    decision = judged(answers(true, true))
    assert decision.verdict == "inconclusive"
    assert "All 50 test images are of the class daisy: they prove nothing." in decision.reasons


def test_first_run_fails_when_a_baseline_is_required():
    decision = judged(right(90, 85), require_baseline=True)
    assert decision.verdict == "fail"
    assert decision.reasons == [
        "There is no blessed model to compare with, and gate.require_baseline is true."
    ]


# --- Thresholds -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_correct", "verdict", "reason"),
    [
        (290, "pass", "Accuracy 0.967 on 300 images means 0.940 to 0.982: 0.9 is reached."),
        (240, "fail", "Accuracy 0.800 on 300 images means 0.751 to 0.841: below 0.9."),
        (276, "inconclusive", "that neither proves nor rules out 0.9. About 870 such test images"),
        (270, "inconclusive", "No test set of a practical size would settle it."),
    ],
)
def test_min_accuracy(num_correct, verdict, reason):
    decision = judged(right(300, num_correct), min_accuracy=0.9)
    assert bound_of(decision, "accuracy").verdict == verdict == decision.verdict
    assert any(reason in text for text in decision.reasons)


def test_bound_below_min_support_never_passes():
    decision = judged(right(9, 9), min_accuracy=0.5)
    assert decision.verdict == "inconclusive"
    assert "9 test images are fewer than gate.min_support (10)." in decision.reasons


def test_bound_below_min_support_may_still_fail():
    assert judged(right(9, 0), min_accuracy=0.9).verdict == "fail"


def test_class_recall_names_the_class_that_is_too_low():
    true = truth(300)
    predicted = np.where(true == 1, 0, true)
    decision = judged(answers(predicted, true), min_class_recall=0.5)
    assert decision.verdict == "fail"
    assert decision.reasons == [
        "Recall of rose 0.000 on 100 images means 0.000 to 0.037: below 0.5."
    ]
    assert bound_of(decision, "class_recall/daisy").verdict == "pass"


def test_class_without_test_images_is_inconclusive():
    true = np.arange(200) % 2
    decision = judged(answers(true, true), min_class_recall=0.5, require_every_class=False)
    assert decision.verdict == "inconclusive"
    assert decision.reasons == ["Recall of tulip: there is no such test image."]


def test_class_without_test_images_is_inconclusive_whatever_is_asked():
    true = np.arange(200) % 2
    decision = judged(answers(true, true))
    assert decision.verdict == "inconclusive"
    assert decision.reasons == [
        "No test image is of tulip: nothing is known of the model there. Add images, merge the "
        "class (data.merge_classes), or accept it: gate.require_every_class false."
    ]
    assert judged(answers(true, true), require_every_class=False).verdict == "pass"


# --- Soundness: fails closed ----------------------------------------------------------------


def test_one_nan_fails():
    candidate = right(90, 89)
    candidate.predicted_index[-1] = -1
    decision = judged(candidate)
    assert decision.verdict == "fail"
    assert decision.reasons == ["1 of 90 test images got a probability that is NaN or infinite."]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"accuracy": None}, "accuracy is missing, the predictions give 0.888889"),
        ({"accuracy": math.nan}, "accuracy is nan, the predictions give 0.888889"),
        ({"accuracy": 0.99}, "accuracy is 0.99, the predictions give 0.888889"),
        ({"num_images": 80}, "num_images is 80, the predictions give 90"),
        ({"num_nan": None}, "num_nan is missing, the predictions give 0"),
        ({"accuracy": "high"}, "accuracy is high, the predictions give 0.888889"),
    ],
)
def test_metrics_that_disagree_with_the_predictions_fail(change, problem):
    candidate = right(90, 80)
    decision = judged(candidate, metrics=metrics_of(candidate) | change)
    assert decision.verdict == "fail"
    assert decision.reasons == [f"The evaluation contradicts itself: {problem}."]


def test_missing_metrics_fail():
    assert judged(right(90, 80), metrics={}).verdict == "fail"


def test_image_that_occurs_twice_fails():
    candidate = answers(truth(20), truth(20), ids=["same"] * 20)
    decision = judged(candidate)
    assert decision.verdict == "fail"
    assert decision.reasons == ["The evaluation contradicts itself: an image occurs twice."]


def test_no_test_image_fails():
    decision = judged(answers([], []))
    assert decision.verdict == "fail"
    assert "There is no test image." in decision.reasons
    assert decision.candidate["accuracy"] is None


def test_candidate_of_other_classes_fails():
    decision = judged(right(90, 80), class_names=("daisy", "rose", "lily"))
    assert decision.verdict == "fail"
    assert decision.reasons == [
        "The model was trained for daisy, rose, tulip; the label map names daisy, rose, lily."
    ]


# --- Against the baseline -------------------------------------------------------------------


def test_identical_candidate_passes_as_not_worse():
    candidate = right(60, 50)
    decision = judged(candidate, right(60, 50))
    assert decision.verdict == "pass"
    assert decision.baseline["relation"] == "not worse"
    assert "The same answer as the baseline on all 60 images: not worse." in decision.reasons


def test_identical_candidate_on_too_few_images_is_inconclusive():
    decision = judged(right(6, 6), right(6, 6))
    assert decision.verdict == "inconclusive"
    assert decision.baseline["relation"] == "unclear"


@pytest.mark.parametrize(
    ("counts", "verdict", "relation"),
    [
        ((300, 30, 5, 65), "pass", "better"),
        ((900, 20, 18, 62), "pass", "not worse"),
        ((300, 5, 30, 65), "fail", "worse"),
        ((60, 2, 5, 13), "inconclusive", "unclear"),
        # Significantly worse, though the drop is smaller than the margin.
        ((9000, 20, 60, 920), "fail", "worse"),
    ],
)
def test_comparison_with_the_baseline(counts, verdict, relation):
    decision = judged(*pair(*counts))
    assert (decision.verdict, decision.baseline["relation"]) == (verdict, relation)
    assert (decision.baseline["fixed"], decision.baseline["broken"]) == counts[1:3]


def test_inconclusive_comparison_says_how_many_images_would_settle_it():
    decision = judged(*pair(80, 4, 4, 12))
    (reason,) = decision.reasons
    assert "4 fixed and 4 broken of 100 images" in reason
    assert "a drop of more than 0.02 is neither shown nor ruled out." in reason
    assert reason.endswith("About 810 such test images would settle it.")
    settled = judged(*pair(80 * 9, 36, 36, 12 * 9))
    assert settled.verdict == "pass"


def test_reasons_of_better_and_worse_hold_the_evidence():
    better = judged(*pair(300, 30, 5, 65)).reasons[-1]
    assert better.startswith(
        "Better than the baseline: 30 fixed and 5 broken of 400 images (exact McNemar p = "
    )
    worse = judged(*pair(300, 5, 30, 65)).reasons[0]
    assert worse.startswith("Worse than the baseline: 5 fixed and 30 broken of 400 images")


def test_equal_model_is_not_called_better(monkeypatch):
    """Two models of equal accuracy, 200 draws: below 5 % may look better."""
    monkeypatch.setattr("slimworks.components.gate.measures.NUM_SAMPLES", 10)
    rng = np.random.default_rng(3)
    relations = []
    for _ in range(200):
        counts = rng.multinomial(400, [0.80, 0.05, 0.05, 0.10])
        relations.append(judged(*pair(*counts)).baseline["relation"])
    assert relations.count("better") / 200 < 0.05
    assert relations.count("worse") / 200 < 0.05


def test_images_are_joined_by_id_not_by_row():
    candidate, baseline = pair(60, 10, 3, 27)
    order = np.random.default_rng(0).permutation(100)
    shuffled = judged(candidate, baseline.where(order))
    assert shuffled.baseline == judged(candidate, baseline).baseline


@pytest.mark.parametrize(
    ("baseline", "reason"),
    [
        (lambda b: b.where(np.arange(99)), "The baseline was evaluated on 99 of 100 test images."),
        (lambda b: b.where(np.arange(0)), "The baseline was evaluated on 0 of 100 test images."),
        (
            lambda b: b.where(np.append(np.arange(100), 0)),
            "An image occurs twice in the predictions of the baseline.",
        ),
        (
            lambda b: dataclasses.replace(b, predicted_index=np.full(100, -1)),
            "The baseline has NaN or infinite probabilities on 100 images.",
        ),
        (
            lambda b: dataclasses.replace(b, class_index=(b.class_index + 1) % 3),
            "The true classes differ between the two predictions files.",
        ),
    ],
)
def test_baseline_without_sound_answers_to_the_test_images_fails(baseline, reason):
    candidate, good = pair(70, 20, 3, 7)
    decision = judged(candidate, baseline(good))
    assert (decision.verdict, decision.reasons) == ("fail", [reason])


def test_baseline_on_more_images_is_compared_on_the_common_ones():
    candidate, baseline = pair(70, 20, 3, 7)
    part = candidate.where(np.arange(90))
    assert judged(part, baseline).baseline["num_images"] == 90


# --- Changed label map ----------------------------------------------------------------------


def test_appended_class_is_compared_on_the_classes_that_the_baseline_knows():
    true = truth(400, 4)
    candidate = answers(true, true, ("daisy", "rose", "tulip", "aster"))
    baseline = answers(true % 3, true)
    decision = judged(candidate, baseline, class_names=candidate.class_names)
    assert decision.verdict == "pass"
    assert decision.baseline["num_images"] == 300
    assert decision.baseline["accuracy"] == 1.0
    reason = "Classes were appended (aster): compared on the 3 known ones."
    assert decision.reasons[0].endswith(reason)


def test_only_images_of_appended_classes_are_inconclusive():
    true = np.full(40, 3)
    candidate = answers(true, true, ("daisy", "rose", "tulip", "aster"))
    baseline = answers(true % 3, true)
    decision = judged(
        candidate, baseline, class_names=candidate.class_names, require_every_class=False
    )
    assert decision.verdict == "inconclusive"
    assert decision.reasons == ["No test image is of a class that the baseline knows."]


@pytest.mark.parametrize(
    ("old", "change"),
    [
        (
            ("rose", "daisy", "tulip"),
            r"(the same names in another order): index 0 meant 'rose' and now means 'daisy'",
        ),
        (
            ("daisy", "rose", "lily"),
            r"(renamed or removed): index 2 meant 'lily' and now means 'tulip'",
        ),
        (("daisy", "rose", "tulip", "aster", "iris"), "(aster, iris removed)"),
        (
            ("aster", "daisy", "rose", "tulip"),
            "(renamed or removed): index 0 meant 'aster' and now means 'daisy'",
        ),
    ],
)
def test_class_index_with_another_meaning_fails(old, change):
    true = truth(100)
    decision = judged(answers(true, true), answers(true, true, old))
    assert decision.verdict == "fail"
    assert decision.reasons == [
        f"Class indices changed their meaning {change}. Clients would misread them."
    ]


# --- Verdict --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass", "pass"], "pass"),
        (["pass", "inconclusive"], "inconclusive"),
        (["inconclusive", "fail", "pass"], "fail"),
        ([], "fail"),
        (["unheard of"], "fail"),
    ],
)
def test_verdicts_combine_to_the_worst(verdicts, expected):
    assert combine([Bound("b", None, None, None, None, v, "") for v in verdicts]) == expected


@pytest.mark.parametrize(
    ("on_inconclusive", "blessed"), [("refuse", False), ("keep", False), ("push", True)]
)
def test_on_inconclusive_decides_about_the_blessing(on_inconclusive, blessed):
    decision = judged(right(90, 34), on_inconclusive=on_inconclusive)
    assert (decision.verdict, decision.blessed) == ("inconclusive", blessed)


def test_on_inconclusive_never_blesses_a_failure():
    assert not judged(right(90, 10), on_inconclusive="push").blessed
