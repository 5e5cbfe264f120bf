"""Every fenced block of every document says what it is, is valid, and is run or says why not."""

from __future__ import annotations

import ast
import csv
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from code_blocks import RUN_LANGUAGES, Block, code_blocks
from documents import DOCUMENTS, PAGES, ROOT, follower, name, run_blocks

from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.columns import choose_columns
from slimworks.components.serving.batching import read_parameters
from slimworks.components.serving.model_config import model_configs, read_model_config
from slimworks.pipeline.config import PipelineConfig

LANGUAGES = {*RUN_LANGUAGES, "text", "yaml", "json", "csv", "pbtxt"}
PROGRAMS = ("slimworks", "make", "pip", "kubectl", "curl", "podman", "docker", "export", "source")
REASONS = ("needs", "takes", "stays", "tests/", "CI", "a larger", "as ")


def blocks(*languages: str) -> list[Block]:
    return [b for path in DOCUMENTS for b in code_blocks(path) if b.language in languages]


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_block_names_its_language(path: Path) -> None:
    for block in code_blocks(path):
        assert block.language in LANGUAGES, f"{block}: {block.language or 'nothing'}"
    fences = re.findall(r"^ *```", path.read_text("utf-8"), flags=re.MULTILINE)
    assert len(fences) == 2 * len(code_blocks(path)), "a fence that is not closed"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_block_that_can_run_is_run_or_says_why_not(path: Path) -> None:
    text = path.read_text("utf-8")
    marked = [block for block in code_blocks(path) if block.not_run]
    assert text.count("<!-- not run") == len(marked), "a mark without a block right below it"
    if test := follower(path):
        assert test.is_file()
    else:
        assert bool(run_blocks(path)) == (name(path) in PAGES), "documents.py lists the pages"
    for block in marked:
        assert block.language in RUN_LANGUAGES, f"{block}: nobody would run it"
        assert block.not_run.startswith(REASONS), f"{block}: {block.not_run}"
        for named in re.findall(r"tests/[\w/]+\.py", block.not_run):
            assert (ROOT / named).is_file(), f"{block}: there is no {named}"


def test_there_are_blocks_enough_that_run() -> None:
    assert sum(len(run_blocks(path)) for path in DOCUMENTS) > 40


@pytest.mark.parametrize("block", blocks("text"), ids=str)
def test_text_is_no_command(block: Block) -> None:
    if "reference" not in block.path.parts:  # help texts, made from the command line
        for line in block.text.splitlines():
            assert line.split(" ")[0] not in PROGRAMS, f"{block} would be taken for output: {line}"


@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_the_shell_takes_it(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") or ("<" in block.text and block.not_run)


@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_nothing_follows_a_server_that_keeps_the_terminal(block: Block) -> None:
    lines = block.text.replace("\\\n", " ").splitlines()
    for line in lines[:-1]:
        is_server = re.match(r"slimworks (serve|shadow .*--listen)\b", line)
        assert not is_server or line.rstrip().endswith("&"), f"{block} would wait for ever"


@pytest.mark.parametrize("block", blocks("bash"), ids=str)
def test_what_explains_a_command_is_a_comment(block: Block) -> None:
    """`slimworks report   path of the report` gives the verb five arguments."""
    text = re.sub(r"<<END\n.*?^END$", "", block.text.replace("\\\n", " "), flags=re.M | re.S)
    for line in text.splitlines():
        command = re.split(r"\s#\s", line)[0].rstrip()
        if command.startswith("slimworks "):
            assert "   " not in re.sub(r"\s+(--|\|\|)", r" \1", command), f"{block}: {line}"


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_json_is_json() -> None:
    for block in blocks("json"):
        json.loads(block.text)


@pytest.mark.parametrize("block", blocks("csv"), ids=str)
def test_csv_is_a_manifest(block: Block) -> None:
    header, *rows = csv.reader(block.text.splitlines())
    columns = choose_columns(header, DataConfig(), "labels.csv")
    assert columns.path
    assert rows
    assert {len(row) for row in rows} == {len(header)}


@pytest.mark.parametrize("block", blocks("pbtxt"), ids=str)
def test_the_server_takes_its_configuration(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "config"
    if "max_batch_size" in block.text:
        path.write_text(block.text, encoding="utf-8")
        assert read_parameters(str(path)).max_batch_size > 0
        return
    is_whole = "model_config_list" in block.text
    text = block.text if is_whole else f"model_config_list {{ {block.text} }}"
    path.write_text(text, encoding="utf-8")
    assert model_configs(read_model_config(str(path)))


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_is_a_configuration_or_a_part_of_an_overlay(block: Block) -> None:
    documents = list(yaml.safe_load_all(block.text))
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "Kustomization":
            _check_overlay(document)
        elif isinstance(document, dict) and "apiVersion" in document:
            assert {"kind", "metadata", "spec"} <= set(document)
        elif isinstance(document, list) or "patches" in document:
            patches = document if isinstance(document, list) else document["patches"]
            assert list(_targets(patches))
        else:
            PipelineConfig.model_validate(document)


def _check_overlay(document: dict[str, Any]) -> None:
    for path in (*document["resources"], *document["components"]):
        assert (ROOT / "my-cluster" / path).resolve().is_dir(), path
    assert list(_targets(document["patches"]))


def _targets(patches: list[dict[str, Any]]) -> Iterator[str]:
    """Kinds that are patched; each is one that k8s/ has, and its patch is a list of operations."""
    kinds = set()
    for path in (ROOT / "k8s").rglob("*.yaml"):
        kinds |= {
            document.get("kind")
            for document in yaml.safe_load_all(path.read_text("utf-8"))
            if isinstance(document, dict)
        }
    for patch in patches:
        assert patch["target"]["kind"] in kinds
        assert all({"op", "path"} <= set(one) for one in yaml.safe_load(patch["patch"]))
        yield patch["target"]["kind"]


def test_lines_that_end_in_a_backslash_go_on() -> None:
    for block in blocks("bash"):
        assert not block.text.rstrip().endswith("\\"), block
        shlex.split(re.sub(r"#.*", "", block.text).replace("'", "").replace('"', ""))
