"""Two models of known accuracy on generated predictions: how often is the gate's word wrong?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fault_bench.healthy import Healthy, Outcome

from slimworks.components.contracts import LabelMap
from slimworks.components.gate.answers import Answers
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.decision import Decision, decide

NUM_SEEDS = 200
NUM_IMAGES, NUM_CLASSES = 400, 5
ALLOWED = 0.05
_CONFIG = GateConfig(max_slice_drop=None)


def noise(healthy: Healthy, work: Path) -> Outcome:
    """Equal models must not be called better: another seed is no improvement."""
    del healthy, work
    decided = [pair(seed, 0.9, 0.9) for seed in range(NUM_SEEDS)]
    wrong = sum(relation(decision) == "better" for decision in decided)
    return _outcome(wrong, "equal models called better")


def loss(healthy: Healthy, work: Path) -> Outcome:
    """A model that is two margins worse must not pass as "not worse"."""
    del healthy, work
    decided = [pair(seed, 0.86, 0.9) for seed in range(NUM_SEEDS)]
    wrong = sum(decision.verdict == "pass" for decision in decided)
    return _outcome(wrong, "worse models passed")


def _outcome(wrong: int, what: str) -> Outcome:
    reason = f"{wrong} of {NUM_SEEDS} {what} ({wrong / NUM_SEEDS:.1%}, allowed {ALLOWED:.0%})."
    held = wrong / NUM_SEEDS < ALLOWED
    return Outcome("gate" if held else "", "refused" if held else "missed", reason)


def pair(seed: int, accuracy: float, baseline_accuracy: float) -> Decision:
    """The gate's decision on two independent models of these true accuracies."""
    rng = np.random.default_rng(seed)
    true = np.arange(NUM_IMAGES) % NUM_CLASSES
    candidate, baseline = (_model(rng, true, rate) for rate in (accuracy, baseline_accuracy))
    metrics = {
        "num_images": NUM_IMAGES,
        "num_nan": 0,
        "accuracy": float(candidate.correct.mean()),
    }
    return decide(metrics, candidate, baseline, LabelMap(candidate.class_names), _CONFIG)


def _model(rng: np.random.Generator, true: np.ndarray, accuracy: float) -> Answers:
    is_wrong = rng.random(len(true)) >= accuracy
    moved = rng.integers(1, NUM_CLASSES, len(true))
    names = tuple(f"class-{index}" for index in range(NUM_CLASSES))
    ids = np.array([f"{index:06d}" for index in range(len(true))])
    return Answers(names, ids, true, (true + is_wrong * moved) % NUM_CLASSES)


def relation(decision: Decision) -> str:
    """Of the candidate to the baseline."""
    assert decision.baseline is not None
    return str(decision.baseline["relation"])
