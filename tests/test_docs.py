"""The documents name only what exists."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.summary import IngestSummary
from slimworks.pipeline.cli import VERBS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_verbs_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for verb in re.findall(r"\bslimworks ([a-z]+(?:-[a-z]+)*)\b(?=[^a-z/]| --)", text):
        assert verb in VERBS, f"{path.name} shows `slimworks {verb}`"


def test_the_tests_that_the_threat_model_rests_on_exist() -> None:
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z0-9_]+/)*test_[a-z0-9_]+\.py)`", text)

    assert len(named) > 20
    for name in named:
        assert any((ROOT / folder / name).is_file() for folder in ("", "tests/components")), name


def test_every_direct_dependency_is_justified() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    text = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    named = set(re.findall(r'^  "([A-Za-z][A-Za-z0-9-]*)', text, flags=re.MULTILINE))
    justified = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    markers = {
        "slow",
        "shared",
        "slimworks",  # its own extras
        "error",
        "ignore",
        "types-protobuf",
        "types-psutil",
        "types-PyYAML",
    }
    for name in sorted(named - markers):
        assert f"`{name}" in justified, name


def test_the_page_of_ingest_names_every_setting_and_every_field_of_the_summary() -> None:
    page = (ROOT / "docs/ingest.md").read_text(encoding="utf-8")
    fields = [field.name for field in dataclasses.fields(IngestSummary)]
    for name in (*DataConfig.model_fields, *fields):
        assert f"`{name}`" in page, name


def test_folders_and_modules_exist() -> None:
    for path in DOCUMENTS:
        for named in re.findall(
            r"`((?:components|pipeline|tests)/[\w/]+(?:\.py|/))`", path.read_text("utf-8")
        ):
            assert (ROOT / named).exists(), f"{path.name} names {named}"


def test_make_help_lists_the_documented_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("help", "demo", "test", "test-all", "check", "bench", "compile", "clean"):
        assert re.search(rf"^{target}:.*##", makefile, flags=re.MULTILINE), target
