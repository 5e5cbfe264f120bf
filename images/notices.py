"""Writes what an image is made of: licences below /licenses, and /sbom.cdx.json.

    python3 notices.py slimworks-pipeline

Reads what is installed in the image it runs in, or below --root, so that nothing can be forgotten.
The SBOM is CycloneDX 1.5, without a time of writing: equal images have equal ones.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

_LICENCE_FILE = re.compile(r"(?i)licen[cs]e|copying|notice|copyright")
_APACHE = Path("/usr/share/common-licenses/Apache-2.0")  # many name it and bring no text
_CODE = {".py", ".pyc", ".pyi", ".so", ".h"}


def python_packages(root: Path) -> list[importlib.metadata.Distribution]:
    """The installed Python distributions, by name."""
    folders = sorted(root.glob("opt/slimworks/lib/python3*/site-packages"))
    found = importlib.metadata.distributions(path=[str(folder) for folder in folders])
    return sorted(found, key=lambda package: normal_name(package.metadata["Name"]))


def normal_name(name: str) -> str:
    """A distribution's name as package URLs have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def debian_packages(root: Path) -> Iterator[dict[str, str]]:
    """The fields of every installed Debian package."""
    status = (root / "var/lib/dpkg/status").read_text(encoding="utf-8")
    for paragraph in status.strip().split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line[:1] not in (" ", "\t")]
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        if fields.get("Status", "").endswith(" installed"):
            yield fields


def licence_of(package: importlib.metadata.Distribution) -> str:
    """The licence's name: its expression, its classifiers, or the first line of its text."""
    facts = package.metadata
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in facts.get_all("Classifier", [])
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    text = (facts.get("License") or "").strip()
    declared = facts.get("License-Expression") or " AND ".join(classifiers)
    return declared or next(iter(text.splitlines()), "").strip()[:100] or "see its files"


def copy_licences(package: importlib.metadata.Distribution, folder: Path) -> int:
    """Copies a distribution's licence texts; returns their number."""
    texts: dict[Path, Path] = {}
    for file in package.files or ():
        source = Path(str(file.locate()))
        if _LICENCE_FILE.search(file.name) and file.suffix not in _CODE and source.is_file():
            inner = (part for part in file.parts if part != ".." and not part.endswith("-info"))
            texts[folder.joinpath(*inner)] = source
    if not texts and "apache" in licence_of(package).lower():
        texts[folder / _APACHE.name] = _APACHE
    for target, source in texts.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return len(texts)


def _python_component(package: importlib.metadata.Distribution) -> dict[str, Any]:
    name = normal_name(package.metadata["Name"])
    purl = f"pkg:pypi/{name}@{quote(package.version)}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": package.version,
        "purl": purl,
        "licenses": [{"license": {"name": licence_of(package)}}],
    }


def _debian_component(fields: dict[str, str], distribution: str) -> dict[str, Any]:
    name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
    purl = f"pkg:deb/{distribution}/{quote(name)}@{quote(version)}?arch={architecture}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }


def _operating_system(root: Path) -> dict[str, str]:
    lines = (root / "etc/os-release").read_text(encoding="utf-8").splitlines()
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: value.strip('"') for name, value in facts.items()}


def bill_of_materials(name: str, root: Path, program: list[str]) -> dict[str, Any]:
    """The SBOM of an image, by CycloneDX 1.5; `program`: a name and version that no package has."""
    system = _operating_system(root)
    components = [
        {"type": "operating-system", "name": system["ID"], "version": system["VERSION_ID"]},
        *([{"type": "application", "name": program[0], "version": program[1]}] if program else []),
        *(_python_component(package) for package in python_packages(root)),
        *(_debian_component(fields, system["ID"]) for fields in debian_packages(root)),
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name}},
        "components": components,
    }


def write_licences(root: Path, folder: Path) -> None:
    """Writes python/NAME/..., the list licences.tsv, and a link to Debian's own texts."""
    rows = ["package\tversion\tlicence\tfiles"]
    for package in python_packages(root):
        name = normal_name(package.metadata["Name"])
        num_files = copy_licences(package, folder / "python" / name)
        rows.append(f"{name}\t{package.version}\t{licence_of(package)}\t{num_files}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "licences.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    os.symlink("../usr/share/doc", folder / "debian")  # DEBIAN-PACKAGE/copyright


def main() -> None:
    """Writes both for the image named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the image")
    parser.add_argument("--root", type=Path, default=Path("/"), help="where the packages are")
    parser.add_argument("--output", type=Path, default=Path("/"), help="where to write")
    parser.add_argument("--program", nargs=2, default=[], help="name, version; of no package")
    given = parser.parse_args()
    write_licences(given.root, given.output / "licenses")
    text = json.dumps(bill_of_materials(given.name, given.root, given.program), indent=1) + "\n"
    (given.output / "sbom.cdx.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
