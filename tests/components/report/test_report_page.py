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
    bound,
    decision,
    finished_run,
    metrics,
)

from slimworks.components import contracts, files
from slimworks.components.report.facts import ReportInputs
from slimworks.components.report.report import render_report, write_report

SECTIONS = [
    "gate", "pushed", "data", "training", "classes", "confusion", "reliability", "slices",
    "changes", "mistakes", "labels", "steps", "lineage", "reproduce",
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
    targets = [link["href"] for link in page.of("a") if link["href"].startswith("#")]
    assert targets[-len(SECTIONS) :] == [f"#{section}" for section in SECTIONS]


def test_page_loads_nothing(page, text):
    for _, attributes in page.elements:
        for name in ("src", "href"):
            assert not re.match(r"(https?:)?//", attributes.get(name) or "")
    assert not re.search(r"url\(|@import|https?://", text)
    assert [script for script in page.of("script") if "src" in script] == []
    others = {link["href"] for link in page.of("a") if not link["href"].startswith("#")}
    assert others == {"label_errors.csv"}, "beside the page"
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
    for section in ("steps", "slices", "changes", "labels", "lineage"):
        assert SCRIPT in page.texts[section]


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


def rule(name, verdict, **changes):
    """A bound as decision.json has it since format 2."""
    return {**bound(name, verdict), "metric": "accuracy", "slice": None, "class": None,
            "support": 40, "baseline": None, "sign": ">=", **changes}  # fmt: skip


def gate_text(folder, bounds, **changes):
    files.write_json(folder / "decision.json", {**decision(), "bounds": bounds, **changes})
    inputs = ReportInputs("r", "n", "t", decision_path=str(folder / "decision.json"))
    return Page(render_report(inputs)).texts


def test_rules_are_named_by_metric_class_and_slice(tmp_path):
    gate = gate_text(tmp_path, [
        rule("accuracy_change[camera=old]", "fail", slice={"camera": "old"}, threshold=-0.1),
        rule("class_recall/rose", "fail", metric="recall", **{"class": "rose"}),
        rule("log_loss", "fail", metric="log_loss", sign="<=", threshold=0.5),
        rule("log_loss_change", "fail", metric="log_loss", sign="<=", threshold=0.02),
    ])["gate"]  # fmt: skip
    change = "+70.0 points +40.0 to +89.0 ≥ −10.0"
    assert "Accuracy where camera=old against the baseline" in gate
    assert change in gate
    assert "Recall of rose" in gate
    assert "0.700 0.400 to 0.890 ≤ 0.500" in gate
    assert "Log loss against the baseline" in gate
    assert "+0.700 +0.400 to +0.890 ≤ +0.020" in gate


def test_thousands_of_bounds_leave_a_page_of_bounded_size(tmp_path):
    names = [f"class_recall/c{number}" for number in range(900)]
    gate = gate_text(tmp_path, [rule(name, "fail") for name in names])["gate"]
    assert "820 more bounds are in decision.json." in gate
    assert gate.count("c79: because") == 1
    assert "c80: because" not in gate


def test_forced_push_says_who_and_why(tmp_path):
    forced = {"by": "ann@desk", "reason": f"The old one is worse {SCRIPT}."}
    files.write_json(tmp_path / "decision.json", {**decision(blessed=True), "forced": forced})
    pushed = {"version": 7, "base_path": "/m", "pushed_to": "/m/7"}
    path = str(tmp_path / "decision.json")
    page = Page(render_report(ReportInputs("r", "n", "t", decision_path=path, pushed=pushed)))
    assert "Forced Pushed as version 7 by force ann@desk pushed past the gate" in page.texts["top"]
    assert SCRIPT in page.texts["top"]


def test_data_section_counts_and_names_rejects(page):
    data = page.texts["data"]
    assert "All classes 3,702 3,702 3,702 11,106" in data
    assert "Truncated (44)" in data
    assert "and 4 more in rejects.jsonl" in data
    assert "Not an image (1) note.txt" in data
    assert "Identical files (1 group) One of each is used. no picture a.jpg b.jpg" in data
    assert "Identical images under several classes (1 group)" in data
    assert "no picture c.jpg d.jpg" in data


def test_training_section_draws_the_curves_with_phases_and_the_kept_epoch(page):
    labels = [svg["aria-label"] for svg in page.of("svg")][:3]
    assert labels == [
        "Loss by epoch. train: 2 to 0.1. eval: 2 to 0.1.",
        "Accuracy by epoch. train: 50% to 98%. eval: 50% to 98%.",
        "Learning rate by epoch. train: 0.01 to 0.0005.",
    ]
    lines = [line for line in page.of("polyline") if line["class"] in ("train", "eval")]
    assert len(lines) == 5
    assert len([line for line in page.of("line") if line["class"] == "best"]) == 3
    assert len([line for line in page.of("line") if line["class"] == "phase"]) == 3
    assert "Accuracy train 98% eval 98% kept 97%" in page.texts["training"]
    assert "Learning rate highest 0.01 kept" in page.texts["training"]
    assert "head all" in page.texts["training"]
    assert "Repeatable bit-equal" in page.texts["training"]


def test_class_table_is_sortable_and_shows_intervals(page):
    tables = [table for table in page.of("table") if table.get("class", "").startswith("sortable")]
    assert len(tables) == 3, "classes by split, metrics by class, slices"
    assert "75.0% 30.0 to 95.0%" in page.texts["classes"]
    assert "0.600 0.400 to 0.700 0.810 0.700 to 0.900" in page.texts["classes"]
    assert "–" in page.texts["classes"]
    assert "NaN" in page.texts["classes"]


def test_matrix_cells_say_what_they_mean(page):
    titles = [cell["title"] for cell in page.of("td") if "title" in cell]
    assert "1 image of gänse & blümchen predicted as <b>rose</b> (17%)" in titles
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
    for image in page.of("img"):
        head, _, body = image["src"].partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(body))) as picture:
            assert max(picture.size) <= 160


def test_fewer_mistakes_are_shown_on_request(inputs):
    page = Page(render_report(dataclasses.replace(inputs, worst_mistakes=1)))
    assert "1 of 3 mistakes" in page.texts["mistakes"]
    assert "and 2 more in the predictions file" in page.texts["mistakes"]


def test_mistakes_without_examples_are_listed_without_pictures(tmp_path, inputs):
    for folder, note in [(None, "The examples are gone"), (str(tmp_path), "holds no TFRecord")]:
        page = Page(render_report(dataclasses.replace(inputs, examples_dir=folder)))
        assert note in page.texts["mistakes"]
        assert page.of("img") == []


def test_steps_show_why_each_ran(page):
    assert "ingest Reused 3.2 s 0.4 s 300.0 MB same" in page.texts["steps"]
    assert "trainer Ran 1 min 15 s 2 min 0 s 1.9 GB" in page.texts["steps"]


def test_run_that_had_nothing_to_do_says_why(tmp_path):
    files.write_json(tmp_path / "drift.json", drift(retrain=False, reasons=["Nothing is new."]))
    inputs = ReportInputs("r", "n", "t", drift_path=str(tmp_path / "drift.json"))
    page = Page(render_report(inputs))
    assert "Nothing to do Nothing was trained Nothing is new." in page.texts["top"]


def test_cost_of_the_run_is_one_line(page):
    cost = "Cost CPU time 2 min 10 s Peak memory of a process 1.9 GB (trainer) Trained 50 images/s"
    assert f"{cost} Evaluated 5 images/s" in page.texts["steps"], "two models, ten images each"


def test_steps_of_older_runs_have_no_cost(inputs):
    steps = [
        {key: step[key] for key in ("name", "seconds", "cached", "state", "reason")}
        for step in inputs.steps
    ]
    page = Page(render_report(dataclasses.replace(inputs, steps=steps, model_dir=None)))
    assert "ingest Reused 3.2 s same" in page.texts["steps"]
    assert "MB" not in page.texts["steps"]
    assert "Trained" not in page.texts["steps"]


def test_metrics_of_all_images_have_intervals_and_the_baseline_beside_them(page):
    text = page.texts["classes"]
    assert "Accuracy 70.0% 40.0% to 89.0% 80.0%" in text
    assert "Brier score 0.310 0.200 to 0.400" in text


def test_reliability_is_drawn_before_and_after_with_its_bins_as_text(page):
    text = page.texts["reliability"]
    assert "before calibration served" in text
    assert "Expected calibration error 0.080 (0.050 to 0.120)" in text
    assert "Temperature 1.4 Log loss on the eval images 0.900 to 0.700" in text
    assert "50.0% to 75.0% 4 60.0% 50.0% 75.0% to 100% 6 90.0% 100%" in text
    circles = [circle for circle in page.of("circle") if circle["class"] == "served"]
    assert len(circles) == 2, "an empty bin has no dot"


def test_slices_come_lowest_first_and_low_ones_are_marked(page):
    text = page.texts["slices"]
    assert f"camera={SCRIPT}, size=small low 4 25.0% 5.0 to 60.0% 0.200 1.700 0.300" in text
    assert text.index("size=small") < text.index("size=large")
    assert text.count(" low ") == 1


def test_fixed_and_broken_images_are_named(page):
    text = page.texts["changes"]
    fixed, broken = text.split("Broken")
    assert "Both models answered 10 test images" in fixed
    assert "only this model is right (2)" in fixed
    assert {i for i in range(10) if f"/{i} {SCRIPT}.jpg" in fixed} == {2, 3}
    assert {i for i in range(10) if f"/{i} {SCRIPT}.jpg" in broken} == {4, 7}


def test_label_errors_are_in_the_page_and_in_a_table_beside_it(tmp_path, inputs, page):
    text = page.texts["labels"]
    assert "2 of 2 test images that confident learning takes for another class" in text
    assert "the model was not trained on them" in text
    write_report(tmp_path / "report.html", inputs)
    lines = (tmp_path / "label_errors.csv").read_text("utf-8").splitlines()
    assert len(lines) == 3, "4 is a mistake, but not sure enough of another class"
    boxes = [box["data-line"] for box in page.of("input")]
    assert boxes == lines[1:]


def test_table_of_an_earlier_report_does_not_stay_beside_one_without_suspects(tmp_path, inputs):
    (tmp_path / "label_errors.csv").write_text("old")
    write_report(tmp_path / "report.html", dataclasses.replace(inputs, evaluation_dir=None))
    assert not (tmp_path / "label_errors.csv").exists()


def test_lineage_goes_from_the_photos_to_the_model(page):
    text = page.texts["lineage"]
    assert "Photos 1,234 images, span 3 /photos a1b2c3d4e5f6a7b8" in text
    assert "Examples train 1,000, test 234; label map version 2" in text
    assert "Starting weights a checkpoint /nets/model.ckpt" in text
    assert "ffffffffffffffff" in text


def test_cells_of_the_matrix_have_examples(page):
    templates = {template["id"] for template in page.of("template")}
    cells = {b["data-template"] for b in page.of("button") if b.get("class") == "cell"}
    assert {"cell-0-0", "cell-1-2"} <= templates
    assert cells <= templates


def test_replay_facts_are_shown(page):
    assert "Num images 64 Passed yes" in page.texts["pushed"]


def test_bounds_of_the_replay_are_listed_with_the_baseline(tmp_path):
    one = {
        "name": "grpc/latency_p50_ms", "value": 18.814, "baseline": 17.0, "limit": 50.0,
        "verdict": "pass", "reason": SCRIPT,
    }  # fmt: skip
    memory = {**one, "name": "peak_memory_mb", "verdict": "fail", "baseline": None}
    value = {
        "format": 2,
        "peak_memory_bytes": 564_781_056,
        "protocols": {"grpc": {}},
        "bounds": [one, memory],
    }
    files.write_json(tmp_path / "replay.json", value)
    path = str(tmp_path / "replay.json")
    text = Page(render_report(ReportInputs("r", "n", "t", replay_path=path))).texts["pushed"]
    assert f"Latency p50 ms (gRPC) Pass 18.81 17 50 {SCRIPT}" in text
    assert "Peak memory mb Fail 18.81 50" in text
    assert "Peak memory 564.8 MB" in text


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
        "reliability": "How far the probabilities can be trusted was not measured.",
        "slices": "No part of the test images was measured alone.",
        "changes": "There are no predictions of a baseline",
        "mistakes": "There are no predictions",
        "labels": "There are no predictions",
        "lineage": "There is no manifest",
        "steps": "No step was started.",
        "reproduce": "The command is not known.",
    }
    for section, note in notes.items():
        assert note in page.texts[section]


@pytest.mark.parametrize(
    "missing",
    [
        "ingest_report_dir", "drift_path", "label_map_dir", "model_dir", "evaluation_dir",
        "examples_dir", "decision_path", "replay_path", "manifest_path", "command", "config_yaml",
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
