"""What two answers to one image differ by, and what is made of many."""

from __future__ import annotations

import math

import pytest
from shadow_samples import image_of

from slimworks.components.serving.logged import Answer
from slimworks.components.shadow import tally as counting
from slimworks.components.shadow.comparison import compare
from slimworks.components.shadow.page import shadow_page
from slimworks.components.shadow.shadow import picture_uri
from slimworks.components.shadow.tally import CANDIDATE, PRIMARY, Tally

FACTS = {"log": "logs/x", "primary": None, "candidate": {"address": "h:1", "digest": None},
         "seconds": 1.0}  # fmt: skip


def of(**probabilities: float) -> Answer:
    return Answer(tuple(probabilities), tuple(probabilities.values()))


@pytest.mark.parametrize(
    ("primary", "candidate", "is_same", "probability"),
    [
        (of(a=0.9, b=0.1), of(a=0.7, b=0.3), True, 0.2),
        (of(a=0.6, b=0.4), of(b=0.6, a=0.4), False, 0.2),
        # `c` is below the last class that the other names: 0.5 - 0.2 at least
        (of(a=0.5, c=0.5), of(a=0.6, b=0.2), True, 0.3),
        (of(a=0.9), of(), False, 0.9),
        (of(), of(), False, math.nan),
        (of(a=math.nan, b=0.1), of(a=0.5, b=0.1), True, math.nan),
        (of(b=0.1, a=math.nan), of(b=0.9, a=0.5), True, math.nan),
    ],
)
def test_difference_of_two_answers(
    primary: Answer, candidate: Answer, is_same: bool, probability: float
) -> None:
    found = compare(primary, candidate)
    assert found.is_same_class == is_same
    assert found.probability == pytest.approx(probability, nan_ok=True)


def test_failures_of_the_candidate_are_no_agreement() -> None:
    tally = Tally()
    tally.compare([None], [of(a=1.0)], [of(a=1.0)])
    tally.add_error(CANDIDATE, "UNAVAILABLE", num_images=3)
    tally.add_error(PRIMARY, "INTERNAL", num_images=3)
    result = tally.result()
    assert (result.num_requests, result.num_images, result.agreement) == (2, 4, 0.25)
    assert result.errors == {PRIMARY: {"INTERNAL": 1}, CANDIDATE: {"UNAVAILABLE": 1}}


def test_missing_answers_disagree() -> None:
    tally = Tally()
    tally.compare([None, None], [of(a=1.0), of(a=1.0)], [of(a=1.0)])
    assert tally.result().agreement == 0.5
    assert tally.result().disagreements == []


def test_nothing_seen_is_no_agreement() -> None:
    result = Tally().result()
    assert (result.agreement, result.latency_ratio, result.differences) == (None, None, {})
    assert result.to_json()["agreement"] is None
    assert "Nothing was compared" in shadow_page(result, FACTS)


def test_farthest_disagreements_are_kept_with_their_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counting, "MAX_SHOWN", 3)
    made: list[bytes | None] = []

    def picture(image: bytes | None) -> str:
        made.append(image)
        return f"data:,{image!r}"

    tally = Tally(picture)
    for percent in (60, 90, 70, 80, 65, 99):
        image = b"%d" % percent
        best, rest = percent / 100, 1 - percent / 100
        tally.compare([image], [of(a=best, b=rest)], [of(b=best, a=rest)])
    tally.compare([b"same"], [of(a=0.9)], [of(a=0.1)])
    tally.compare([b"nan"], [of(a=math.nan)], [of(b=0.5)])
    result = tally.result()
    assert [shown.picture for shown in result.disagreements] == [
        "data:,b'nan'", "data:,b'99'", "data:,b'90'",
    ]  # fmt: skip
    assert b"same" not in made
    assert b"65" not in made, "no picture is made of what is not shown"
    assert result.changes == {("a", "b"): 7}
    assert result.num_not_finite == 1
    assert result.to_json()["disagreements"][0]["probability_difference"] is None


def test_latencies_and_differences_are_ranked() -> None:
    tally = Tally()
    for number in range(1, 101):
        tally.add_seconds(PRIMARY, number / 1_000)
        tally.add_seconds(CANDIDATE, number / 500)
        tally.compare([None], [of(a=0.5)], [of(a=0.5 + number / 1_000)])
    result = tally.result()
    assert result.latency_ms == {
        PRIMARY: {"p50": 50.0, "p99": 99.0}, CANDIDATE: {"p50": 100.0, "p99": 198.0},
    }  # fmt: skip
    assert result.latency_ratio == 2.0
    assert result.differences == pytest.approx({"p50": 0.05, "p90": 0.09, "p99": 0.099, "max": 0.1})


def test_names_of_classes_are_text_on_the_page() -> None:
    tally = Tally(picture_uri)
    tally.compare(
        [image_of(200)], [of(**{"<script>alert(1)</script>": 0.9})], [of(**{"&amp;": 0.8})]
    )
    page = shadow_page(tally.result(), FACTS)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&amp;amp;" in page
    assert page.count("data:image/jpeg;base64,") == 1


def test_no_picture_of_what_is_none_or_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    from slimworks.components.shadow import shadow

    assert picture_uri(None) is None
    assert picture_uri(b"no image") is None
    assert picture_uri(image_of(9)[:60]) is None
    assert picture_uri(image_of(9)) is not None
    monkeypatch.setattr(shadow, "MAX_PICTURE_PIXELS", 24 * 24 - 1)
    assert picture_uri(image_of(9)) is None
