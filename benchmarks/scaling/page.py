"""The tables of docs/scale.md, from docs/scale.json and the formulas of `plan`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scaling import plan

_BLOCK = re.compile(r"(<!-- (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_MEASURED = "scale.json"  # beside the page
LOAD, PRICES = plan.Workload(), plan.Prices()


def fill_file(path: Path) -> None:
    """Writes the tables anew; the text between them stays."""
    measured = json.loads((path.parent / _MEASURED).read_text(encoding="utf-8"))
    path.write_text(fill(path.read_text(encoding="utf-8"), measured), encoding="utf-8")


def fill(text: str, measured: Mapping[str, Any]) -> str:
    """Returns the page with every table from `measured`.

    Raises:
        KeyError: A table of the page is not known here.
    """
    return _BLOCK.sub(lambda m: f"{m[1]}\n{_TABLES[m[2]](measured)}\n\n{m[4]}", text)


def number(value: float) -> str:
    """Three significant figures, as people write them."""
    if value == 0 or abs(value) >= 1_000:
        digits = max(0, len(str(int(abs(value)))) - 3)
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def amount(value: float) -> str:
    """Bytes in decimal units."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    power = min(int(math.log10(max(value, 1)) // 3), len(units) - 1)
    return f"{number(value / 1_000**power)} {units[power]}"


def duration(seconds: float) -> str:
    """In the unit that people would use."""
    for unit, length in (("days", plan.DAY), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= length * (2 if unit == "days" else 1):
            return f"{number(seconds / length)} {unit}"
    return f"{number(seconds)} s" if seconds >= 0.1 else f"{number(seconds * 1_000)} ms"


def _table(*rows: tuple[str, ...]) -> str:
    head, *body = rows
    lines = [head, tuple("---" for _ in head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _lines(measured: Mapping[str, Any]) -> str:
    rows = []
    for name, line in measured["lines"].items():
        show = amount if name.endswith("bytes") else duration
        sizes = line["sizes"]
        rows.append(
            (
                name,
                f"{sizes[0]:,} to {sizes[-1]:,}",
                f"{show(line['fixed'])} + {_each(name, line)}",
                f"{line['r2']:.4f}",
                f"{line['held_out']:.2f}",
                show(line["at_target"]),
            )
        )
    head = ("what", "sizes", "line", "R²", "measured / foretold", "at 100 million")
    return _table(head, *rows)


def _faster(measured: Mapping[str, Any]) -> str:
    lines = measured["lines"]
    named = [
        f"`{name}` (size to the power of {lines[name]['exponent']:.2f} at the end)"
        for name in measured["not_linear"]
    ]
    if not named:
        return "Nothing grew faster than its line by more than a quarter."
    verb = "grows" if len(named) == 1 else "grow"
    return f"No line: {', '.join(named)} {verb} faster."


def _each(name: str, line: Mapping[str, Any]) -> str:
    factor = "n log₂ n" if line["shape"] == "n log2 n" else "n"
    if name.endswith("bytes"):
        return f"{number(line['each'])} B · {factor}"
    return f"{number(line['each'] * 1e6)} µs · {factor}"


def _constants(measured: Mapping[str, Any]) -> plan.Constants:
    return plan.constants(measured["lines"], LOAD)


def _storage(measured: Mapping[str, Any]) -> str:
    found = plan.storage(LOAD, _constants(measured))
    formulas = {
        "photos": "images · image_bytes",
        "shards": "the same bytes again: hard links, not copies, for each run",
        "stored images": "images · side² · 3",
        "catalogue": "the line above",
    }
    rows = [(name, formulas[name], amount(value)) for name, value in found.items()]
    return _table(("what", "formula", "plan"), *rows)


def _ingest(measured: Mapping[str, Any]) -> str:
    found = plan.ingest(LOAD, _constants(measured))
    return _table(
        ("what", "formula", "plan"),
        ("shards", "images · image_bytes / 150 MB", number(found["shards"])),
        ("checking", "images · check_cpu_seconds", f"{number(found['core hours'])} core hours"),
        (
            "workers of one core",
            "core hours / (24 · ingest_days · utilisation)",
            number(found["workers"]),
        ),
        (
            "network",
            "images · image_bytes / ingest_days",
            f"{amount(found['read bytes a second'])}/s",
        ),
        (
            "planning, one process",
            "the sum of the catalogue's lines",
            f"{number(found['planning hours'])} h of CPU",
        ),
        ("its memory", "along the two largest sizes", amount(found["planning memory"])),
    )


def _training(measured: Mapping[str, Any]) -> str:
    found = plan.training(LOAD, _constants(measured))
    return _table(
        ("what", "formula", "plan"),
        (
            "accelerator hours",
            "images · epochs / accelerator_images_per_second",
            number(found["accelerator hours"]),
        ),
        (
            "accelerators",
            "hours / (24 · training_days)",
            f"{number(found['accelerators'])}: train.workers",
        ),
        (
            "network",
            "accelerators · images a second · stored bytes",
            f"{amount(found['read bytes a second'])}/s",
        ),
        ("memory of each process", "images · 28 B", amount(found["memory a process"])),
        (
            "finding the records, each process, each start",
            "images · the line above",
            f"{number(found['start hours a process'] * 60)} min of CPU",
        ),
    )


def _evaluation(measured: Mapping[str, Any]) -> str:
    found = plan.evaluation(LOAD, _constants(measured))
    return _table(
        ("what", "formula", "plan"),
        (
            "half of the interval of an accuracy of 0.9",
            "1.96 · √(0.9 · 0.1 / test_images)",
            f"{found['half interval'] * 100:.2f} points",
        ),
        (
            "predictions, before compression",
            "test_images · classes · 8 B",
            amount(found["predictions bytes"]),
        ),
        (
            "metrics, of 10 classes",
            "test_images · the line above",
            duration(found["scoring seconds"]),
        ),
        (
            "predictions of a test split of a tenth",
            "0.1 · images · classes · 8 B",
            amount(found["all test bytes"]),
        ),
    )


def _serving(measured: Mapping[str, Any]) -> str:
    del measured
    found = plan.serving(LOAD)
    return _table(
        ("what", "formula", "plan"),
        (
            "cores that are always busy",
            "requests_per_second · request_cpu_seconds",
            number(found["busy cores"]),
        ),
        (
            "servers",
            "busy cores / (server_cores · utilisation), upwards",
            number(found["servers"]),
        ),
        (
            "servers, a zone to lose",
            "servers · zones / (zones - 1), upwards",
            number(found["servers with a zone to lose"]),
        ),
        ("requests that wait", "Erlang C of one server", f"{found['waiting share'] * 100:.0f} %"),
        (
            "mean wait",
            "share / (server_cores / request_cpu_seconds - requests a second of one)",
            duration(found["mean wait seconds"]),
        ),
        (
            "mean wait, the zone lost",
            "the same with the fewer servers",
            duration(found["mean wait seconds without the zone"]),
        ),
        (
            "network in",
            "requests_per_second · request_bytes",
            f"{amount(found['bytes a second'])}/s",
        ),
    )


def _cost(measured: Mapping[str, Any]) -> str:
    found = plan.cost(LOAD, _constants(measured), PRICES)
    rows = [(name, number(value)) for name, value in found.items()]
    return _table(("example", "units of money"), *rows)


_TABLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "lines": _lines,
    "faster": _faster,
    "storage": _storage,
    "ingest": _ingest,
    "training": _training,
    "evaluation": _evaluation,
    "serving": _serving,
    "cost": _cost,
}
