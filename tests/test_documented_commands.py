"""What the documents tell people to type is what the command line takes."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from code_blocks import code_blocks

from slimworks.pipeline.cli import VERBS, cli
from slimworks.pipeline.config import PipelineConfig
from slimworks.pipeline.reference.__main__ import PAGES

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def commands(path: Path) -> Iterator[list[str]]:
    """Arguments of every `slimworks ...` in the code blocks of a shell."""
    shell = (block.text for block in code_blocks(path) if block.language == "bash")
    for text in shell:
        for line in text.replace("\\\n", " ").splitlines():
            words = line.strip()
            if not re.match(r"slimworks [a-z]", words):
                continue
            words = re.split(r"\s{2,}#? ?|\s[#|>&;]|\s\.\.\.", words + "  ")[0]
            yield shlex.split(words)[1:]


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_command_is_one_that_is_taken(path: Path) -> None:
    context = click.Context(cli, info_name="slimworks")
    for verb, *arguments in commands(path):
        if verb == "serve":
            from slimworks.components.serving.flags import parse_flags

            parse_flags([a.replace("$PWD", "/models") for a in arguments if a != "--help"])
            continue
        assert verb in VERBS, f"{path.name} shows slimworks {verb}"
        command = cli.get_command(context, verb)
        assert command is not None
        given = {option for one in command.params for option in one.opts}
        for argument in arguments:
            option = argument.split("=")[0]
            assert not option.startswith("--") or option in {*given, "--help"}, (
                f"{path.name} shows slimworks {verb} {option}"
            )


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_setting_exists(path: Path) -> None:
    for _, *arguments in commands(path):
        pairs = itertools.pairwise(arguments)
        for key in (value.split("=")[0] for option, value in pairs if option == "--set"):
            section, _, rest = key.partition(".")
            assert section in PipelineConfig.model_fields, f"{path.name} sets {key}"
            fields = getattr(PipelineConfig.model_fields[section].annotation, "model_fields", None)
            assert not rest or (fields and rest.split(".")[0] in fields), f"{path.name} sets {key}"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_generated_pages_are_as_the_code_is(name: str) -> None:
    stored = (ROOT / "docs/reference" / name).read_text(encoding="utf-8")
    assert stored == PAGES[name](), "run `make docs`"
