"""The pictures of the documents, taken of real things; `make screenshots` keeps them.

What a picture is to show is looked for in the page; pixels are not compared.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, chromium
from PIL import Image
from terminal_screen import plain, recorded, rows_of, while_showing, write_svg
from workshop import slimworks

from slimworks.components.serving.client import Client
from slimworks.components.serving.process import ServerProcess
from slimworks.pipeline.demo import write_digits

pytestmark = [pytest.mark.docs, pytest.mark.timeout(1_800)]

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs/screenshots"
MAX_BYTES = 150_000
NET = "--set model.net=lenet --set train.optimizer=adam --set train.learning_rate=0.002"
RUN = f"run --data digits/ {NET} --set train.epochs=8"


@dataclasses.dataclass(frozen=True)
class Digits:
    """A finished run on handwritten digits.

    Attributes:
        folder: Where it was typed.
        screen: All that the terminal got.
    """

    folder: Path
    screen: str

    @property
    def base_path(self) -> Path:
        return self.folder / "slimworks-runs/digits/serving/digits"

    def images(self, each: int) -> list[Path]:
        """Every so many-th digit."""
        return sorted((self.folder / "digits").rglob("*.png"))[::each]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    folder = tmp_path_factory.mktemp("typed")
    write_digits(folder / "digits")
    command = [sys.executable, "-m", "slimworks", *shlex.split(RUN)]
    # Pictures show nobody's folders.
    return Digits(folder, recorded(command, folder).replace(str(folder), "/home/me"))


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    """Wide and light; nothing complained in the end."""
    tab.faults.clear()
    tab.size(1200)
    tab.prefer("light")
    yield tab
    assert tab.faults == []
    tab.open("about:blank")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures go: a folder that is forgotten, or SLIMWORKS_SCREENSHOTS."""
    kept = os.environ.get("SLIMWORKS_SCREENSHOTS")
    folder = ROOT / kept if kept else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def take(page: Page, path: Path, height: int) -> None:
    """Saves the upper part of the page in few colours; it is no blank one."""
    page.screenshot(path)
    with Image.open(path) as image:
        shown = image.convert("RGB").crop((0, 0, image.width, min(height, image.height)))
    assert len(shown.resize((64, 64)).getcolors(4096) or ()) > 8, "a blank page"
    shown.quantize(128).save(path, optimize=True)
    assert path.stat().st_size < MAX_BYTES, path


def test_the_terminal_while_a_run_trains(digits: Digits, pictures: Path) -> None:
    rows = while_showing(digits.screen, "trainer", "━", "images/s")
    shown = [plain(row) for row in rows]
    assert any(row.startswith("plan: ingest to pusher") for row in shown)
    assert any(re.match(r"ingest +ran +\d", row) for row in shown)
    write_svg(rows, pictures / "run.svg", "slimworks run --data digits/")
    assert (pictures / "run.svg").stat().st_size < MAX_BYTES
    assert not re.search(r"url\(\W*http|@import|href=", (pictures / "run.svg").read_text("utf-8"))


def test_the_terminal_when_a_run_has_ended(digits: Digits, pictures: Path) -> None:
    rows = rows_of(digits.screen)
    shown = [plain(row) for row in rows]
    first = next(number for number, row in enumerate(shown) if row.startswith("bound "))
    last = next(number for number, row in enumerate(shown) if row.startswith("report: "))
    assert "verdict: pass" in shown
    write_svg(rows[first : last + 1], pictures / "verdict.svg", "the end of a run")
    assert (pictures / "verdict.svg").stat().st_size < MAX_BYTES


def test_the_report(digits: Digits, page: Page, pictures: Path) -> None:
    (report,) = (digits.folder / "slimworks-runs/digits/runs").glob("*/report.html")
    page.open(report.as_uri())
    assert page.run("document.querySelector('h1').textContent")
    assert page.run("document.querySelectorAll('#classes table.sortable tbody tr').length") == 10
    assert page.run("document.querySelectorAll('table.matrix tbody tr').length") == 10
    take(page, pictures / "report.png", 1000)


def test_the_confusion_matrix(digits: Digits, page: Page, pictures: Path) -> None:
    (report,) = (digits.folder / "slimworks-runs/digits/runs").glob("*/report.html")
    page.open(report.as_uri())
    page.run(
        "document.querySelectorAll('main > section:not(#confusion), header, footer, nav')"
        ".forEach((part) => part.remove())"
    )
    page.mouse_to("table.matrix button[data-template]")
    assert page.run("document.querySelectorAll('#examples img').length") > 0
    take(page, pictures / "confusion.png", 900)


def test_the_page_to_try_a_model(digits: Digits, page: Page, pictures: Path) -> None:
    flags = ("--enable_try_page",)
    with ServerProcess(digits.base_path, "digits", extra_flags=flags) as server:
        page.origin = f"http://{server.rest_address}"
        page.open(f"{page.origin}/")
        page.wait_for("document.querySelectorAll('#signatures table').length")
        page.choose_files("#files", *digits.images(700))
        page.wait_for("document.querySelectorAll('#results .bars li:first-child').length === 3")
        page.wait_for("!document.getElementById('card').hidden")
        assert page.run("document.querySelectorAll('#class-list li').length") == 10
        take(page, pictures / "try.png", 1100)


def test_the_comparison_of_two_models(digits: Digits, page: Page, pictures: Path) -> None:
    folder = digits.folder
    slimworks(folder, "ingest", "--data", "digits/", "--output", "ingested/")
    slimworks(
        folder, "train", "--examples", "ingested/", "--output", "candidate/",
        *shlex.split(NET), "--set", "train.max_number_of_steps=40",
    )  # fmt: skip
    (folder / "logs").mkdir()
    flags = (f"--request_log={folder / 'logs/digits'}", "--request_log_sampling_rate=1")
    with (
        ServerProcess(digits.base_path, "digits", extra_flags=flags) as server,
        Client(server.address, "digits") as client,
    ):
        client.predict_files(digits.images(9))
    slimworks(folder, "shadow", "--log", "logs/digits", "--candidate", "candidate/saved_model")
    page.open((folder / "shadow/shadow.html").as_uri())
    assert "%" in page.run("document.querySelector('main, body').innerText")
    assert page.run("document.querySelectorAll('img').length") > 0
    take(page, pictures / "shadow.png", 1100)


def test_the_documents_show_the_kept_pictures() -> None:
    shown: set[Path] = set()
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")):
        links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", path.read_text("utf-8"))
        shown |= {(path.parent / link).resolve() for link in links}
    assert shown == set(KEPT.glob("*")), "`make screenshots` takes them"
    assert all(path.stat().st_size < MAX_BYTES for path in shown)
