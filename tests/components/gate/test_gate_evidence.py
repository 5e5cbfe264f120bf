"""What the gate looks at beside answers: signatures, images seen in training, exports, --force."""

import dataclasses
import json

import numpy as np
import pytest
from gate_samples import CLASS_NAMES, answers, metrics_of, right, truth, write_saved_model

from slimworks.components import contracts, files
from slimworks.components.contracts import LabelMap
from slimworks.components.examples import encoding, tfrecord
from slimworks.components.gate import bounds, table
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.decision import decide
from slimworks.components.gate.seen_images import unseen_images
from slimworks.components.gate.signatures import compare_signatures, read_signatures

FORCE = {"by": "ann@lab", "reason": "the new camera needs it"}


# --- Signatures -----------------------------------------------------------------------------


def compared(tmp_path, **changes):
    old = read_signatures(write_saved_model(tmp_path / "old"))
    return compare_signatures(read_signatures(write_saved_model(tmp_path / "new", **changes)), old)


def test_same_signatures_pass(tmp_path):
    assert compared(tmp_path).verdict == "pass"


def test_added_signature_harms_no_client(tmp_path):
    assert compared(tmp_path, signatures=("serving_default", "embed")).verdict == "pass"


def test_sizes_that_follow_the_network_may_change_and_are_named(tmp_path):
    bound = compared(tmp_path, width=5)
    assert bound.verdict == "pass"
    assert bound.reason == (
        "The same signatures; sizes changed: output classes of serving_default was string [?, 3] "
        "and is string [?, 5]."
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"classes_type": "int64"},
            "Clients of the baseline would fail: output classes of serving_default was string "
            "[?, 3] and is int64 [?, 3].",
        ),
        (
            {"signatures": ("predict",)},
            "Clients of the baseline would fail: input images of serving_default is gone, output "
            "classes of serving_default is gone.",
        ),
        (
            {"signatures": ()},
            "saved_model.pb of the candidate is missing, damaged, or has no signature.",
        ),
    ],
)
def test_signature_that_breaks_clients_fails(tmp_path, changes, reason):
    bound = compared(tmp_path, **changes)
    assert (bound.verdict, bound.reason) == ("fail", reason)


def test_damaged_model_has_no_signatures(tmp_path):
    model = write_saved_model(tmp_path / "model")
    path = model / contracts.SAVED_MODEL_FOLDER / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:-3])
    assert read_signatures(model) is None
    assert compare_signatures(None, None).verdict == "fail"


# --- Images seen in training ----------------------------------------------------------------


def write_split(folder, split, images):
    """images: (id, group) pairs."""
    shard = contracts.split_folder(folder, split)
    shard.mkdir(parents=True)
    with open(shard / "data", "wb") as stream:
        for image_id, group in images:
            record = encoding.ImageRecord(
                encoded=b"x", format="png", original_format="png", class_index=0,
                class_name="daisy", filename=f"daisy/{image_id}.png", height=8, width=8,
                colorspace="RGB", channels=3, image_id=image_id, group=group, brightness=0.5,
                sharpness=0.1, span=1,
            )  # fmt: skip
            tfrecord.write_record(stream, encoding.encode_example(record))
    return folder


def judged_images(folder, ids, groups, split="test"):
    model = answers(np.zeros(len(ids)), np.zeros(len(ids)), ids=ids)
    model = dataclasses.replace(model, columns={"group": np.array(groups, object)})
    return unseen_images(model, folder, split)


def test_images_of_their_own_pass(tmp_path):
    write_split(tmp_path, "train", [("a", "a"), ("b", "b")])
    assert judged_images(tmp_path, ["c", "d"], ["c", "d"]).verdict == "pass"


def test_test_image_that_was_trained_on_fails(tmp_path):
    write_split(tmp_path, "train", [("a", "a"), ("b", "b")])
    write_split(tmp_path, "eval", [("c", "c")])
    bound = judged_images(tmp_path, ["b", "c", "d"], ["b", "c", "d"])
    assert (bound.verdict, bound.value) == ("fail", 2.0)
    assert bound.reason == (
        "2 test images were trained on or chosen by (daisy/b.png in train): the accuracy is too "
        "good to be believed."
    )


def test_image_of_the_same_group_fails(tmp_path):
    write_split(tmp_path, "train", [("a", "patient-1"), ("b", "patient-2")])
    bound = judged_images(tmp_path, ["c"], ["patient-2"])
    assert bound.verdict == "fail"
    assert "1 training images are of the same groups as test images (daisy/b.png in train)" in (
        bound.reason
    )


def test_other_splits_than_test_are_said_to_flatter(tmp_path):
    write_split(tmp_path, "train", [("a", "a")])
    bound = judged_images(tmp_path, ["a"], ["a"], split="eval")
    assert bound.verdict == "pass"
    assert bound.reason == "Judged on the eval split, which training reads: the figures flatter."


# --- As trained -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("difference", "verdict"), [(2e-5, "pass"), (0.01, "pass"), (0.011, "fail"), (None, "fail")]
)
def test_export_has_to_answer_as_the_trained_network(difference, verdict):
    found = {"num_images": 32, "num_other_answers": 3, "max_probability_difference": difference}
    (bound,) = bounds.as_trained({"as_trained": found})
    assert bound.verdict == verdict


def test_model_without_answers_of_its_training_has_no_such_bound():
    assert bounds.as_trained({"as_trained": None}) == []


# --- Force ----------------------------------------------------------------------------------


def refused(candidate, *checks, **metrics):
    names = LabelMap(CLASS_NAMES)
    config = GateConfig(min_accuracy=0.99)
    return decide({**metrics_of(candidate), **metrics}, candidate, None, names, config, checks)


def test_force_blesses_what_the_gate_refuses_and_keeps_the_verdict():
    decision = refused(right(90, 60)).forced_by(FORCE)
    assert (decision.verdict, decision.blessed, decision.forced) == ("fail", True, FORCE)
    assert json.loads(json.dumps(decision.as_json()))["forced"] == FORCE
    last = table.format_table(decision.as_json()).splitlines()[-1]
    assert last == (
        "verdict: fail; pushed all the same by ann@lab (--force): the new camera needs it"
    )


def test_force_is_not_noted_where_nobody_needs_it():
    passed = decide(
        metrics_of(right(90, 80)), right(90, 80), None, LabelMap(CLASS_NAMES), GateConfig()
    )
    assert passed.forced_by(FORCE) == passed


@pytest.mark.parametrize(
    "unsound",
    ["finite_probabilities", "consistent_metrics", "as_trained", "unseen_images",
     "candidate_predictions"],
)  # fmt: skip
def test_force_does_not_override_figures_that_are_not_sound(unsound):
    candidate, changes = right(90, 60), {}
    checks = [bounds.check(unsound, False, "It is not so.")]
    if unsound == "finite_probabilities":
        candidate.predicted_index[0] = -1
        checks = []
    if unsound == "consistent_metrics":
        checks, changes = [], {"accuracy": 0.999}
    decision = refused(candidate, *checks, **changes).forced_by(FORCE)
    assert not decision.blessed
    assert decision.forced is None
    assert decision.reasons[-1] == (
        f"--force does not override {unsound}: the figures are not sound."
    )


def test_force_overrides_what_is_a_matter_of_clients():
    check = bounds.check("signatures", False, "Clients of the baseline would fail: ...")
    assert refused(right(90, 60), check).forced_by(FORCE).blessed


# --- Simulated models -----------------------------------------------------------------------


def decided(seed, accuracy, baseline_accuracy, num_slices=0, num_images=600):
    rng = np.random.default_rng(seed)
    true = truth(num_images)
    pair = []
    for rate in (accuracy, baseline_accuracy):
        wrong = rng.random(num_images) >= rate
        model = answers((true + wrong * rng.integers(1, 3, num_images)) % 3, true)
        values = (np.arange(num_images) % max(num_slices, 1)).astype(str).astype(object)
        pair.append(dataclasses.replace(model, columns={"slice/place": values}))
    metrics = metrics_of(pair[0])
    metrics["slices"] = [{"slice": {"place": "0"}}] if num_slices else []
    return decide(metrics, *pair, LabelMap(CLASS_NAMES), GateConfig())


@pytest.fixture
def quick_bootstrap(monkeypatch):
    monkeypatch.setattr("slimworks.components.gate.measures.NUM_SAMPLES", 10)


@pytest.mark.parametrize(
    ("accuracy", "wrong_verdict"),
    [
        (0.80, "pass"),  # ten points worse: must not pass
        (0.98, "fail"),  # eight points better: must not fail
    ],
)
def test_verdict_is_hardly_ever_the_opposite_of_the_truth(quick_bootstrap, accuracy, wrong_verdict):
    verdicts = [decided(seed, accuracy, 0.9).verdict for seed in range(100)]
    assert verdicts.count(wrong_verdict) / 100 < 0.05
    right_verdict = {"pass": "fail", "fail": "pass"}[wrong_verdict]
    assert verdicts.count(right_verdict) / 100 > 0.9


def test_many_slices_hardly_ever_refuse_an_equal_model(quick_bootstrap):
    failed = 0
    for seed in range(60):
        parts = [b for b in decided(seed, 0.85, 0.85, num_slices=15).bounds if b.slice]
        assert len(parts) == 15
        failed += any(bound.verdict == "fail" for bound in parts)
    assert failed / 60 < 0.05


def test_margin_is_passed_falsely_as_rarely_as_the_confidence_says(quick_bootstrap):
    # At the margin itself, the worst case: one-sided 2.5 %, and three standard deviations.
    verdicts = [decided(seed, 0.88, 0.90).verdict for seed in range(200)]
    assert verdicts.count("pass") / 200 <= 0.06


def test_decision_reads_back(tmp_path):
    decision = refused(right(90, 60))
    files.write_json(tmp_path / "decision.json", decision.as_json())
    read = files.read_json(tmp_path / "decision.json")
    assert read["format"] == 2
    assert read["bootstrap"] == {"samples": 2000, "seed": 20_240_117}
    assert "accuracy" in table.format_table(read)
