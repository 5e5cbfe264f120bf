"""Rules of `gate.bounds`: what they say, and what is refused before anything runs."""

import dataclasses
import json

import numpy as np
import pytest
from gate_samples import CLASS_NAMES, answers, metrics_of, right, truth

from slimworks.components.contracts import LabelMap
from slimworks.components.errors import ConfigError
from slimworks.components.gate import estimates
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.decision import decide
from slimworks.components.gate.rules import BoundRule
from slimworks.pipeline.config import parse_config

CAMERAS = [{"slice": {"camera": name}} for name in ("new", "old")]


def judged(candidate, *rules, baseline=None, metrics=None, **config):
    names = LabelMap(candidate.class_names)
    config = GateConfig(bounds=rules, **config)
    return decide({**metrics_of(candidate), **(metrics or {})}, candidate, baseline, names, config)


def bound_of(decision, name):
    (bound,) = [bound for bound in decision.bounds if bound.name == name]
    return bound


def with_cameras(model, is_old):
    cameras = np.where(is_old, "old", "new").astype(object)
    return dataclasses.replace(model, columns={"slice/camera": cameras})


def with_scores(model, log_loss):
    zeros = np.zeros(len(model))
    scores = {"log_loss": log_loss, "brier": zeros, "top5": zeros + 1, "confidence": zeros + 0.9}
    return dataclasses.replace(model, scores=scores)


# --- Rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "cause", "fix"),
    [
        (
            {"metric": "accuracy"},
            "A bound on accuracy in gate.bounds has no limit, expected one of min, max, max_drop, "
            "max_rise.",
            "Write one bound for each limit, such as {metric: accuracy, min: 0.9}.",
        ),
        (
            {"metric": "accuracy", "min": 0.8, "max_drop": 0.1},
            "A bound on accuracy in gate.bounds has the limits min and max_drop, expected one of "
            "min, max, max_drop, max_rise.",
            "Write one bound for each limit, such as {metric: accuracy, min: 0.9}.",
        ),
        (
            {"metric": "log_loss", "min": 0.8},
            "A bound on log_loss in gate.bounds has min: a lower log_loss is better.",
            "Write max or max_rise instead.",
        ),
        (
            {"metric": "macro_f1", "max_rise": 0.8},
            "A bound on macro_f1 in gate.bounds has max_rise: a higher macro_f1 is better.",
            "Write min or max_drop instead.",
        ),
        (
            {"metric": "accuracy", "min": 90},
            "A bound on accuracy in gate.bounds has min 90, expected a fraction in [0, 1].",
            "For 90 percent write 0.9.",
        ),
        (
            {"metric": "recall", "min": 0.5},
            "gate.bounds: recall needs a class.",
            "Write {metric: recall, class: each, ...}, or a class's name.",
        ),
        (
            {"metric": "accuracy", "min": 0.5, "class": "rose"},
            "gate.bounds: accuracy is of no single class.",
            "Leave class out, or bound one of recall, precision, f1.",
        ),
        (
            {"metric": "accuracy", "mim": 0.5},
            "Unknown key 'gate.bounds.0.mim'. Did you mean 'gate.bounds.0.min'?",
            "Keys of section 'gate.bounds.0': class, max, max_drop, max_rise, metric, min, "
            "min_support, slice, when_open.",
        ),
    ],
)
def test_rule_that_cannot_be_meant_is_refused(rule, cause, fix):
    with pytest.raises(ConfigError) as raised:
        parse_config({"gate": {"bounds": [rule]}})
    assert (raised.value.cause, raised.value.fix) == (cause, fix)


def test_rules_survive_the_way_to_the_component():
    rule = {"metric": "recall", "min": 0.5, "class": "rose", "slice": {"camera": "old"}}
    config = parse_config({"gate": {"bounds": [rule]}}).gate
    again = GateConfig.model_validate_json(config.canonical_json())
    assert again == config
    assert again.bounds[0].shown() == rule


def test_settings_are_short_for_rules():
    config = GateConfig(min_accuracy=0.9, min_class_recall=0.5, max_slice_drop=0.2)
    assert [rule.shown() for rule in config.rules] == [
        {"metric": "accuracy", "min": 0.9},
        {"metric": "recall", "min": 0.5, "class": "each"},
        {"metric": "accuracy", "max_drop": 0.2, "slice": "each", "when_open": "pass"},
        {"metric": "recall", "max_drop": 0.2, "class": "each", "when_open": "pass"},
    ]


# --- Absolute bounds ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "verdict"), [(0.7, "pass"), (0.95, "fail"), (0.83, "inconclusive")]
)
def test_macro_f1_against_a_minimum(limit, verdict):
    decision = judged(right(300, 250), BoundRule(metric="macro_f1", min=limit))
    bound = bound_of(decision, "macro_f1")
    assert bound.verdict == verdict
    assert bound.low < bound.value < bound.high


@pytest.mark.parametrize(
    ("limit", "verdict"), [(0.7, "pass"), (0.3, "fail"), (0.5, "inconclusive")]
)
def test_loss_must_stay_below_its_maximum(limit, verdict):
    model = with_scores(right(300, 250), np.random.default_rng(1).uniform(0, 1, 300))
    bound = bound_of(judged(model, BoundRule(metric="log_loss", max=limit)), "log_loss")
    assert (bound.verdict, bound.sign) == (verdict, "<=")


def test_precision_of_a_class_counts_the_images_that_are_called_it():
    model = right(300, 250)
    bound = bound_of(
        judged(model, BoundRule(metric="precision", min=0.6, class_name="rose")),
        "class_precision/rose",
    )
    called = model.predicted_index == 1
    assert bound.support == called.sum()
    assert bound.value == pytest.approx(model.correct[called].mean())


def test_predictions_without_probabilities_fail_a_rule_that_needs_them():
    decision = judged(right(90, 80), BoundRule(metric="ece", max=0.1))
    assert decision.reasons == ["Calibration error: the predictions hold no probabilities."]


# --- Slices and classes ---------------------------------------------------------------------


def test_slice_is_judged_by_its_own_images():
    is_old = np.arange(300) >= 200
    model = with_cameras(right(300, 200), is_old)  # all of the old camera wrong
    rule = BoundRule(metric="accuracy", min=0.5, slice={"camera": "old"})
    decision = judged(model, rule)
    bound = bound_of(decision, "accuracy[camera=old]")
    assert (bound.verdict, bound.value, bound.support) == ("fail", 0.0, 100)
    assert bound.as_json()["slice"] == {"camera": "old"}
    assert "Accuracy where camera=old 0.000 on 100 images" in bound.reason


def test_each_slice_of_the_evaluation_has_a_bound():
    model = with_cameras(right(300, 290), np.arange(300) % 2 == 0)
    rule = BoundRule(metric="accuracy", min=0.5, slice="each")
    decision = judged(model, rule, metrics={"slices": CAMERAS})
    names = [bound.name for bound in decision.bounds if bound.slice]
    assert names == ["accuracy[camera=new]", "accuracy[camera=old]"]


def test_slice_without_images_is_inconclusive():
    model = with_cameras(right(300, 290), np.zeros(300, bool))
    decision = judged(model, BoundRule(metric="accuracy", min=0.5, slice={"camera": "old"}))
    assert decision.verdict == "inconclusive"
    assert decision.reasons == ["Accuracy where camera=old: there is no such test image."]


def test_dimension_that_no_image_has_fails():
    model = with_cameras(right(300, 290), np.zeros(300, bool))
    decision = judged(model, BoundRule(metric="accuracy", min=0.5, slice={"camra": "old"}))
    assert decision.verdict == "fail"
    assert (
        "There is no dimension 'camra' to slice the images by. Did you mean 'camera'?"
        in (decision.reasons[0])
    )


def test_class_that_the_model_does_not_have_fails():
    decision = judged(right(90, 80), BoundRule(metric="f1", min=0.5, class_name="ros"))
    assert decision.reasons == ["The model has no class 'ros'. Did you mean 'rose'?"]


def test_slice_with_few_images_never_passes_and_may_fail():
    model = with_cameras(right(300, 298), np.arange(300) < 5)
    rule = BoundRule(metric="accuracy", min=0.5, slice={"camera": "old"})
    reason = "Accuracy where camera=old: 5 test images are fewer than gate.min_support (10)."
    assert judged(model, rule).reasons == [reason]
    own = rule.model_copy(update={"min_support": 5})
    assert judged(model, own).verdict == "pass"
    wrong = with_cameras(right(300, 290), np.arange(300) >= 295)
    assert judged(wrong, rule.model_copy(update={"min": 0.9})).verdict == "fail"


def test_open_rule_may_be_told_to_pass():
    model = with_cameras(right(300, 280), np.arange(300) >= 260)  # half of 40 wrong
    rule = BoundRule(metric="accuracy", min=0.55, slice={"camera": "old"}, when_open="pass")
    bound = bound_of(judged(model, rule), "accuracy[camera=old]")
    assert bound.verdict == "pass"
    assert "that neither proves nor rules out 0.55" in bound.reason


# --- Many bounds at once --------------------------------------------------------------------


def test_holm_is_the_step_down_of_its_definition():
    assert estimates.holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert estimates.holm([0.0166, 0.024, 0.049], 0.05) == [True, True, True]
    assert estimates.holm([], 0.05) == []


def test_one_of_many_classes_that_is_low_by_chance_is_no_failure():
    # 40 classes of 20 images; one has a recall that alone would be below 0.9.
    names = tuple(f"c{index:02d}" for index in range(40))
    true = np.repeat(np.arange(40), 20)
    predicted = true.copy()
    predicted[:6] = 1  # 14 of 20: Wilson's upper limit is 0.855
    model = answers(predicted, true, names)
    alone = judged(model, BoundRule(metric="recall", min=0.9, class_name="c00"))
    assert bound_of(alone, "class_recall/c00").verdict == "fail"
    together = judged(model, BoundRule(metric="recall", min=0.9, class_name="each"))
    bound = bound_of(together, "class_recall/c00")
    assert bound.verdict == "inconclusive"
    assert bound.reason.endswith("Among 40 bounds, that may be chance (Holm).")
    predicted[:18] = 1  # 2 of 20 is no chance, however many classes there are
    clear = judged(
        answers(predicted, true, names), BoundRule(metric="recall", min=0.9, class_name="each")
    )
    assert bound_of(clear, "class_recall/c00").verdict == "fail"


# --- Against the baseline -------------------------------------------------------------------


def test_slice_that_collapses_is_refused_though_the_average_rises():
    true = truth(600)
    is_old = np.arange(600) % 3 == 0
    before = np.where(~is_old & (np.arange(600) % 2 == 0), (true + 1) % 3, true)
    now = np.where(is_old & (np.arange(600) % 2 == 0), (true + 1) % 3, true)
    candidate = with_cameras(answers(now, true), is_old)
    decision = judged(
        candidate,
        baseline=with_cameras(answers(before, true), is_old),
        metrics={"slices": CAMERAS},
    )
    assert decision.baseline["relation"] == "better"
    assert decision.verdict == "fail"
    assert "Accuracy where camera=old -0.500" in decision.reasons[0]
    assert bound_of(decision, "accuracy_change[camera=new]").verdict == "pass"


def test_class_that_the_candidate_never_learned_is_refused():
    true = truth(300)
    candidate = answers(np.where(true == 2, 0, true), true)
    baseline = right(300, 190)
    decision = judged(candidate, baseline=baseline)
    assert bound_of(decision, "class_recall_change/tulip").verdict == "fail"
    assert decision.verdict == "fail"


def test_guard_does_not_hold_up_what_is_only_unproven():
    candidate, baseline = right(60, 60), right(60, 60)
    decision = judged(candidate, baseline=baseline)
    assert bound_of(decision, "class_recall_change/rose").verdict == "pass"
    assert decision.verdict == "pass"


def test_the_same_answers_on_few_images_are_called_just_that():
    decision = judged(right(9, 9), baseline=right(9, 9))
    bound = bound_of(decision, "class_recall_change/rose")
    assert bound.verdict == "pass"
    assert bound.reason.endswith("against the baseline on 3 images: the same answers.")


def test_paired_bootstrap_of_a_loss_sees_what_separate_intervals_do_not():
    rng = np.random.default_rng(3)
    losses = rng.exponential(1.0, 400)  # wide between images
    baseline = with_scores(right(400, 350), losses)
    candidate = with_scores(right(400, 350), losses + 0.05)
    bound = bound_of(
        judged(candidate, BoundRule(metric="log_loss", max_rise=0.02), baseline=baseline),
        "log_loss_change",
    )
    assert bound.verdict == "fail"
    assert bound.value == pytest.approx(0.05)
    assert bound.high - bound.low < 1e-6
    assert bound.baseline == pytest.approx(losses.mean())


def test_losses_that_are_no_numbers_are_refused_and_written_as_json():
    baseline = with_scores(right(90, 80), np.full(90, 0.1))
    candidate = with_scores(right(90, 80), np.full(90, np.nan))
    candidate.predicted_index[:] = -1
    rules = [BoundRule(metric="log_loss", max_rise=0.1), BoundRule(metric="log_loss", max=1.0)]
    decision = judged(candidate, *rules, baseline=baseline)
    assert decision.verdict == "fail"
    assert decision.reasons[0].startswith("90 of 90 test images got a probability that is NaN")
    assert "log_loss" not in decision.baseline["changes"]
    json.dumps(decision.as_json(), allow_nan=False)


def test_rule_on_a_change_waits_for_a_baseline():
    decision = judged(right(90, 80), BoundRule(metric="macro_f1", max_drop=0.01))
    assert "macro_f1_change" not in [bound.name for bound in decision.bounds]
    assert decision.verdict == "pass"


def test_losses_are_not_compared_over_a_merge():
    merged = LabelMap().updated(list(CLASS_NAMES)).updated([], merges={"rose": "daisy"})
    true = np.arange(200) % 2 * 2
    candidate = with_scores(answers(true, true), np.full(200, 0.1))
    candidate = dataclasses.replace(candidate, label_map_version=2)
    baseline = dataclasses.replace(candidate, label_map_version=1)
    config = GateConfig(bounds=[BoundRule(metric="log_loss", max_rise=0.1)])
    decision = decide(metrics_of(candidate), candidate, baseline, merged, config)
    assert decision.verdict == "inconclusive"
    assert "classes were merged since the baseline was trained" in decision.reasons[0]


def test_changes_that_are_no_proportions_are_in_the_facts():
    losses = np.random.default_rng(3).exponential(1.0, 90)
    decision = judged(
        with_scores(right(90, 80), losses), baseline=with_scores(right(90, 70), losses)
    )
    assert set(decision.baseline["changes"]) == {"macro_f1", "log_loss", "ece"}
    assert decision.baseline["changes"]["macro_f1"]["low"] > 0
