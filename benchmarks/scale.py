"""How what grows with the images grows: runs at rising sizes, a line through them, 100 million.

Each line is fitted to all sizes but the largest, which it has to foretell. `ratio` is the worst of
the foretellings, measured cost over foretold: 1 is a straight line. `not_linear` names what grew
faster than the lines say. Prints one JSON line; `--output docs/scale.json` keeps it, from which
`python benchmarks/scale.py --page docs/scale.md` fills the tables of the page.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from scaling import page
from scaling.fits import Fit, fit

TARGET = 100_000_000
TOLERANCE = 1.25  # measured over foretold, above which a cost is said to be no line
CATALOGUE_SIZES = (50_000, 100_000, 200_000, 400_000, 800_000)
# Sorted in memory, 32 times; the others by SQLite, whose indices grow deeper and leave its cache.
SHAPES = dict.fromkeys(("near-duplicates", "select", "plan", "take results", "commit"), "n log2 n")
OTHER_SIZES = {
    "ingest_photos": (1_000, 2_000, 4_000, 8_000),
    "list_folder": (5_000, 10_000, 20_000, 40_000),
    "find_records": (50_000, 100_000, 200_000, 400_000),
    "write_predictions": (16_384, 32_768, 65_536, 131_072),
    "score": (16_384, 32_768, 65_536, 131_072),
}
QUICK_CATALOGUE, QUICK_OTHERS = (500, 1_000, 2_000), {
    "ingest_photos": (50, 100, 200),
    "list_folder": (100, 200, 400),
    "find_records": (1_000, 2_000, 4_000),
    "write_predictions": (1_024, 2_048, 4_096),
    "score": (1_024, 2_048, 4_096),
}  # fmt: skip


def in_a_child(code: Sequence[str]) -> Any:
    """Last line of a fresh process's output, as JSON: its memory and its caches are its own."""
    command = [sys.executable, "-W", "ignore", *code]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=here)
    return json.loads(done.stdout.splitlines()[-1])


def measure_catalogue(sizes: Sequence[int]) -> dict[str, list[float]]:
    """Costs by name at each size: "catalogue: PHASE" in CPU seconds, and two in bytes."""
    costs: dict[str, list[float]] = {}
    for size in sizes:
        found = in_a_child(["-m", "scaling.catalogue", str(size)])
        for phase, (cpu_seconds, _) in found["phases"].items():
            costs.setdefault(f"catalogue: {phase}", []).append(max(cpu_seconds, 1e-4))
        costs.setdefault("catalogue bytes", []).append(found["catalogue_bytes"])
        costs.setdefault("memory bytes", []).append(found["peak_bytes"])
    return costs


def measure_other(name: str, sizes: Sequence[int]) -> list[float]:
    """CPU seconds of a function of `scaling.others` at each size."""
    call = (
        "import pathlib, sys, tempfile\nfrom scaling import others\n"
        "with tempfile.TemporaryDirectory(prefix='slimworks-bench-') as folder:\n"
        "    cost = getattr(others, sys.argv[1])(int(sys.argv[2]), pathlib.Path(folder))\n"
        "print(max(cost, 1e-4))"
    )
    return [in_a_child(["-c", call, name, str(size)]) for size in sizes]


def described(sizes: Sequence[int], costs: Sequence[float], found: Fit) -> dict[str, Any]:
    """A line as JSON, with what it was fitted to."""
    return {
        "sizes": list(sizes),
        "costs": [round(cost, 4) for cost in costs],
        **{
            key: float(f"{value:.4g}") if isinstance(value, float) else value
            for key, value in dataclasses.asdict(found).items()
        },
        "at_target": float(f"{found.at(TARGET):.4g}"),
    }


def measure(
    catalogue_sizes: Sequence[int], other_sizes: dict[str, tuple[int, ...]]
) -> dict[str, Any]:
    """Everything, as the one JSON object."""
    costs = measure_catalogue(catalogue_sizes)
    series: dict[str, tuple[Sequence[int], list[float]]] = {
        name: (catalogue_sizes, values) for name, values in costs.items()
    }
    for name, sizes in other_sizes.items():
        series[name.replace("_", " ")] = (sizes, measure_other(name, sizes))
    shape_of: Callable[[str], str] = lambda name: SHAPES.get(name.partition(": ")[2], "n")  # noqa: E731
    lines = {
        name: described(sizes, values, fit(sizes, values, shape_of(name)))
        for name, (sizes, values) in series.items()
    }
    return {
        "benchmark": "scale",
        "ratio": max(line["held_out"] for line in lines.values()),
        "against": "the cost at the largest size as the line through the smaller ones foretells it",
        "not_linear": sorted(n for n, line in lines.items() if line["held_out"] > TOLERANCE),
        "target": TARGET,
        "lines": lines,
    }


def main() -> None:
    """Measures, or fills the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: that it runs")
    parser.add_argument("--catalogue-sizes", type=int, nargs="+", default=CATALOGUE_SIZES)
    parser.add_argument("--output", type=Path, help="also write the result there, indented")
    parser.add_argument("--page", type=Path, help="fill this page from docs/scale.json; no run")
    options = parser.parse_args()
    if options.page:
        page.fill_file(options.page)
        return
    if options.quick:
        result = measure(QUICK_CATALOGUE, QUICK_OTHERS)
    else:
        result = measure(options.catalogue_sizes, OTHER_SIZES)
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
