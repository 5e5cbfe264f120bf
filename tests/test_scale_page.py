"""docs/scale.md says what its formulas say of what was measured."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from scaling import page, plan  # noqa: E402
from scaling.fits import fit  # noqa: E402

PAGE, MEASURED = ROOT / "docs/scale.md", ROOT / "docs/scale.json"
LOAD = plan.Workload()


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return dict(json.loads(MEASURED.read_text(encoding="utf-8")))


def test_the_tables_are_those_of_the_formulas(measured: dict[str, Any]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page.fill(text, measured) == text, "make docs"
    assert set(re.findall(r"<!-- (\w+) -->", text)) - {"end"} == {
        "lines", "faster", "storage", "ingest", "training", "evaluation", "serving", "cost",
    }  # fmt: skip


def test_another_measurement_is_another_page(measured: dict[str, Any]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    slower = json.loads(json.dumps(measured))
    slower["lines"]["catalogue: plan"]["each"] *= 2
    assert page.fill(text, slower) != text


def test_every_line_was_fitted_to_what_is_written_there(measured: dict[str, Any]) -> None:
    for name, line in measured["lines"].items():
        found = fit(line["sizes"], line["costs"], line["shape"])
        assert found.each == pytest.approx(line["each"], rel=0.02), name
        assert found.held_out == pytest.approx(line["held_out"], rel=0.02), name
        assert found.at(measured["target"]) == pytest.approx(line["at_target"], rel=0.02), name


def test_what_is_no_line_is_named_on_the_page(measured: dict[str, Any]) -> None:
    worst = max(line["held_out"] for line in measured["lines"].values())
    assert measured["ratio"] == worst
    above = {name for name, line in measured["lines"].items() if line["held_out"] > 1.25}
    assert set(measured["not_linear"]) == above
    text = PAGE.read_text(encoding="utf-8")
    told = text.partition("## What grows")[2].partition("## Ingest")[0]
    for name in above:
        assert f"`{name}`" in told, f"{name} grew faster than its line, and the page is silent"


@pytest.mark.parametrize("shape", ["n", "n log2 n"])
def test_a_line_is_found_again(shape: str) -> None:
    sizes = [1_000, 2_000, 4_000, 8_000]
    growth = [n * math.log2(n) if shape == "n log2 n" else n for n in sizes]
    found = fit(sizes, [3 + 0.5 * value for value in growth], shape)
    assert (found.fixed, found.each) == pytest.approx((3, 0.5))
    assert (found.r2, found.held_out) == pytest.approx((1, 1))


def test_what_grows_faster_than_a_line_is_told() -> None:
    sizes = [1_000, 2_000, 4_000, 8_000]
    found = fit(sizes, [1e-6 * n**2 for n in sizes])
    assert found.held_out > 1.5
    assert found.exponent == pytest.approx(2)


@pytest.mark.parametrize(
    ("sizes", "costs"), [([1, 2], [1.0, 2.0]), ([1, 3, 2], [1.0, 2.0, 3.0]), ([1, 2, 3], [0, 1, 2])]
)
def test_too_little_for_a_line(sizes: list[int], costs: list[float]) -> None:
    with pytest.raises(ValueError, match="needs three rising sizes"):
        fit(sizes, costs)


def test_a_queue_of_one_server_waits_as_often_as_it_is_busy() -> None:
    assert plan.erlang_c(1, 0.7) == pytest.approx(0.7)
    assert plan.erlang_c(2, 1.0) == pytest.approx(1 / 3)  # Erlang's table
    assert plan.erlang_c(2, 2.0) == 1


def test_servers_follow_from_load_and_utilisation() -> None:
    load = dataclasses.replace(
        LOAD, requests_per_second=100, request_cpu_seconds=0.1, server_cores=2, utilisation=0.5
    )
    found = plan.serving(load)
    assert (found["busy cores"], found["servers"]) == (10, 10)
    assert found["servers with a zone to lose"] == 15


def test_the_production_overlay_serves_the_plan() -> None:
    overlay = yaml.safe_load(
        (ROOT / "k8s/overlays/production/kustomization.yaml").read_text(encoding="utf-8")
    )
    (text,) = [p["patch"] for p in overlay["patches"] if "HorizontalPod" in p["target"]["kind"]]
    limits = {entry["path"]: entry["value"] for entry in yaml.safe_load(text)}
    assert limits["/spec/maxReplicas"] >= plan.serving(LOAD)["servers with a zone to lose"]
    scaling = list(
        yaml.safe_load_all((ROOT / "k8s/base/serving/scaling.yaml").read_text(encoding="utf-8"))
    )
    target = scaling[0]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"]
    assert target == LOAD.utilisation * 100


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.01234, "0.0123"), (999, "999"), (12_345, "12,300")]
)
def test_numbers_have_three_figures(value: float, text: str) -> None:
    assert page.number(value) == text


def test_units() -> None:
    assert [page.amount(v) for v in (5, 1_500, 2.5e13)] == ["5 B", "1.5 kB", "25 TB"]
    assert [page.duration(v) for v in (0.002, 30, 90, 7_200, 200_000)] == [
        "2 ms", "30 s", "1.5 min", "2 h", "2.31 days",
    ]  # fmt: skip
