"""The learning-rate curve as an SVG file."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from slimworks.components.report.rate_curve import write_rate_curve

SVG = "{http://www.w3.org/2000/svg}"


def _drawn(path: Path, title: str = "lenet", suggested: float = 0.01) -> ElementTree.Element:
    rates = [10.0**exponent for exponent in range(-6, 2)]
    losses = [2.0, 2.0, 1.9, 1.5, 1.0, 0.9, 3.0, 400.0]
    smoothed = [2.0, 2.0, 1.95, 1.7, 1.3, 1.2, 2.0, 200.0]
    write_rate_curve(
        path, title=title, rates=rates, losses=losses, smoothed=smoothed, suggested=suggested
    )
    return ElementTree.fromstring(path.read_text("utf-8"))


def test_curve_stays_inside_and_the_suggestion_is_marked_on_it(tmp_path: Path) -> None:
    root = _drawn(tmp_path / "curve.svg")
    width, height = (float(root.attrib[key]) for key in ("width", "height"))
    line = root.find(f"{SVG}polyline")
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert all(0 < x < width and 0 < y < height for x, y in points)
    (dot,) = [c for c in root.iter(f"{SVG}circle") if c.attrib["class"] == "dot"]
    assert (float(dot.attrib["cx"]), float(dot.attrib["cy"])) == points[4]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "suggested: 0.01" in texts
    assert {"1e-6", "0.001", "1", "10"} <= set(texts)


def test_a_loss_that_explodes_does_not_flatten_the_curve(tmp_path: Path) -> None:
    root = _drawn(tmp_path / "curve.svg")
    labels = [float(t.text) for t in root.iter(f"{SVG}text") if t.attrib.get("text-anchor") == "end"
              and t.text and t.text[0].isdigit()]  # fmt: skip
    assert max(labels) <= 5


def test_title_is_text_and_never_markup(tmp_path: Path) -> None:
    root = _drawn(tmp_path / "curve.svg", title="<b>net</b> & more")
    assert "<b>net</b> & more" in [text.text for text in root.iter(f"{SVG}text")]
