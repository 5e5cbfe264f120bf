"""Asks for known vulnerabilities of every locked package, by pip-audit; `make audit`.

Exit code 0: none but those of exceptions.yaml; 1: others, or an exception that has ended; 2: the
advisories could not be had for every package, so that nothing is said.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

EXCEPTIONS = Path(__file__).with_name("exceptions.yaml")
SOUND, FOUND, NOT_ASKED = 0, 1, 2
_FIX = "Fix:   where the advisories can be reached: make audit, or make audit SERVICE=osv"
_KEYS = {"id", "package", "reason", "until"}


def read_exceptions(text: str) -> list[dict[str, Any]]:
    """The reviewed exceptions.

    Raises:
        ValueError: One has no reason, no date, or an unknown key.
    """
    found = yaml.safe_load(text)["exceptions"]
    for one in found:
        if set(one) != _KEYS or not isinstance(one["until"], datetime.date) or not one["reason"]:
            raise ValueError(f"{one}: an exception has {', '.join(sorted(_KEYS))}")
    return list(found)


def judge(
    dependencies: Iterable[Mapping[str, Any]],
    exceptions: Sequence[Mapping[str, Any]],
    today: datetime.date,
) -> tuple[int, list[str]]:
    """What pip-audit found, with the exceptions: exit code and lines.

    Args:
        dependencies: Of its JSON reports.
        exceptions: As `read_exceptions`.
        today: An exception counts up to its date.
    """
    vulnerable: list[str] = []
    skipped: list[str] = []
    notes: list[str] = []
    used: set[str] = set()
    for package in {one["name"]: one for one in dependencies}.values():
        if "skip_reason" in package:
            skipped.append(f"{package['name']}: {package['skip_reason']}")
        for advisory in package.get("vulns", ()):
            names = {advisory["id"], *advisory.get("aliases", ())}
            what = f"{package['name']} {package['version']}: {advisory['id']}"
            fixed = ", ".join(advisory.get("fix_versions", ())) or "none"
            known = [e for e in exceptions if e["package"] == package["name"] and e["id"] in names]
            if not known:
                vulnerable.append(f"{what}; fixed in: {fixed}")
                continue
            used.add(known[0]["id"])
            if today > known[0]["until"]:
                vulnerable.append(f"{what}; its exception ended on {known[0]['until']}")
            else:
                notes.append(f"{what} is let pass until {known[0]['until']}: {known[0]['reason']}")
    notes += [f"the exception {e['id']} is not needed any more" for e in exceptions
              if e["id"] not in used and not skipped]  # fmt: skip
    if vulnerable:
        return FOUND, [*notes, *skipped, *vulnerable]
    return (NOT_ASKED if skipped else SOUND), [*notes, *skipped]


def ask(pip_audit: Path, lock: Path, service: str) -> list[dict[str, Any]]:
    """The packages of a lock with their advisories.

    Raises:
        RuntimeError: pip-audit ended without a report.
    """
    command = [str(pip_audit), "--requirement", str(lock), "--format", "json"]
    command += ["--vulnerability-service", service, "--progress-spinner", "off"]
    command += ["--disable-pip", "--require-hashes"]  # the lock is all: nothing is resolved
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise RuntimeError(f"pip-audit on {lock}: {last}") from None
    return found


def main() -> int:
    """Audits the locks that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("locks", nargs="+", type=Path)
    parser.add_argument("--pip-audit", type=Path, required=True, help="the program")
    parser.add_argument("--service", default="pypi", choices=("pypi", "osv"))
    given = parser.parse_args()
    exceptions = read_exceptions(EXCEPTIONS.read_text(encoding="utf-8"))
    dependencies: list[dict[str, Any]] = []
    try:
        for lock in given.locks:
            dependencies += ask(given.pip_audit, lock, given.service)
    except RuntimeError as error:
        print(f"Error: {error}", file=sys.stderr)
        print(_FIX, file=sys.stderr)
        return NOT_ASKED
    today = datetime.datetime.now(datetime.timezone.utc).date()
    code, lines = judge(dependencies, exceptions, today)
    print("\n".join(lines) or f"{len(dependencies)} locked packages: no known vulnerability")
    if code == NOT_ASKED:
        print("Error: the service does not know every package.", file=sys.stderr)
        print(_FIX, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
