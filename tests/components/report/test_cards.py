"""Model card and data card of a version."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from report_samples import CLASS_NAMES, decision, finished_run

from slimworks.components import contracts, files
from slimworks.components.report import cards
from slimworks.components.report.facts import ReportInputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    folder = tmp_path_factory.mktemp("run")
    inputs = finished_run(folder)
    model = Path(str(inputs.model_dir)) / contracts.MODEL_FACTS_FILE
    files.write_json(model, {**files.read_json(model), "class_names": list(CLASS_NAMES)})
    files.write_json(folder / "gate" / contracts.DECISION_FILE, decision("pass", blessed=True))
    base = folder / "serving"
    pushed = {"version": 4, "base_path": str(base), "pushed_to": str(base / "4")}
    return dataclasses.replace(inputs, pushed=pushed)


def test_model_card_says_what_it_is_and_how_well_it_does(inputs: ReportInputs) -> None:
    text = cards.model_card(inputs)
    assert text.startswith("# Model card: flowers, version 4\n")
    assert "| Network | lenet |" in text
    assert "| Accuracy | 70.0% | 40.0% to 89.0% |" in text
    assert "Verdict of the gate: **pass**." in text
    assert "- camera=" in text, "the slice that is low"
    assert "| Model | ffffffffffffffff" in text
    assert "    slimworks run --data 'my photos'" in text


def test_data_card_counts_images_and_what_was_left_out(inputs: ReportInputs) -> None:
    text = cards.data_card(inputs)
    assert text.startswith("# Data card: flowers, version 4\n")
    assert "| All classes | 3,702 | 3,702 | 3,702 | 11,106 |" in text
    assert "- truncated: 44 files" in text
    assert "| Images used | 10 |" in text


def test_names_are_text_in_markdown(inputs: ReportInputs) -> None:
    for text in (cards.model_card(inputs), cards.data_card(inputs)):
        assert "<script>" not in text
        assert "<b>" not in text
        assert "&lt;b&gt;rose&lt;/b&gt;" in text


def test_a_name_cannot_end_its_cell_or_line(inputs: ReportInputs) -> None:
    hostile = dataclasses.replace(inputs, name="a | b\n# c [x](y) `z` *w*")
    title = cards.data_card(hostile).splitlines()[0]
    assert title == "# Data card: a \\| b # c \\[x\\](y) \\`z\\` \\*w\\*, version 4"


def test_tables_have_as_many_cells_in_every_row(inputs: ReportInputs) -> None:
    for text in (cards.model_card(inputs), cards.data_card(inputs)):
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
            assert len(widths) == 1, table


def test_cards_lie_beside_the_ledger_and_are_written_once(inputs: ReportInputs) -> None:
    folder = Path(cards.write_cards(inputs) or "")
    assert folder == Path(inputs.pushed["base_path"]) / ".slimworks/cards/4"
    assert sorted(path.name for path in folder.iterdir()) == ["data-card.md", "model-card.md"]
    (folder / cards.MODEL_CARD).write_text("kept")
    cards.write_cards(dataclasses.replace(inputs, run_id="later"))
    assert (folder / cards.MODEL_CARD).read_text() == "kept"
    assert list(contracts.version_folders(inputs.pushed["base_path"])) == []


def test_run_that_pushed_nothing_has_no_cards(inputs: ReportInputs) -> None:
    assert cards.write_cards(dataclasses.replace(inputs, pushed=None)) is None


@pytest.mark.parametrize(
    "missing", ["ingest_report_dir", "model_dir", "evaluation_dir", "decision_path", "command"]
)
def test_missing_facts_are_left_out(inputs: ReportInputs, missing: str) -> None:
    without = dataclasses.replace(inputs, **{missing: None})
    assert "version 4" in cards.model_card(without)
    assert "version 4" in cards.data_card(without)
