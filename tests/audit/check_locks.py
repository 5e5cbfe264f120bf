"""Every locked package has hashes and a licence that licences.yaml allows. No network.

python tests/audit/check_locks.py
python tests/audit/check_locks.py --sbom build/sbom.json requirements-py311.lock
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
LICENCES = Path(__file__).with_name("licences.yaml")
_ENTRY = re.compile(r"(?m)^(?=[A-Za-z0-9][A-Za-z0-9._-]*==)")
_OPERATOR = re.compile(r"\s+(?:AND|OR|WITH)\s+|[()]")


def locks() -> list[Path]:
    """Every lock of the project."""
    folders = (".", "images/locks", "docs/site", "notebooks", "tests/audit")
    return sorted(path for folder in folders for path in (ROOT / folder).glob("*.lock"))


def entries(lock: Path) -> dict[tuple[str, str], str]:
    """The text of each entry of a lock, by name and version."""
    found = {}
    for text in _ENTRY.split(lock.read_text(encoding="utf-8")):
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", text):
            found[normal_name(match[1]), match[2]] = text
    return found


def normal_name(name: str) -> str:
    """A package's name as locks and package URLs have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared_licences() -> dict[str, str]:
    """What the packages that are installed here say of themselves, by name."""
    found = {}
    for package in importlib.metadata.distributions():
        facts = package.metadata
        classifiers = [
            line.rpartition(" :: ")[2]
            for line in facts.get_all("Classifier", [])
            if line.startswith("License :: ") and line != "License :: OSI Approved"
        ]
        text = (facts.get("License") or "").strip()
        declared = facts.get("License-Expression") or " AND ".join(classifiers) or text
        found[normal_name(facts["Name"])] = declared
    return found


def faults_of(lock: Path, declared: Mapping[str, str], rules: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a lock, a line each.

    Args:
        lock: The file.
        declared: Licences of installed packages, by name.
        rules: Content of licences.yaml.
    """
    name_of_lock = lock.relative_to(ROOT).as_posix() if lock.is_relative_to(ROOT) else lock.name
    allowed = {*rules["allowed"], *rules["allowed_in"].get(name_of_lock, ())}
    found = entries(lock)
    if not found:
        yield f"{name_of_lock}: it locks nothing"
    for (name, version), text in found.items():
        if "--hash=sha256:" not in text:
            yield f"{name_of_lock}: {name} {version} has no hash"
        licence = rules["packages"].get(name) or declared.get(name) or ""
        words = _OPERATOR.split(rules["words"].get(licence, licence))
        refused = {rules["words"].get(w.strip(), w.strip()) for w in words if w.strip()} - allowed
        if not licence:
            yield f"{name_of_lock}: the licence of {name} {version} is not known: licences.yaml"
        elif refused:
            yield f"{name_of_lock}: {name} {version} is under {', '.join(sorted(refused))}"


def lacking(sbom: Mapping[str, Any], lock: Path) -> list[str]:
    """Packages of a lock that an SBOM does not name in that version."""
    named = {(normal_name(c["name"]), c.get("version")) for c in sbom["components"]}
    return sorted(f"{name} {version}" for name, version in entries(lock).keys() - named)


def _conclude(faults: Iterable[str], sound: str) -> int:
    faults = list(faults)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(faults)} faults" if faults else sound)
    return 1 if faults else 0


def main() -> int:
    """Checks the locks, or an SBOM against locks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("locks", nargs="*", type=Path)
    parser.add_argument("--sbom", type=Path, help="CycloneDX, in JSON")
    given = parser.parse_args()
    chosen = [path.resolve() for path in given.locks] or locks()
    if given.sbom:
        sbom = json.loads(given.sbom.read_text(encoding="utf-8"))
        missing = [f"{given.sbom} lacks {one}" for lock in chosen for one in lacking(sbom, lock)]
        return _conclude(missing, f"{given.sbom}: {len(sbom['components'])} components")
    rules, declared = yaml.safe_load(LICENCES.read_text(encoding="utf-8")), declared_licences()
    faults = [fault for lock in chosen for fault in faults_of(lock, declared, rules)]
    return _conclude(faults, f"{len(chosen)} locks: hashes and licences are as they should be")


if __name__ == "__main__":
    sys.exit(main())
