"""The report in a real browser: opened, clicked, turned to a phone, printed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, chromium
from ingest_samples import drift, grown_report
from PIL import Image
from report_samples import decision, finished_run

from slimworks.components import contracts, files
from slimworks.components.labels.corrections import read_accepted
from slimworks.components.report.classes import Cell
from slimworks.components.report.index_page import write_index
from slimworks.components.report.report import write_report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with something in every section."""
    folder = tmp_path_factory.mktemp("run")
    inputs = finished_run(folder, drift_path=str(folder / contracts.DRIFT_FILE))
    grown_report(folder / "ingest")
    files.write_json(folder / contracts.DRIFT_FILE, drift())
    files.write_json(folder / "gate" / contracts.DECISION_FILE, decision())
    write_report(folder / "report.html", inputs)
    return folder / "report.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(tab: Page, report: Path) -> Page:
    tab.faults.clear()
    tab.size(1200)
    tab.prefer("light")
    tab.open(report.as_uri())
    return tab


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible_and_without_errors(page: Page, width: int, scheme: str) -> None:
    page.size(width)
    page.prefer(scheme)
    page.run("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert page.audit() == []
    assert page.faults == []


@pytest.mark.parametrize("width", [390, 1280])
def test_index_of_runs_is_accessible_and_fits(page: Page, width: int, tmp_path: Path) -> None:
    metrics = {"accuracy": 0.9, "accuracy_interval": [0.8, 0.95], "num_images": 12}
    runs = [
        {
            "run_id": f"2026112{day}-053000-ab12", "name": "flowers", "state": state,
            "verdict": state, "metrics": metrics, "version": day, "seconds": 75.0,
            "report": "report.html",
            "reasons": ["Better than the baseline: 12 fixed and 3 broken of 1,200 images."],
        }
        for day, state in enumerate(("pass", "fail", "inconclusive", "killed"))
    ]  # fmt: skip
    write_index(tmp_path / "index.html", "Runs", runs, {"flowers": 3})
    page.size(width)
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        page.open((tmp_path / "index.html").as_uri())
        assert page.audit() == []
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("document.querySelectorAll('svg circle').length") == 4
    assert page.faults == []


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_page_fits_the_window(page: Page, width: int, tmp_path: Path) -> None:
    page.size(width)
    assert page.run("document.documentElement.scrollWidth") <= width
    page.screenshot(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as image:
        assert image.width == width
        colours = image.convert("RGB").resize((32, 64)).getcolors(4096)
        assert len(colours) > 20, "the page is blank"


def test_verdict_is_seen_without_scrolling(page: Page) -> None:
    page.size(390, 844)
    bottom = page.run("document.querySelector('h1').getBoundingClientRect().bottom")
    assert bottom < 844
    assert page.run("document.querySelector('h1').textContent") == "The gate refused the model"


def test_columns_sort_both_ways(page: Page) -> None:
    table = "#classes table.sortable"
    head = f"{table} th:nth-child(4)"
    column = f"[...document.querySelectorAll('{table} tbody td:nth-child(4)')]"
    values = f"{column}.map((cell) => Number(cell.dataset.value))"
    page.run(f"document.querySelector('{head} button').click()")
    rising = page.run(values)
    assert rising == sorted(rising)
    assert len(set(rising)) > 1
    assert page.run(f"document.querySelector('{head}').ariaSort") == "ascending"
    page.run(f"document.querySelector('{head} button').click()")
    assert page.run(values) == rising[::-1]


EXAMPLES = "document.querySelectorAll('#examples img').length"
SHOWN = "document.querySelector('#examples')?.textContent ?? ''"


def test_cells_of_the_matrix_show_examples_to_mouse_finger_and_keyboard(page: Page) -> None:
    assert page.run(EXAMPLES) == 0
    page.mouse_to("button[data-template='cell-1-2']")
    assert page.run(EXAMPLES) > 0
    assert "predicted as" in page.run(SHOWN)
    by_mouse = page.run(SHOWN)
    page.run("document.querySelector('button[data-template=\"cell-0-0\"]').focus()")
    assert page.run(SHOWN) != by_mouse
    page.size(390)
    page.tap("button[data-template='cell-1-2']")
    assert page.run(SHOWN) == by_mouse
    assert page.faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_on_every_colour_of_the_matrix_can_be_read(
    page: Page, report: Path, tmp_path: Path, scheme: str
) -> None:
    """Heat from 0 to 1 in fine steps, right and wrong."""
    cells = [Cell(1, heat / 100, tone, "x") for heat in range(101) for tone in ("hit", "miss")]
    rows = "".join(
        f"<tr><td class='{cell.css}' style='--heat:{cell.heat}'>7</td></tr>" for cell in cells
    )
    script = f"document.querySelector('table.matrix tbody').innerHTML = {json.dumps(rows)}"
    page.prefer(scheme)
    page.run(script)
    assert [fault for fault in page.audit() if fault.startswith("contrast")] == []


def test_focus_is_seen(page: Page) -> None:
    """Where the keyboard is must show: an outline on everything that takes the focus."""
    page.press("Tab")  # from here on the browser takes the user for one of keyboards
    script = """[...document.querySelectorAll('a, button, summary, input, [tabindex]')]
      .filter((e) => !e.disabled && e.getClientRects().length)
      .filter((e) => { e.focus(); return getComputedStyle(e).outlineStyle === 'none'; })
      .map((e) => e.outerHTML.slice(0, 80))"""
    assert page.run(script) == []


def test_accepted_label_errors_are_saved_as_a_table_that_the_verb_takes(
    page: Page, tmp_path: Path
) -> None:
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    assert page.run("document.getElementById('save-accepted').disabled") is True
    page.run("document.querySelectorAll('input.accept')[1].click()")
    assert page.run("document.getElementById('num-accepted').textContent") == "1 accepted"
    page.run("document.getElementById('save-accepted').click()")
    table = tmp_path / "label_errors.csv"
    deadline = time.monotonic() + 30
    while not table.is_file():
        assert time.monotonic() < deadline, "nothing was saved"
        time.sleep(0.05)
    (accepted,) = read_accepted(table)
    assert accepted.image_id == f"{1:064x}"
    assert accepted.class_name == "郁金香"
    assert page.faults == []


def test_printed_page_has_everything_open_and_dark_letters(page: Page) -> None:
    assert page.pdf().startswith(b"%PDF")
    is_open = page.run("[...document.querySelectorAll('details')].every((d) => d.open)")
    assert is_open, "what is folded away cannot be read on paper"
    page.prefer("dark", "print")
    assert page.run("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_hostile_names_run_nothing(page: Page) -> None:
    """A dialog would stop the page; the names hold `alert`."""
    assert page.run("document.querySelectorAll('main script').length") == 0
    assert page.faults == []
