"""The data section, alone and in a run's report."""

from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from html_pages import Page
from ingest_samples import DUPLICATES, drift, duplicate, grown_report, image_id, outlier
from PIL import Image
from report_samples import CLASS_NAMES, SCRIPT, summary, write_jsonl

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.report.data_page import write_data_report
from slimworks.components.report.facts import ReportInputs
from slimworks.components.report.report import render_report
from slimworks.components.report.thumbnails import MAX_THUMBNAILS, Thumbnails


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return grown_report(tmp_path / "report")


def page_text(report: Path) -> str:
    path = report.parent / "data.html"
    write_data_report(report, path, f"Data of {SCRIPT}")
    return path.read_text("utf-8")


def page_of(report: Path) -> Page:
    return Page(page_text(report))


def text_of(report: Path) -> str:
    return str(page_of(report).texts["data"])


def run_page(report: Path, **changes: object) -> str:
    files.write_json(report / contracts.DRIFT_FILE, drift(**changes))
    inputs = ReportInputs(
        "r", "n", "t", ingest_report_dir=str(report), drift_path=str(report / "drift.json")
    )
    return str(Page(render_report(inputs)).texts["data"])


def test_page_loads_nothing(report: Path) -> None:
    text = page_text(report)
    assert not re.search(r"url\(|@import|https?://", text)
    for _, attributes in Page(text).elements:
        assert not re.match(r"(https?:)?//", attributes.get("src") or "")


def test_hostile_names_are_text(report: Path) -> None:
    text = page_text(report)
    assert SCRIPT not in text
    assert len(Page(text).of("script")) == 1
    assert SCRIPT in Page(text).texts["top"]
    assert SCRIPT in Page(text).texts["data"]
    assert all(name in Page(text).texts["data"] for name in CLASS_NAMES)


def test_changes_of_the_last_ingest_are_counted(report: Path) -> None:
    text = text_of(report)
    assert "Span 3 New images 41 New files 45 Changed files 2 Unchanged files 798" in text
    assert "Removed images 7 Set aside to keep splits apart 4" in text
    assert "Near-duplicates 14 Outliers 9 Label map version 5" in text


def test_proofs_are_good_at_zero_and_bad_otherwise(report: Path) -> None:
    assert "Images that changed split 0 Groups across splits 0" in text_of(report)
    tones = [dd["class"] for dd in page_of(report).of("dd") if "class" in dd]
    assert tones == ["good", "good"]
    grown_report(report, num_changed_split=2)
    tones = [dd["class"] for dd in page_of(report).of("dd") if "class" in dd]
    assert tones == ["bad", "good"]


def test_window_is_named_where_there_is_one(report: Path) -> None:
    assert "Window" not in text_of(report)
    assert "Window 2 spans" in text_of(grown_report(report, window=2))


def test_imbalance_comes_with_a_hint(report: Path) -> None:
    text = text_of(report)
    assert f"{CLASS_NAMES[0]} has 1,011 images, few 71: 14 times as many." in text
    assert "gate.min_class_recall" in text
    even = {"largest": ["a", 20], "smallest": ["b", 10], "ratio": 2.0}
    assert "Imbalance" not in text_of(grown_report(report, imbalance=even))


def test_sizes_and_light_are_listed(report: Path) -> None:
    text = text_of(report)
    assert "Width, pixels 160 500 1,200" in text
    assert "File size 9.0 kB 101.0 kB 1.2 MB" in text
    assert "Brightness, 0 to 1 0.04 0.41 0.93 Sharpness 0.504 1,036 5,625" in text


def test_bars_of_the_splits_add_up_to_the_class(report: Path) -> None:
    bars = [i["style"] for i in page_of(report).of("i") if i.get("class") in contracts.SPLITS]
    assert len(bars) == 9
    assert set(bars) == {"width:33.33%"}


def test_duplicates_show_conflicts_first_then_near_then_identical(report: Path) -> None:
    text = text_of(report)
    titles = (
        "Identical images under several classes",
        "Nearly identical images",
        "Identical files",
    )
    order = [text.index(title) for title in titles]
    assert order == sorted(order)
    assert "roses, tulips roses/4.jpg tulips/4.jpg" in text
    assert f"roses, tulips roses/{SCRIPT}.jpg tulips/3.jpg" in text
    assert "roses no picture roses/7.jpg no picture roses/8.jpg" in text
    assert "roses roses/1.jpg roses/copy.jpg" in text


def test_pictures_are_inside_the_page(report: Path) -> None:
    images = page_of(report).of("img")
    assert len(images) == 5, "one each of identical files, two of near ones, one outlier"
    for image in images:
        head, _, body = image["src"].partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(body))) as picture:
            assert max(picture.size) <= 96


def test_image_without_a_picture_is_named_all_the_same(report: Path) -> None:
    text = text_of(report)
    assert f"no picture 0.031 typical 0.412 dark/6 {SCRIPT}.jpg" in text
    shutil.rmtree(report / contracts.THUMBNAILS_FOLDER)
    assert page_of(report).of("img") == []


def test_many_duplicates_leave_a_page_of_bounded_size(report: Path) -> None:
    rows = [duplicate("near", [1] * 40, [f"a/{i}.jpg"] * 40) for i in range(300)]
    write_jsonl(report / contracts.DUPLICATES_FILE, rows)
    page = page_of(report)
    assert len(page.of("img")) <= MAX_THUMBNAILS
    assert "(300 groups)" in page.texts["data"]
    assert "and 276 more groups in duplicates.jsonl" in page.texts["data"]
    assert "and 34 more" in page.texts["data"]


def test_many_outliers_are_counted_and_the_first_shown(report: Path) -> None:
    rows = [outlier(number, "dark") for number in range(40)]
    write_jsonl(report / contracts.OUTLIERS_FILE, rows)
    assert "Dark (40)" in text_of(report)
    assert "and 22 more in outliers.jsonl" in text_of(report)


def test_picture_outside_of_the_report_is_never_taken(report: Path) -> None:
    (report / f"{image_id(1)}.jpg").write_bytes(b"secret")
    row = {**DUPLICATES[0], "image_ids": [f"../{image_id(1)}"]}
    write_jsonl(report / contracts.DUPLICATES_FILE, [row])
    (report / contracts.OUTLIERS_FILE).unlink()
    assert page_of(report).of("img") == []


def test_long_tables_scroll(report: Path) -> None:
    names = [f"class {number}" for number in range(200)]
    by_split = {split: dict.fromkeys(names, 3) for split in contracts.SPLITS}
    grown_report(report, class_names=names, images_by_split=by_split)
    assert [div for div in page_of(report).of("div") if div.get("class") == "scroll tall"]


def test_older_report_has_what_it_has(tmp_path: Path) -> None:
    files.write_json(tmp_path / "report" / contracts.SUMMARY_FILE, summary())
    text = text_of(tmp_path / "report")
    assert "Images used 10" in text
    assert "What changed" not in text
    assert "None: every file could be used." in text


def test_folder_without_a_summary_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        write_data_report(tmp_path, tmp_path / "data.html", "t")
    assert caught.value.cause == f"{tmp_path / 'summary.json'} does not exist."
    assert caught.value.fix == "Give the report folder below the output of `slimworks ingest`."
    assert not (tmp_path / "data.html").exists()


def test_drift_lists_what_drifted_most_first(report: Path) -> None:
    text = run_page(report)
    assert f"Drift Why: {SCRIPT}. 41 images of span 3 against 400 of span 2" in text
    assert "Brightness 0.480 Jensen-Shannon Class 0.110 L-infinity: share" in text
    assert "Too few images" not in text


def test_drift_of_a_handful_is_called_chance(report: Path) -> None:
    assert "Too few images: what chance does" in run_page(report, is_enough_data=False)


def test_first_span_has_no_table_of_drift(report: Path) -> None:
    text = run_page(report, previous_span=None, distances={})
    assert f"Why: {SCRIPT}." in text
    assert "against" not in text[text.index("Drift Why") :]


def test_drift_since_the_last_training_is_shown_where_it_is_another_one(report: Path) -> None:
    since = {
        "trained_span": 1, "num_images": 441, "num_previous_images": 349, "is_enough_data": True,
        "distances": {"image/width": {"distance": 0.2, "measure": "jensen_shannon"}},
    }  # fmt: skip
    sentence = "441 images of all spans after span 1 against 349 of all up to it"
    assert sentence in run_page(report, since_trained=since)
    assert "all spans after" not in run_page(report, since_trained={**since, "trained_span": 2})


def test_page_needs_nothing_heavy() -> None:
    code = (
        "import sys, slimworks.components.report.data_page\n"
        "heavy = ('tensorflow', 'apache_beam', 'pandas', 'scipy', 'pyarrow')\n"
        "sys.exit(any(m in sys.modules for m in heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_more_pictures_are_given_out_than_the_limit(report: Path) -> None:
    thumbnails = Thumbnails(report, limit=2)
    given = [thumbnails.uri(image_id(number)) for number in (1, 99, 2, 3)]
    assert [uri is not None for uri in given] == [True, False, True, False]
