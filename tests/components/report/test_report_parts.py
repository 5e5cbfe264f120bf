import base64
import io
import math

import numpy as np
import pytest
from PIL import Image
from report_samples import jpeg

from slimworks.components.report import curves, pictures, trends, wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9731, "97.3%"), (1.0, "100%"), (0.0, "0%"), (0.99996, ">99.9%"), (0.0001, "<0.1%"),
        (None, "–"),
    ],
)  # fmt: skip
def test_percent_never_rounds_to_certainty(value, text):
    assert wording.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.31, "0.3 s"), (42.4, "42 s"), (754, "12 min 34 s"), (7_300, "2 h 1 min")]
)
def test_seconds_read_like_a_clock(value, text):
    assert wording.seconds(value) == text


def test_other_wordings():
    assert wording.points(-0.0123) == "−1.2"
    assert wording.interval([0.5, 1.0]) == "50.0 to 100%"
    assert wording.count(12345.0) == "12,345"
    assert wording.size(2_345_678) == "2.3 MB"
    assert wording.size(12) == "12 bytes"
    for filter_ in wording.FILTERS.values():
        assert filter_(None) == wording.NOTHING


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 20, [0, 5, 10, 15, 20]),
        (0, 1.71, [0, 0.5, 1, 1.5, 2]),
        (0, 0, None),
        (0, 3e-12, None),
        (0, 1e6, None),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, ticks):
    found = curves.nice_ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert found[0] < found[-1]  # a chart divides by their distance
    assert len(found) <= curves.NUM_TICKS + 2
    assert ticks is None or found == ticks


def rows(num_steps, **changes):
    row = {"split": "train", "loss": 1.0, "accuracy": 0.5}
    return [{"step": s, "epoch": s / 10, **row, **changes} for s in range(1, num_steps + 1)]


def test_a_training_that_only_warmed_up_is_drawn():
    metrics = rows(3, learning_rate=0.0, phase="all")
    assert curves.charts(metrics, None)


def test_long_curves_are_thinned_without_losing_their_mean():
    points = curves.series(rows(5_000), "train", "loss")
    assert len(points) <= curves.MAX_POINTS
    assert np.mean([y for _, y in points]) == pytest.approx(1.0)


def test_values_that_are_not_finite_are_left_out_of_curves():
    assert curves.series(rows(3, loss=math.nan), "train", "loss") == []
    (accuracy,) = curves.charts(rows(3, loss=math.inf), None)
    assert accuracy.title == "Accuracy"


def test_curves_stay_inside_their_chart():
    for chart in curves.charts(rows(7, loss=123.4) + rows(1, split="eval", loss=0.001), None):
        for line in chart.lines:
            for point in line.points.split():
                x, y = map(float, point.split(","))
                assert chart.left <= x <= chart.right
                assert chart.top <= y <= chart.bottom


def test_a_spike_of_the_training_loss_does_not_flatten_the_curve():
    spike = rows(1, loss=50.0) + rows(30)[1:] + rows(30, split="eval", loss=2.0)[9::10]
    loss = curves.charts(spike, None)[0]
    assert loss.y_ticks[-1][1] == "3"
    train = [point.split(",") for point in loss.lines[0].points.split()]
    assert float(train[0][1]) == loss.top
    assert float(train[1][1]) > loss.top


def test_phases_are_named_where_they_begin_and_have_room():
    phases = [{"name": n, "first_step": s} for n, s in (("head", 0), ("b", 50), ("all", 51))]
    (chart, *_) = curves.charts(rows(100), {"phases": phases})
    assert [name for _, name in chart.phases] == ["head", "", "all"]
    assert chart.phases[0][0] == chart.left
    assert chart.phases[1][0] == pytest.approx((chart.left + chart.right) / 2, abs=1)


def test_a_training_of_one_phase_has_no_marks():
    (chart, *_) = curves.charts(rows(9), {"phases": [{"name": "all", "first_step": 0}]})
    assert chart.phases == []


def test_one_point_is_shown_as_a_dot():
    for chart in curves.charts(rows(1), None):
        assert len(chart.lines[0].dots) == 1


def test_no_rows_give_no_charts():
    assert curves.charts([], None) is None


def decoded(encoded):
    picture = pictures.picture_of(encoded)
    with Image.open(io.BytesIO(base64.b64decode(picture.uri.partition(",")[2]))) as image:
        image.load()
        return image, picture.is_tiny


def test_thumbnail_is_small_and_keeps_its_proportions():
    image, is_tiny = decoded(jpeg("red", (1200, 600)))
    assert image.size == (160, 80)
    assert not is_tiny


def test_thumbnail_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    image, _ = decoded(jpeg("red", (1200, 600), exif=exif))
    assert image.size == (80, 160)


def encoded(image, kind="PNG"):
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def test_tiny_images_are_not_blown_up():
    image, is_tiny = decoded(encoded(Image.new("L", (8, 8), 200)))
    assert image.size == (8, 8)
    assert is_tiny


def test_transparent_pixels_become_white():
    image, _ = decoded(encoded(Image.new("RGBA", (64, 64), (255, 0, 0, 0))))
    assert min(image.getpixel((32, 32))) > 250


def test_sixteen_bits_are_scaled_down():
    pixels = np.full((64, 64), 128 * 257, np.uint16)
    image, _ = decoded(encoded(Image.fromarray(pixels)))
    assert all(abs(value - 128) < 4 for value in image.getpixel((32, 32)))


def test_unreadable_image_gives_no_thumbnail():
    assert pictures.picture_of(b"no image") == pictures.NO_PICTURE
    assert pictures.picture_of(jpeg("red")[:100]) == pictures.NO_PICTURE


def test_noise_makes_no_large_thumbnail():
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    uri = pictures.picture_of(encoded(Image.fromarray(noise))).uri
    assert len(base64.b64decode(uri.partition(",")[2])) <= pictures.MAX_PICTURE_BYTES


@pytest.mark.shared
def test_no_awkward_file_stops_the_report(shared):
    paths = [path for path in (shared / "data" / "awkward").rglob("*") if path.is_file()]
    assert paths
    for path in paths:
        uri = pictures.picture_of(path.read_bytes()).uri
        assert uri is None or uri.startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("values", [(1.0, 1.0), (0.0, 0.0), (0.5, 0.5, 0.5), (0.0, 1.0)])
def test_trends_stay_inside_their_chart_also_where_nothing_moves(values):
    runs = [
        {"run_id": f"2026112{n}-1", "verdict": "pass", "metrics": {"accuracy": v, "log_loss": v}}
        for n, v in enumerate(values)
    ]
    for trend in trends.trends(runs, str):
        for dot in trend.dots:
            assert trend.left <= dot.x <= trend.right
            assert trends.TOP <= dot.y <= trend.bottom
            assert dot.tone == "pass"
