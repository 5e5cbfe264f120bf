"""The generated reference: a message that a user pastes is found, what lies on disk is named."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from refusals import slimworks

from slimworks.components import contracts
from slimworks.components.errors import SlimWorksError
from slimworks.components.gate.rules import BoundRule
from slimworks.pipeline.reference import messages
from slimworks.pipeline.reference.source_texts import Source, constants, modules

REFERENCE = Path(__file__).parents[2] / "docs/reference"
ENTRY = re.compile(r'^<a id="([a-z0-9-]+)"></a>`(.+)` \[#\]\(#([a-z0-9-]+)\)\n:   (.+)$', re.M)


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def entries() -> dict[str, tuple[str, str]]:
    """Heading and fix of each message by its text."""
    found = {}
    for section in page("errors.md").split("\n## ")[1:]:
        heading = section.partition("\n")[0]
        for _, text, _, fix in ENTRY.findall(section):
            found.setdefault(text, (heading, fix))
    return found


def looked_up(message: str) -> list[str]:
    """Headings of the entries that a message is one of, those with the most own words first."""
    found = []
    for text, (heading, _) in entries().items():
        parts = [re.escape(part) for part in re.split(r"<[^<>]*>", text)]
        if len("".join(parts)) > 12 and re.fullmatch(".*".join(parts), message, flags=re.S):
            found.append((-len("".join(parts)), heading))
    return [heading for _, heading in sorted(found)]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run",), 2),
        (("run", "--data", "nowhere"), 2),
        (("run", "--data", "photos", "--set", "train.epocs=3"), 2),
        (("run", "--data", "photos", "--set", "gate.min_accuracy=90"), 2),
        (("run", "--data", "photos", "--until", "evaluater"), 2),
        (("ingest", "--data", "empty", "--output", "out"), 3),
        (("report", "--root", "empty"), 2),
        (("train", "--examples", "empty", "--output", "out"), 2),
        (("predict", "photos/roses/1.jpg", "--server", "127.0.0.1:9", "--timeout", "1"), 5),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_what_the_terminal_shows_is_in_the_index(
    words: tuple[str, ...], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "photos/roses", "photos/tulips"):
        Path(folder).mkdir(parents=True)
    Path("photos/roses/1.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(SlimWorksError) as caught:
        slimworks(*words)
    shown = caught.value.cause
    assert caught.value.exit_code == code, shown
    assert any(heading.startswith(f"Exit code {code}:") for heading in looked_up(shown)), shown


def test_every_entry_has_an_anchor_of_its_own() -> None:
    found = ENTRY.findall(page("errors.md"))
    assert len(found) > 500
    assert all(anchor == target for anchor, _, target, _ in found)
    assert len({anchor for anchor, *_ in found}) == len(found)


def test_no_error_is_left_out() -> None:
    """Every module that makes an error of ours with words of its own is in the index."""
    trees = messages._trees(Path(messages.slimworks.__file__).parent)
    kinds = messages.error_kinds(trees)
    shown = set(re.findall(r"^### ([\w.]+)$", page("errors.md"), flags=re.M))
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and messages.last_name(node.func) in kinds
                and len(node.args) >= 2
                and isinstance(node.args[0], ast.Constant | ast.JoinedStr)
            ):
                assert module in shown, module


def texts_of(source: str) -> list[str]:
    tree = ast.parse(source)
    read = Source(tree, constants({"module": tree}))
    return [
        text
        for function, call in read.calls
        if messages.last_name(call.func) == "Error"
        for text in read.texts(call.args[0], function)
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('Error("plain")', ["plain"]),
        ('Error(f"{path} is {kind!r}.")', ["<path> is <kind>."]),
        ('Error("one" if is_one else "two")', ["one", "two"]),
        ('LIMIT = "ten"\nError(f"more than {LIMIT}")', ["more than ten"]),
        ('def f():\n  cause = "late"\n  if x:\n    cause = "lost"\n  raise Error(cause)',
         ["late", "lost"]),
        ('def f():\n  raise _made("broken")\ndef _made(cause):\n  return Error(f"It is {cause}.")',
         ["It is broken."]),
        ('def what():\n  return "a pipe"\ndef f():\n  raise Error(f"It is {what()}.")',
         ["It is a pipe."]),
        ('Error(error.cause)', ["<cause>"]),
    ],
)  # fmt: skip
def test_texts_of_an_expression(source: str, expected: list[str]) -> None:
    assert texts_of(source) == expected


def test_too_many_alternatives_are_not_spelled_out() -> None:
    choice = '{"a" if x else "b"}'
    (text,) = texts_of(f"Error(f'{choice * 3}!')")[:1]
    assert len(texts_of(f"Error(f'{choice * 9}!')")) <= 8
    assert text == "aaa!"


def test_modules_are_named_with_their_packages(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/one.py").write_text("x = 1")
    assert list(modules({"components": tmp_path})) == ["components.inner.one"]


def test_every_file_and_feature_of_the_contracts_is_named() -> None:
    text = page("artifacts.md")
    for name, value in vars(contracts).items():
        is_file = name.endswith(("_FILE", "_FOLDER", "_PAGE")) and isinstance(value, str)
        if is_file or (isinstance(value, str) and value.startswith("image/")):
            # The label map's own files are in docs/labels.md.
            assert f"`{value}`" in text or value in ("labels.txt", "label_map.json"), name


def test_every_step_with_an_output_has_its_rows() -> None:
    text = page("artifacts.md")
    steps = re.findall(r"^\| `(\w+)` \| `\w+` \| `\w+` \|$", text, flags=re.M)
    assert list(dict.fromkeys(steps)) == [
        "ingest", "statistics", "schema", "validation", "transform", "trainer", "evaluator",
        "gate", "replay", "pusher",
    ]  # fmt: skip


def test_every_metric_that_a_rule_can_name_is_listed() -> None:
    for metric in BoundRule.model_json_schema()["properties"]["metric"]["enum"]:
        assert f"| `{metric}` |" in page("metrics.md")
