"""Reads an evaluation, decides, and writes the blessing."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files, formats
from slimworks.components.evaluator import predictions_file
from slimworks.components.gate import bounds, decision, seen_images, shadowing, signatures
from slimworks.components.gate.answers import read_answers
from slimworks.components.gate.config import GateConfig

_LOGGER = logging.getLogger(__name__)

# TFX's own convention: an empty file that its Pusher and resolvers know.
BLESSED_FILE, NOT_BLESSED_FILE = "BLESSED", "NOT_BLESSED"


def bless(
    evaluation_dir: str | os.PathLike[str],
    model_dir: str | os.PathLike[str],
    label_map: contracts.LabelMap,
    output_dir: str | os.PathLike[str],
    config: GateConfig,
    baseline_model_dir: str | os.PathLike[str] | None = None,
    examples_dir: str | os.PathLike[str] | None = None,
    force: Mapping[str, str] | None = None,
) -> decision.Decision:
    """Judges a candidate and writes decision.json and BLESSED or NOT_BLESSED.

    With `gate.require_shadow` it also sends logged requests to the model, and writes shadow.json
    and shadow.html.

    Missing evidence (no predictions, no metrics) is a failed bound, not an error.

    Args:
        evaluation_dir: Evaluation artifact of the candidate.
        model_dir: Model artifact of the candidate.
        label_map: Classes of this run, by class index.
        output_dir: Receives the blessing.
        config: Thresholds.
        baseline_model_dir: Model that the evaluation compared with, if any.
        examples_dir: What the candidate was trained and evaluated with; None: not looked at.
        force: Who wants the candidate blessed in any case, and why: {"by", "reason"}.

    Raises:
        DataError: A model folder names no classes, or a shard of the examples is damaged.
    """
    evaluation, output = Path(evaluation_dir), Path(output_dir)
    _LOGGER.info("judging %s", model_dir)
    metrics = _read_metrics(evaluation / contracts.EVALUATION_METRICS_FILE)
    candidate = read_answers(evaluation / contracts.PREDICTIONS_FILE, model_dir)
    checks = [
        *_own_predictions(evaluation / contracts.PREDICTIONS_FILE, model_dir, "candidate"),
        *bounds.as_trained(metrics),
    ]
    if examples_dir is not None:
        split = metrics.get("split", "test")
        checks.append(seen_images.unseen_images(candidate, examples_dir, split))
    baseline = None
    if baseline_model_dir is not None:
        path = evaluation / contracts.BASELINE_PREDICTIONS_FILE
        baseline = read_answers(path, baseline_model_dir)
        checks += _own_predictions(path, baseline_model_dir, "baseline")
        checks.append(_signatures(model_dir, baseline_model_dir))
    checks += shadowing.shadow_bounds(model_dir, baseline_model_dir, output, config)
    decided = decision.decide(metrics, candidate, baseline, label_map, config, checks)
    decided = decided.forced_by(force)
    # decision.json first: who sees BLESSED may rely on the reasons being there.
    files.write_json(output / contracts.DECISION_FILE, decided.as_json())
    files.write_bytes(output / (BLESSED_FILE if decided.blessed else NOT_BLESSED_FILE), b"")
    _LOGGER.info(
        "%s, %s: %s", decided.verdict, "blessed" if decided.blessed else "not blessed", output
    )
    return decided


def _own_predictions(
    path: Path, model_dir: str | os.PathLike[str], whose: str
) -> list[bounds.Bound]:
    """Fails where the predictions are another model's; older files do not say whose they are."""
    facts = predictions_file.read_facts(path) if path.is_file() else None
    if facts is None:
        return []
    own = files.sha256_of_tree(Path(model_dir) / contracts.SAVED_MODEL_FOLDER)
    reason = f"The predictions are of the {whose} as it is."
    if facts.model_digest != own:
        reason = f"{path.name} holds the answers of another model than the {whose}."
    return [bounds.check(f"{whose}_predictions", facts.model_digest == own, reason)]


def _signatures(
    model_dir: str | os.PathLike[str], baseline_dir: str | os.PathLike[str]
) -> bounds.Bound:
    read = signatures.read_signatures
    return signatures.compare_signatures(read(model_dir), read(baseline_dir))


def _read_metrics(path: Path) -> dict[str, Any]:
    return formats.read(path) if path.is_file() else {}
