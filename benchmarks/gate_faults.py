"""Injects faults into a small real run and looks who refuses or repairs each, and why.

Prints a table to stderr and one JSON line. Ends with 1 where a fault got through, was refused for
another reason than its own, or where the run without a fault was refused.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def run(folder: Path, only: str) -> list[dict[str, Any]]:
    """Makes the healthy run, or takes the one that is there, and injects faults.

    Args:
        folder: Of all artifacts.
        only: Regular expression for names of faults.
    """
    from fault_bench import healthy
    from fault_bench.faults import FAULTS

    made = healthy.Healthy(folder / "healthy")
    if not (made.early_model / "model.json").is_file():  # what is made last
        shutil.rmtree(made.folder, ignore_errors=True)
        healthy.make(made.folder)
    rows = []
    for number, fault in enumerate(FAULTS):
        if not re.search(only, fault.name):
            continue
        work = folder / f"fault-{number}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        started = time.monotonic()
        outcome = fault.inject(made, work)
        rows.append(
            {
                "fault": fault.name,
                "caught_by": outcome.caught_by,
                "verdict": outcome.verdict,
                "is_right": fault.wanted in outcome.caught_by
                and bool(fault.wanted) == bool(outcome.caught_by)
                and outcome.verdict in fault.verdicts,
                "reason": outcome.reason,
                "seconds": round(time.monotonic() - started, 1),
            }
        )
        print(_line(rows[-1]), file=sys.stderr, flush=True)
    return rows


def _line(row: dict[str, Any]) -> str:
    mark = "" if row["is_right"] else "   <-- WRONG: " + row["reason"]
    caught_by = textwrap.shorten(row["caught_by"] or "nobody", 46, placeholder=" ...")
    return f"{row['fault']:<32}{caught_by:<48}{row['verdict']}{mark}"


def main() -> int:
    """Runs all faults, or some."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="regular expression for names of faults")
    parser.add_argument("--folder", type=Path, help="keeps all artifacts; another call reuses them")
    arguments = parser.parse_args()
    print(f"{'fault':<32}{'caught by':<48}verdict", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="slimworks-faults-") as folder:
        rows = run(arguments.folder or Path(folder), arguments.only)
    num_right = sum(row["is_right"] for row in rows)
    result = {
        "benchmark": "gate_faults",
        "num_faults": sum(row["fault"] != "none" for row in rows),
        "ratio": num_right / len(rows),
        "against": "every fault refused or repaired for its own reason, no fault passes",
        "faults": rows,
    }
    print(json.dumps(result))
    return 0 if num_right == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
