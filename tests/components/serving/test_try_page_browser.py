"""The page to try models in a real browser: dropped, chosen, pasted, photographed, switched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, chromium
from PIL import Image
from serving_models import png
from tried_models import HOSTILE, MAX_BYTES

from slimworks.components.serving.process import ServerProcess

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
RESULTS = "document.querySelectorAll('#results > li').length"
ANSWERED = "document.querySelectorAll('#results .bars li:first-child').length"
BEST = (
    "[...document.querySelectorAll('#results .bars li:first-child .name')].map((e) => e.innerText)"
)
METAS = "[...document.querySelectorAll('#results .meta')].map((e) => e.textContent)"
ALERT = "document.getElementById('alert').textContent"
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """red.png, green.png, blue.png, text.png (no image), large.bmp (over the limit)."""
    folder = tmp_path_factory.mktemp("photos")
    for color in ("red", "green", "blue"):
        (folder / f"{color}.png").write_bytes(png(color))
    (folder / "text.png").write_text("no image")
    (folder / "large.bmp").write_bytes(b"x" * (MAX_BYTES + 1))
    return folder


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile"), *CAMERA) as page:
        yield page


@pytest.fixture
def page(tab: Page, tried_server: ServerProcess) -> Iterator[Page]:
    """The page of `colors`. In the end no other host was asked, and nothing complained."""
    visit(tab, tried_server)
    assert tab.run("document.getElementById('title').textContent") == "colors"
    yield tab
    assert tab.faults == []


def visit(tab: Page, server: ServerProcess) -> None:
    """Opens a server's page, once the one before it asks no more."""
    tab.open("about:blank")
    tab.faults.clear()
    tab.origin = f"http://{server.rest_address}"
    tab.size(1200)
    tab.prefer("light")
    tab.open(f"{tab.origin}/")
    tab.wait_for("document.querySelectorAll('#signatures table').length")


def choose(page: Page, selector: str, value: str) -> None:
    page.run(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
        f"e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change')); }})()"
    )


def facts(page: Page) -> dict[str, str]:
    return page.run(
        "Object.fromEntries([...document.querySelectorAll('#facts > div')]"
        ".map((e) => [e.firstChild.textContent, e.lastChild.textContent]))"
    )


def test_dropped_images_are_answered_with_bars_and_times(page: Page, photos: Path) -> None:
    choose(page, "#version", "/versions/3")
    page.drop_files("#drop", photos / "red.png", photos / "green.png")
    page.wait_for(f"{ANSWERED} === 2")
    assert page.run(BEST) == ["green", "red"], "the newest comes first"
    rows = page.run(
        "[...document.querySelectorAll('#results > li:first-child .bars li')].map((e) => ["
        "e.querySelector('.figure').textContent, e.querySelector('.bar').clientWidth, "
        "parseFloat(getComputedStyle(e.querySelector('.bar'), '::before').width)])"
    )
    assert len(rows) == 2, "the model answers two classes"
    for figure, whole, drawn in rows:
        assert drawn / whole == pytest.approx(float(figure.rstrip("%")) / 100, abs=0.02)
    for meta in page.run(METAS):
        assert meta.startswith("Version 3 · ")
        assert "ms there and back, " in meta
        assert meta.endswith("ms of it in the server")
    known = "document.querySelector('#results .pill').textContent"
    assert page.run(known) == "Known: like the training images"
    assert page.run("document.querySelector('#results img').naturalWidth") == 8
    assert page.run(STATUS).startswith("green.png: green, ")


def test_top_k_shows_more_or_fewer_classes_without_asking_again(page: Page, photos: Path) -> None:
    page.choose_files("#files", photos / "red.png")
    page.wait_for(ANSWERED)
    before = page.run(METAS)
    shown = "document.querySelectorAll('#results .bars li').length"
    choose(page, "#top-k", "1")
    assert page.run(shown) == 1
    choose(page, "#top-k", "1000000")
    assert page.run(shown) == 2
    assert page.run(METAS) == before


def test_switching_version_or_label_asks_again_and_remembers_the_other_answer(
    page: Page, photos: Path
) -> None:
    options = page.run("[...document.querySelectorAll('#version option')].map((o) => o.label)")
    assert options == [
        "Newest (version 5)", "canary (version 5)", "stable (version 3)",
        "Version 9 (failed)", "Version 5", "Version 3",
    ]  # fmt: skip
    assert page.run("document.querySelector('#version option[value=\"/versions/9\"]').disabled")
    page.choose_files("#files", photos / "red.png")
    page.wait_for(f"{BEST}[0] === 'blue'")
    choose(page, "#version", "/labels/stable")
    page.wait_for(f"{METAS}[0]?.startsWith('Version 3')")
    assert page.run(BEST) == ["red"]
    assert page.run(f"{METAS}[0].endsWith('version 5 said blue, 100%')") is True
    assert facts(page)["Network"] == "mobilenet_v1"
    choose(page, "#version", "/labels/canary")
    page.wait_for(f"{METAS}[0]?.startsWith('Version 5')")
    assert page.run(BEST) == ["blue"]
    assert page.run("!document.getElementById('unknown').hidden"), "of version 5 nothing is known"
    assert facts(page) == {}


def test_facts_of_the_training_and_the_model_card_are_shown(page: Page) -> None:
    choose(page, "#version", "/versions/3")
    page.wait_for("!document.getElementById('card').hidden")
    shown = facts(page)
    assert shown.pop("Pushed")
    assert shown == {
        "Network": "mobilenet_v1",
        "Training images": "1,234",
        "Accuracy": "91.0% (85.0% to 95.0%) on 105 images",
        "Image size": "96 × 96 pixels",
        "Started from": "mobilenet_v1.ckpt",
        "Run": "20261122-024500-ab12",
        "Label map": "version 2",
    }
    assert page.run(
        "[...document.querySelectorAll('#class-list li')].map((e) => e.innerText.split('\\n'))"
    ) == [["red", "1,000"], [HOSTILE, "234"]]
    assert "Model card: colours" in page.run("document.getElementById('card').innerText")
    assert page.run("document.querySelectorAll('#card table').length") == 1


def test_hostile_names_are_text(page: Page, photos: Path) -> None:
    """A dialog would stop the page; a broken policy would be a fault."""
    choose(page, "#model", "hostile")
    page.wait_for("document.getElementById('title').textContent === 'hostile'")
    page.choose_files("#files", photos / "red.png")
    page.wait_for(ANSWERED)
    assert page.run(BEST) == [HOSTILE]
    faults = page.wait_for("document.getElementById('faults').innerText")
    assert faults == "model.json of this version is no JSON object."
    choose(page, "#model", "colors")
    choose(page, "#version", "/versions/3")
    page.wait_for("!document.getElementById('card').hidden")
    assert HOSTILE in page.run("document.getElementById('card').innerText")
    assert page.run("document.querySelectorAll('main script, main b, #card img').length") == 0


def test_the_policy_lets_nothing_else_run_or_load(page: Page) -> None:
    """And `faults` tells what it stops, on which the tests of hostile names rely."""
    page.run("document.body.setAttribute('style', 'color: red'); 0")
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'x'})); 0"
    )
    page.run("fetch('http://127.0.0.1:9/').catch(() => 0)")
    for forbidden in ("inline style", "inline script", "http://127.0.0.1:9/"):
        assert any(
            forbidden in fault and "Content Security Policy" in fault for fault in page.faults
        ), (forbidden, page.faults)
    page.faults.clear()


def test_the_camera_takes_photos_and_is_given_back(page: Page) -> None:
    page.run("document.getElementById('camera-toggle').click()")
    page.wait_for("!document.getElementById('take').disabled")
    page.run("document.getElementById('take').click()")
    page.wait_for(ANSWERED)
    assert page.run("document.querySelector('#results h3').textContent") == "Photo 1"
    width = page.run("document.querySelector('#results img').naturalWidth")
    assert width == page.run("document.getElementById('video').videoWidth") > 0
    choose(page, "#version", "/versions/3")
    page.wait_for(f"{METAS}[0]?.startsWith('Version 3')")
    assert page.run(BEST) == ["green"], "chromium's test picture is green"
    page.run("document.getElementById('camera-toggle').click()")
    assert page.run("document.getElementById('video').srcObject") is None
    assert page.run("document.getElementById('camera').hidden")


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        ("{ getUserMedia: () => Promise.reject(new DOMException('', 'NotAllowedError')) }",
         "The browser may not use the camera."),
        ("{ getUserMedia: () => Promise.reject(new DOMException('', 'NotFoundError')) }",
         "There is no camera."),
        ("undefined", "Browsers lend a camera only to pages of localhost or behind HTTPS."),
    ],
    ids=["refused", "none", "insecure"],
)  # fmt: skip
def test_without_a_camera_the_page_says_why_and_goes_on(
    page: Page, photos: Path, camera: str, message: str
) -> None:
    page.run(f"Object.defineProperty(navigator, 'mediaDevices', {{ value: {camera} }}); 0")
    page.run("document.getElementById('camera-toggle').click()")
    assert message in page.wait_for(ALERT)
    page.choose_files("#files", photos / "red.png")
    page.wait_for(ANSWERED)
    assert page.run(ALERT) == ""


def test_an_image_can_be_pasted(page: Page) -> None:
    page.run(
        """(async () => {
          const canvas = new OffscreenCanvas(8, 8);
          const ink = canvas.getContext("2d");
          ink.fillStyle = "red";
          ink.fillRect(0, 0, 8, 8);
          const data = new DataTransfer();
          data.items.add(new File([await canvas.convertToBlob()], "clip.png"));
          dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        })()"""
    )
    page.wait_for(ANSWERED)
    assert page.run("document.querySelector('#results h3').textContent") == "clip.png"


def test_what_cannot_be_answered_is_said_in_the_servers_words(page: Page, photos: Path) -> None:
    page.drop_files("#drop", photos / "text.png", photos / "large.bmp", photos / "red.png")
    page.wait_for(f"{ANSWERED} === 1 && !document.querySelector('[aria-busy]')")
    failures = page.run(
        "[...document.querySelectorAll('.failure:not([hidden])')].map((e) => e.innerText)"
    )
    assert "The server takes images up to 1000000 bytes; this one has 1000001." in failures[0]
    assert "Unknown image file format" in failures[1]
    missing = "[...document.querySelectorAll('.picture span')].filter((e) => !e.hidden).length"
    assert page.run(missing) == 2
    assert page.run("document.getElementById('limit').textContent").endswith("up to 1.0 MB each.")
    # The browser notes each refusal by itself: the request's status, nothing of ours.
    assert all("status of 400" in fault for fault in page.faults)
    assert len(page.faults) == 1
    page.faults.clear()


def test_a_model_that_takes_no_images_says_so_and_shows_its_signatures(
    page: Page, photos: Path
) -> None:
    page.choose_files("#files", photos / "red.png")
    page.wait_for(ANSWERED)
    choose(page, "#model", "examples")
    page.wait_for("!document.getElementById('untryable').hidden")
    assert page.run("document.getElementById('ask').hidden")
    assert page.run("document.getElementById('answers').hidden"), "they are another model's"
    assert page.run("document.getElementById('signatures-details').open")
    tables = page.run(
        "[...document.querySelectorAll('#signatures caption')].map((e) => e.innerText)"
    )
    assert "regress" in tables
    choose(page, "#model", "colors")
    page.wait_for(f"!document.getElementById('answers').hidden && {ANSWERED}")
    assert "said" not in page.run(METAS)[0], "answers of two models are not compared"


def test_the_keyboard_reaches_everything_and_is_seen(page: Page, photos: Path) -> None:
    page.choose_files("#files", photos / "red.png")
    page.wait_for(ANSWERED)
    reached = []
    for _ in range(12):
        page.press("Tab")
        reached.append(page.run("document.activeElement.id || document.activeElement.className"))
        outlined = page.run(
            "(() => { const e = document.activeElement; const shown = e.closest('.button') ?? e;"
            "return getComputedStyle(shown).outlineStyle; })()"
        )
        assert outlined != "none", reached
        if reached[-1] == "clear":
            break
    assert reached == ["model", "version", "top-k", "files", "camera-toggle", "clear"]
    page.run("document.activeElement.click()")
    assert page.run(RESULTS) == 0
    assert page.run("document.activeElement.id") == "files", "the focus is not lost"


@pytest.mark.parametrize("width", [360, 390, 768, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible_and_fits(
    page: Page, photos: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    page.size(width)
    page.prefer(scheme)
    choose(page, "#version", "/versions/3")
    page.wait_for("!document.getElementById('card').hidden")
    page.run("document.getElementById('signatures-details').open = true")
    page.choose_files("#files", photos / "red.png", photos / "large.bmp")
    page.wait_for(f"{RESULTS} === 2 && !document.querySelector('[aria-busy]')")
    assert page.audit() == []
    assert page.run("document.documentElement.scrollWidth") <= width
    page.screenshot(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as image:
        assert image.width == width


@pytest.mark.slow
def test_a_new_version_is_noticed_and_asked_about_the_same_image(
    tab: Page, color_model: Path, blue_model: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(color_model, tmp_path / "base" / "1")
    flags = ("--enable_try_page",)
    with ServerProcess(
        tmp_path / "base", "colors", poll_wait_seconds=0.1, extra_flags=flags
    ) as server:
        visit(tab, server)
        assert tab.run("document.getElementById('model-choice').hidden"), "there is only one"
        tab.choose_files("#files", photos / "red.png")
        tab.wait_for(ANSWERED)
        assert tab.run(BEST) == ["red"]
        shutil.copytree(blue_model, tmp_path / "staging")
        (tmp_path / "staging").rename(tmp_path / "base" / "2")
        tab.wait_for(f"{METAS}[0].startsWith('Version 2') && {BEST}[0] === 'blue'")
        assert tab.faults == []
        server.terminate()
        assert "The server does not answer." in tab.wait_for(ALERT)


@pytest.mark.slow
@pytest.mark.shared
def test_a_real_network_tells_a_real_daisy(tab: Page, shared: Path, tmp_path: Path) -> None:
    from slimworks.components.export.export import export_saved_model
    from slimworks.components.export.images import read_images
    from slimworks.components.export.source import from_checkpoint

    checkpoints = shared / "data" / "checkpoints"
    source = from_checkpoint(
        checkpoints / "mobilenet_v1_0.25_128" / "mobilenet_v1_0.25_128.ckpt",
        image_size=128,
        labels=checkpoints / "imagenet_labels_1001.txt",
    )
    export_saved_model(source, tmp_path / "base" / "1", read_images(shared / "data" / "photos"))
    daisy = shared / "data" / "datasets" / "flowers_800" / "daisy" / "11023214096_b5b39fab08.jpg"
    flags = ("--enable_try_page",)
    with ServerProcess(tmp_path / "base", "imagenet", extra_flags=flags) as server:
        visit(tab, server)
        assert tab.run("document.querySelectorAll('#class-list li').length") == 1001
        tab.drop_files("#drop", daisy)
        tab.wait_for(ANSWERED)
        assert tab.run(BEST) == ["daisy"]
        assert facts(tab)["Network"] == "mobilenet_v1_025"
        assert tab.faults == []
