"""Confident learning on predictions of known truth, and the table that people accept from."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from report_samples import SCRIPT, write_predictions

from slimworks.components.labels import corrections
from slimworks.components.report import label_errors

NAMES = ("cat", "dog", "eel")


def rows(given: np.ndarray, probabilities: np.ndarray) -> list[dict]:
    return [
        {
            "image_id": f"{number:064x}", "filename": f"{number}.jpg", "group": "",
            "class_index": int(index), "predicted_index": int(row.argmax()),
            "probabilities": row.tolist(), "logits": row.tolist(),
        }
        for number, (index, row) in enumerate(zip(given, probabilities, strict=True))
    ]  # fmt: skip


def noisy_answers(num_images: int = 600, noise: float = 0.1) -> tuple[np.ndarray, ...]:
    """True classes, given classes with some of them wrong, and fairly sure probabilities."""
    generator = np.random.default_rng(7)
    true = generator.integers(0, 3, num_images)
    logits = generator.normal(0, 1, (num_images, 3)) + 4 * np.eye(3)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    is_wrong = generator.random(num_images) < noise
    given = np.where(is_wrong, (true + generator.integers(1, 3, num_images)) % 3, true)
    return true, given, probabilities


def suspects_of(folder: Path, given: np.ndarray, probabilities: np.ndarray) -> list:
    write_predictions(folder / "predictions.parquet", rows(given, probabilities))
    return label_errors.find_suspects(folder / "predictions.parquet", NAMES)


def test_planted_label_errors_are_found_with_their_true_class(tmp_path: Path) -> None:
    true, given, probabilities = noisy_answers()
    suspects = suspects_of(tmp_path, given, probabilities)
    planted = set(np.flatnonzero(true != given))
    found = {int(suspect.image_id, 16): suspect for suspect in suspects}
    hits = planted & set(found)
    assert len(hits) / len(planted) > 0.8, "recall"
    assert len(hits) / len(found) > 0.8, "precision"
    assert all(found[number].suggested == NAMES[true[number]] for number in hits)


def test_clean_labels_of_a_sure_model_give_no_suspect(tmp_path: Path) -> None:
    true = np.arange(60) % 3
    assert suspects_of(tmp_path, true, 0.94 * np.eye(3)[true] + 0.02) == []


def test_suspects_are_ranked_by_margin(tmp_path: Path) -> None:
    _, given, probabilities = noisy_answers()
    margins = [suspect.margin for suspect in suspects_of(tmp_path, given, probabilities)]
    assert margins == sorted(margins, reverse=True)
    assert margins[-1] > 0


def test_thresholds_are_the_mean_probability_of_a_class_on_its_own_images(tmp_path: Path) -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.7, 0.2, 0.1], [0.4, 0.6, 0.0]])
    write_predictions(tmp_path / "p.parquet", rows(np.array([0, 0, 1]), probabilities))
    found = label_errors.thresholds(tmp_path / "p.parquet", 3)
    assert found == pytest.approx([0.8, 0.6, np.inf], abs=1e-6)


def test_a_class_without_images_is_never_suggested(tmp_path: Path) -> None:
    probabilities = np.array([[0.1, 0.0, 0.9]] * 5 + [[0.0, 1.0, 0.0]] * 5)
    assert suspects_of(tmp_path, np.array([0] * 5 + [1] * 5), probabilities) == []


def test_images_without_a_usable_answer_or_of_an_unknown_class_are_left_out(
    tmp_path: Path,
) -> None:
    true = np.arange(30) % 3
    table = rows(true, 0.94 * np.eye(3)[true] + 0.02)
    table[0]["probabilities"], table[0]["predicted_index"] = [float("nan")] * 3, -1
    table[1]["class_index"] = 3
    write_predictions(tmp_path / "p.parquet", table)
    assert label_errors.find_suspects(tmp_path / "p.parquet", NAMES) == []


def test_table_survives_a_spreadsheet_and_comes_back(tmp_path: Path) -> None:
    names = ("=HYPERLINK(1)", "-dash", '@a,"b"\nc')
    suspects = [
        label_errors.Suspect(f"{n:064x}", f"={SCRIPT}.jpg", "cat", name, 0.75, 0.5)
        for n, name in enumerate(names)
    ]
    label_errors.write_csv(tmp_path / "label_errors.csv", suspects)
    table = list(csv.DictReader(io.StringIO((tmp_path / "label_errors.csv").read_text("utf-8"))))
    assert [row["suggested_class"][0] for row in table] == ["'", "'", "'"], "no formula is run"
    text = (tmp_path / "label_errors.csv").read_text("utf-8").replace("0.7500,", "0.7500,x")
    (tmp_path / "label_errors.csv").write_text(text.replace('@a,""b""\nc', "@a"), "utf-8")
    accepted = corrections.read_accepted(tmp_path / "label_errors.csv")
    assert [one.class_name for one in accepted] == ["=HYPERLINK(1)", "-dash", "@a"]
    assert accepted[0].filename == f"={SCRIPT}.jpg"
