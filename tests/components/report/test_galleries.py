"""Which images the galleries show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_samples import write_predictions

from slimworks.components.contracts import LabelMap
from slimworks.components.report import galleries
from slimworks.components.report.answers import Answers, probability_of, read_answers

NAMES = ("a", "b", "c")


def predictions(path: Path, rows: list[tuple[str, int, int, float]]) -> Path:
    """Rows of (image, true class, predicted class, confidence)."""
    table = []
    for name, true, predicted, confidence in rows:
        probabilities = np.full(3, (1 - confidence) / 2)
        probabilities[predicted] = confidence
        table.append(
            {
                "image_id": name, "filename": f"{name}.jpg", "class_index": true,
                "predicted_index": predicted, "probabilities": probabilities.tolist(),
            }
        )  # fmt: skip
    write_predictions(path, table)
    return path


def answers(tmp_path: Path, rows: list[tuple[str, int, int, float]]) -> Answers:
    return read_answers(predictions(tmp_path / "candidate.parquet", rows))


def ids(gallery: galleries.Gallery) -> list[str]:
    return [image.image_id for image in gallery.images]


def test_worst_mistakes_are_the_surest_then_by_image(tmp_path: Path) -> None:
    rows = [("p", 0, 1, 0.6), ("q", 0, 1, 0.9), ("r", 1, 1, 0.99), ("o", 2, 0, 0.9)]
    worst = galleries.worst_mistakes(answers(tmp_path, rows), NAMES, 2)
    assert ids(worst) == ["o", "q"]
    assert worst.count == 3
    assert worst.images[0].true_probability == pytest.approx(0.05)


def test_fixed_and_broken_are_matched_by_image_not_by_row(tmp_path: Path) -> None:
    ours = answers(tmp_path, [("p", 0, 0, 0.9), ("q", 0, 1, 0.8), ("r", 1, 1, 0.7)])
    theirs = [("r", 1, 0, 0.9), ("q", 0, 0, 0.9), ("p", 0, 0, 0.9)]
    path = predictions(tmp_path / "baseline.parquet", theirs)
    changes = galleries.changed_images(ours, NAMES, path, 3, None)
    assert changes is not None
    assert (ids(changes.fixed), ids(changes.broken)) == (["r"], ["q"])
    assert changes.num_compared == 3
    assert [image.baseline for image in (*changes.fixed.images, *changes.broken.images)] == [
        "a",
        "a",
    ]


def test_images_that_the_baseline_never_saw_or_cannot_know_are_not_compared(
    tmp_path: Path,
) -> None:
    ours = answers(tmp_path, [("p", 0, 0, 0.9), ("q", 2, 2, 0.8), ("z", 0, 0, 0.7)])
    path = predictions(tmp_path / "b.parquet", [("p", 0, 1, 0.9), ("q", 2, 0, 0.9)])
    changes = galleries.changed_images(ours, NAMES, path, 2, None)
    assert changes is not None
    assert changes.num_compared == 1, "class 2 is new, z has no answer of the baseline"
    assert ids(changes.fixed) == ["p"]


def test_the_baselines_answer_of_a_merged_class_counts_as_its_target(tmp_path: Path) -> None:
    class Merged(LabelMap):
        def merged_since(self, version: int) -> dict[int, int]:
            return {2: 0}

    ours = answers(tmp_path, [("p", 0, 0, 0.9), ("q", 0, 1, 0.9)])
    path = predictions(tmp_path / "b.parquet", [("p", 0, 2, 0.9), ("q", 0, 2, 0.9)])
    changes = galleries.changed_images(ours, NAMES, path, 3, Merged(NAMES))
    assert changes is not None
    assert (ids(changes.fixed), ids(changes.broken)) == ([], ["q"])


def test_examples_of_confusions_come_before_those_of_right_answers(tmp_path: Path) -> None:
    right = [(f"r{n:03d}", n % 3, n % 3, 0.99) for n in range(300)]
    wrong = [(f"w{n:03d}", 0, 1, 0.5 + n / 1000) for n in range(9)]
    cells = galleries.examples_of_cells(answers(tmp_path, right + wrong), NAMES)
    assert [image.image_id for image in cells[0, 1]] == ["w008", "w007", "w006"]
    assert sum(len(shown) for shown in cells.values()) <= galleries.MAX_EXAMPLES


def test_no_example_has_no_usable_answer(tmp_path: Path) -> None:
    path = predictions(tmp_path / "p.parquet", [("p", 0, 0, 0.9)])
    row = {
        "image_id": "q", "filename": "q", "class_index": 0, "predicted_index": -1,
        "probabilities": [float("nan")] * 3,
    }  # fmt: skip
    write_predictions(path, [row])
    found = read_answers(path)
    assert galleries.examples_of_cells(found, NAMES) == {}
    assert galleries.worst_mistakes(found, NAMES, 9).count == 0


def test_probability_of_an_unknown_class_is_zero() -> None:
    found = probability_of(np.array([[0.2, 0.8], [0.3, 0.7]]), np.array([1, 2]))
    assert found.tolist() == pytest.approx([0.8, 0.0])
