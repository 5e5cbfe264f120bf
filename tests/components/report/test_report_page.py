import base64
import dataclasses
import io
import re
import subprocess
import sys

import pytest
from html_pages import Page
from ingest_samples import drift
from PIL import Image
from report_samples import (
    CLASS_NAMES,
    SCRIPT,
    decision,
    finished_run,
    metrics,
)

from slimworks.components import contracts, files
from slimworks.components.report.report import ReportInputs, render_report, write_report

SECTIONS = [
    "gate", "pushed", "data", "training", "classes", "confusion", "mistakes", "steps", "reproduce",
]  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def text(inputs):
    return render_report(inputs)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_page_is_written_whole(tmp_path, inputs, text):
    write_report(tmp_path / "report.html", inputs)
    assert (tmp_path / "report.html").read_text("utf-8") == text


def test_page_has_all_sections_in_order(page):
    assert [section["id"] for section in page.of("section")] == SECTIONS
    targets = [link["href"] for link in page.of("a")]
    assert [target for target in targets if target.startswith("#")][-len(SECTIONS) :] == [
        f"#{section}" for section in SECTIONS
    ]


def test_page_loads_nothing(page, text):
    for _, attributes in page.elements:
        for name in ("src", "href"):
            assert not re.match(r"(https?:)?//", attributes.get(name) or "")
    assert not re.search(r"url\(|@import|https?://", text)
    assert [script for script in page.of("script") if "src" in script] == []
    assert {link["rel"] for link in page.of("link")} == {"icon"}


def test_names_are_text_and_never_markup(page, text):
    assert len(page.of("script")) == 1
    assert page.of("b") == [attributes for attributes in page.of("b") if "style" in attributes]
    assert page.of("i") == [attributes for attributes in page.of("i") if "style" in attributes]
    assert SCRIPT not in text
    for name in CLASS_NAMES:
        assert name in page.texts["classes"]
        assert name in page.texts["confusion"]
        assert name in page.texts["data"]
    assert SCRIPT in page.texts["mistakes"]
    assert SCRIPT in page.texts["reproduce"]
    assert SCRIPT in page.texts["steps"]


def test_verdict_comes_first(page):
    top = page.texts["top"]
    assert "Fail The gate refused the model Reason 0 of" in top
    assert "Reason 3 of" in top
    assert "Reason 4 of" not in top
    assert "and 2 more" in top
    assert "Accuracy 70.0% 40.0 to 89.0%" in top
    assert "Lowest recall 50.0% <b>rose</b>" in top
    assert "Against the baseline −20.0 points; 1 fixed, 3 broken" in top


@pytest.mark.parametrize(
    ("changes", "pushed", "title"),
    [
        ({"verdict": "fail"}, None, "Fail The gate refused the model"),
        ({"verdict": "pass", "blessed": True}, None, "Pass The model may be pushed"),
        ({"verdict": "pass", "blessed": True}, 7, "Pass Pushed as version 7"),
        ({"verdict": "inconclusive"}, None, "Inconclusive The evidence does not suffice"),
        (
            {"verdict": "inconclusive", "on_inconclusive": "keep"},
            None,
            "Inconclusive The live model stays",
        ),
        (
            {"verdict": "inconclusive", "on_inconclusive": "push", "blessed": True},
            8,
            "Inconclusive Pushed as version 8",
        ),
    ],
)
def test_headline_says_what_came_of_the_run(tmp_path, changes, pushed, title):
    files.write_json(tmp_path / "decision.json", decision(**changes))
    facts = {"version": pushed, "base_path": "/m", "pushed_to": f"/m/{pushed}"} if pushed else None
    inputs = ReportInputs(
        "r", "n", "t", decision_path=str(tmp_path / "decision.json"), pushed=facts
    )
    page = Page(render_report(inputs))
    assert title in page.texts["top"]
    assert (f"/m/{pushed}" if pushed else "Nothing was pushed.") in page.texts["pushed"]


def test_gate_lists_failures_first_with_reasons(page):
    gate = page.texts["gate"]
    order = [gate.index(name) for name in ("Accuracy accuracy: because", "Against", "Recall of")]
    assert order == sorted(order)
    assert "70.0% 40.0% to 89.0% ≥ 90.0%" in gate
    assert "Sound evidence finite_probabilities: because" in gate
    assert "≥ −2.0" in gate


def test_data_section_counts_and_names_rejects(page):
    data = page.texts["data"]
    assert "All classes 3,702 3,702 3,702 11,106" in data
    assert "Truncated (44)" in data
    assert "and 4 more in rejects.jsonl" in data
    assert "Not an image (1) note.txt" in data
    assert "Identical files (1 group) One of each is used. no picture a.jpg b.jpg" in data
    assert "Identical images under several classes (1 group)" in data
    assert "no picture c.jpg d.jpg" in data


def test_training_section_draws_both_curves(page):
    labels = [svg["aria-label"] for svg in page.of("svg")]
    assert labels == [
        "Loss by epoch. train: 2 to 0.1. eval: 2 to 0.1.",
        "Accuracy by epoch. train: 50% to 98%. eval: 50% to 98%.",
    ]
    assert len(page.of("polyline")) == 4
    assert len([line for line in page.of("line") if line["class"] == "best"]) == 2


def test_class_table_is_sortable_and_shows_intervals(page):
    buttons = page.of("button")
    assert len(buttons) == 5 + 5
    assert "75.0% 30.0 to 95.0%" in page.texts["classes"]
    assert "–" in page.texts["classes"]
    assert "NaN" in page.texts["classes"]


def test_matrix_cells_say_what_they_mean(page):
    titles = [cell["title"] for cell in page.of("td") if "title" in cell]
    assert "1 image of gänse & blümchen predicted as <b>rose</b> (25%)" in titles
    assert "4 images of <b>rose</b> predicted as <b>rose</b> (100%)" in titles


def test_many_classes_give_a_list_instead_of_a_matrix(tmp_path, inputs):
    files.write_json(tmp_path / contracts.EVALUATION_METRICS_FILE, metrics(num_classes=40))
    page = Page(render_report(dataclasses.replace(inputs, evaluation_dir=str(tmp_path))))
    assert "40 classes are too many for a matrix" in page.texts["confusion"]
    assert "class 1 class 0 1 50.0%" in page.texts["confusion"]
    assert [table for table in page.of("table") if table.get("class") == "matrix"] == []


def test_mistakes_are_the_surest_first_with_thumbnails(page):
    mistakes = page.texts["mistakes"]
    assert "3 of 3 mistakes" in mistakes
    order = [mistakes.index(f"/{index} {SCRIPT}.jpg") for index in (7, 1, 4)]
    assert order == sorted(order)
    images = page.of("img")
    assert len(images) == 3
    for image in images:
        head, _, body = image["src"].partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(body))) as picture:
            assert max(picture.size) <= 160


def test_fewer_mistakes_are_shown_on_request(inputs):
    page = Page(render_report(dataclasses.replace(inputs, worst_mistakes=1)))
    assert len(page.of("img")) == 1
    assert "1 of 3 mistakes" in page.texts["mistakes"]


def test_mistakes_without_examples_are_listed_without_pictures(tmp_path, inputs):
    for folder, note in [(None, "The examples are gone"), (str(tmp_path), "holds no TFRecord")]:
        page = Page(render_report(dataclasses.replace(inputs, examples_dir=folder)))
        assert note in page.texts["mistakes"]
        assert page.of("img") == []


def test_steps_show_why_each_ran(page):
    assert "ingest Reused 3.2 s same" in page.texts["steps"]
    assert "trainer Ran 1 min 15 s" in page.texts["steps"]


def test_run_that_had_nothing_to_do_says_why(tmp_path):
    files.write_json(tmp_path / "drift.json", drift(retrain=False, reasons=["Nothing is new."]))
    inputs = ReportInputs("r", "n", "t", drift_path=str(tmp_path / "drift.json"))
    page = Page(render_report(inputs))
    assert "Nothing to do Nothing was trained Nothing is new." in page.texts["top"]


def test_replay_facts_are_shown(page):
    assert "Num images 64 Passed yes" in page.texts["pushed"]


def test_run_that_failed_early_says_so_in_every_section():
    error = {"type": "DataError", "cause": f"No photo in {SCRIPT}.", "fix": "Add some."}
    page = Page(render_report(ReportInputs("r", "n", "t", error=error)))
    assert "Stopped The run stopped with an error No photo in" in page.texts["top"]
    assert "Add some." in page.texts["top"]
    notes = {
        "gate": "The gate did not run.",
        "pushed": "Nothing was pushed.",
        "data": "There is no ingest report",
        "training": "There are no training curves",
        "classes": "There is no evaluation",
        "confusion": "There is no evaluation",
        "mistakes": "There are no predictions",
        "steps": "No step was started.",
        "reproduce": "The command is not known.",
    }
    for section, note in notes.items():
        assert note in page.texts[section]


@pytest.mark.parametrize(
    "missing",
    [
        "ingest_report_dir", "drift_path", "label_map_dir", "model_dir", "evaluation_dir",
        "examples_dir", "decision_path", "replay_path", "command", "config_yaml",
    ],
)  # fmt: skip
def test_any_one_input_may_be_missing(tmp_path, inputs, missing):
    Page(render_report(dataclasses.replace(inputs, **{missing: None})))
    Page(render_report(dataclasses.replace(inputs, **{missing: str(tmp_path / "gone")})))


def test_report_needs_no_tensorflow():
    code = (
        "import sys, slimworks.components.report.report\n"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'apache_beam', 'pandas', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
