"""What a run cost: CPU time, memory, and how many images a second went through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slimworks.components.report import wording


def cost_facts(
    steps: Sequence[Mapping[str, Any]],
    model: Mapping[str, Any] | None,
    metrics: Mapping[str, Any] | None,
) -> list[tuple[str, str]]:
    """(label, value) of what is known; steps that were reused cost nothing but their look-up.

    Args:
        steps: {"name", "state", "seconds", "cpu_seconds", "peak_memory_bytes"} each.
        model: Content of model.json, for the images a second of training.
        metrics: Content of metrics.json, for those of the evaluation.
    """
    facts = []
    measured = [step for step in steps if step.get("cpu_seconds")]
    if measured:
        total = sum(step["cpu_seconds"] for step in measured)
        facts.append(("CPU time", wording.seconds(total)))
    peaks = [step for step in measured if step.get("peak_memory_bytes")]
    if peaks:
        largest = max(peaks, key=lambda step: step["peak_memory_bytes"])
        size = wording.size(largest["peak_memory_bytes"])
        facts.append(("Peak memory of a process", f"{size} ({largest['name']})"))
    facts += _rate("Trained", _training_rate(steps, model))
    facts += _rate("Evaluated", _evaluation_rate(steps, metrics))
    return facts


def _rate(label: str, images_per_second: float | None) -> list[tuple[str, str]]:
    if images_per_second is None:
        return []
    return [(label, f"{wording.figure(images_per_second)} images/s")]


def _training_rate(
    steps: Sequence[Mapping[str, Any]], model: Mapping[str, Any] | None
) -> float | None:
    facts = model or {}
    if not _has_run(steps, "trainer") or not facts.get("train_seconds"):
        return None
    if facts.get("num_steps") is None or facts.get("batch_size") is None:
        return None
    return float(facts["num_steps"] * facts["batch_size"] / facts["train_seconds"])


def _evaluation_rate(
    steps: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any] | None
) -> float | None:
    """Images a second of the whole step: loading the models, both of them, and the metrics too."""
    if metrics is None or not (step := _has_run(steps, "evaluator")) or not step["seconds"]:
        return None
    num_models = 2 if metrics.get("baseline") else 1
    return float(num_models * metrics["num_images"] / step["seconds"])


def _has_run(steps: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((step for step in steps if step["name"] == name and step["state"] == "ran"), None)
