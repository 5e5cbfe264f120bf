"""The notebooks: stored without outputs, and every cell runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from slimworks.pipeline.cli import VERBS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
TIMEOUT_SECONDS = 600  # of a cell; three minutes are meant for a whole notebook on a free machine

# A shell command that fails ends the notebook: here only, so that its cells stay plain.
CHECKED_COMMANDS = """
def checked(command, run=get_ipython().system):
    run(command)
    if code := get_ipython().user_ns["_exit_code"]:
        raise SystemError(f"{command} ended with exit code {code}")
get_ipython().system = checked
"""


def cells(name: str, kind: str) -> list[dict[str, Any]]:
    """As they are stored: JSON, which needs no library of notebooks."""
    notebook = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def sources(name: str, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(name, kind)]


def test_there_are_the_five_that_the_page_lists() -> None:
    page = (ROOT / "docs/notebooks.md").read_text(encoding="utf-8")
    assert len(NAMES) == 5
    assert sorted(set(re.findall(r"\d\d_\w+\.ipynb", page))) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_not_stored(name: str) -> None:
    for cell in cells(name, "code"):
        outputs = (cell["outputs"], cell["execution_count"])
        assert outputs == ([], None), "run `make strip-notebooks`"


@pytest.mark.parametrize("name", NAMES)
def test_what_they_show_exists(name: str) -> None:
    texts = sources(name, "markdown")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", "\n".join(texts)):
        assert (FOLDER / target).exists(), f"{name} links to {target}"
    texts += sources(name, "code")
    for verb in re.findall(r"(?:^!|`)slimworks ([a-z-]+)", "\n".join(texts), re.MULTILINE):
        assert verb in VERBS, f"{name} shows `slimworks {verb}`"


@pytest.mark.parametrize("tag", ["py310", "py311"])
def test_lock_has_hashes_and_the_versions_that_are_tested(tag: str) -> None:
    lock = (FOLDER / f"requirements-{tag}.lock").read_text(encoding="utf-8")
    entries = re.split(r"(?m)^(?=[a-z0-9.-]+==)", lock)[1:]
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    tested = (ROOT / f"requirements-dev-{tag}.lock").read_text(encoding="utf-8")
    versions, known = (dict(re.findall(r"(?m)^([a-z0-9.-]+)==(\S+)", t)) for t in (lock, tested))
    assert {name for name in versions.keys() & known if versions[name] != known[name]} == set()
    assert {"ipykernel", "matplotlib", "nbclient", "nbconvert", "nbformat"} <= versions.keys()


def execute(name: str, folder: Path, **environment: str) -> Any:
    """Runs a copy of a notebook in an empty folder; returns it with its outputs."""
    import nbformat
    from nbclient import NotebookClient

    for path in FOLDER.iterdir():
        if path.suffix == ".ipynb" or path.name == "matplotlibrc":
            shutil.copy(path, folder)
    notebook = nbformat.read(folder / name, as_version=4)
    nbformat.validate(notebook)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(CHECKED_COMMANDS))
    search = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(search), **environment}
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute(env=environment)


def outputs(notebook: Any) -> str:
    """All text that its cells put out."""
    found = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    texts = [one.get("text") or one.get("data", {}).get("text/plain", "") for one in found]
    return "\n".join(texts)


def num_pictures(notebook: Any) -> int:
    found = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    return sum("image/png" in one.get("data", {}) for one in found)


# What each of them must have come to, and how many pictures it draws.
EXPECTED = {
    "01": (["pass - version 1", "pass - version 2", "version 3", "torn.png", "five.png"], 6),
    "02": (["pass", "confidence 0.95 -> 0.99", "accuracy 0."], 4),
    "03": (["pass: accuracy", "inconclusive: accuracy", "fail: accuracy", "version None"], 5),
    "04": (["pass: version 1"], 1),
    "05": (["pipeline.kfp.yaml", "CronJob"], 1),
}


@pytest.mark.notebook
@pytest.mark.timeout(2 * TIMEOUT_SECONDS)
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name: str, tmp_path: Path) -> None:
    notebook = execute(name, tmp_path)
    assert all(c.execution_count for c in notebook.cells if c.cell_type == "code" and c.source)
    texts, pictures = EXPECTED[name[:2]]
    text = outputs(notebook)
    assert [one for one in texts if one not in text] == []
    assert num_pictures(notebook) >= pictures


@pytest.mark.notebook
@pytest.mark.shared
@pytest.mark.timeout(2 * TIMEOUT_SECONDS)
def test_the_first_one_runs_on_photos(shared: Path, tmp_path: Path) -> None:
    settings = {
        "model.net": "mobilenet_v1_025",
        "train.checkpoint_path": str(
            shared / "data/checkpoints/mobilenet_v1_0.25_128/mobilenet_v1_0.25_128.ckpt"
        ),
    }
    photos = shared / "data/datasets/flowers_800"
    notebook = execute(
        NAMES[0], tmp_path, SLIMWORKS_DATA=str(photos), SLIMWORKS_SETTINGS=json.dumps(settings)
    )
    text = outputs(notebook)
    assert "pass - version 1" in text
    assert "800 images in 5 classes" in text
    assert not (tmp_path / "digits").exists()
