"""The import table, which is the diagram, and the budget of heavy imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Modules directly below components/: everyone may import them.
FOUNDATION = {
    "addresses",
    "arrow",
    "artifacts",
    "beam_options",
    "contracts",
    "errors",
    "files",
    "formats",
    "labels",
    "pod_secrets",
    "pod_security",
    "processor",
    "progress",
    "python_process",
    "settings",
    "terminal_text",
}

# folder below components/ -> folders below components/ that it may import.
# Libraries (no component.py): calibration, examples, preprocessing, nets, checkpoints, export,
# report, serving, tracking.
MAY_IMPORT: dict[str, set[str]] = {
    "calibration": set(),
    "checkpoints": {"nets"},
    "evaluator": {"calibration", "examples"},
    "examples": set(),
    "export": {"calibration", "checkpoints", "nets", "preprocessing"},
    # slices and the predictions file: the same rows in both
    # shadow: logged requests, sent to both models
    "gate": {"calibration", "evaluator", "examples", "serving", "shadow"},
    "ingest": {"examples", "storage"},
    "labels": set(),  # the label map: contracts offers it to everyone
    "nets": set(),
    "preprocessing": {"examples", "nets"},  # formats; the factory: by the name of a network
    "pusher": {"serving", "storage"},
    "replay": {"examples", "serving"},
    "report": {"evaluator", "examples", "storage"},
    "serving": {"examples"},
    "shadow": {"examples", "report", "serving"},  # pictures; the style of pages
    # ingest: the facts of an image; serving: what clients sent; calibration: bins of confidence
    "statistics": {"calibration", "examples", "ingest", "serving"},
    "storage": set(),
    "tracking": {"report"},  # the facts of a run
    # transform.attach: the graph
    "trainer": {
        "calibration",
        "checkpoints",
        "examples",
        "export",
        "nets",
        "preprocessing",
        "transform",
    },
    "transform": {"preprocessing"},
}
HEAVY = ("tensorflow", "apache_beam", "tfx", "kfp", "pandas", "pyarrow", "ml_metadata")


def _imports(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _files(folder: str) -> list[Path]:
    return [p for p in sorted((ROOT / folder).rglob("*.py")) if not p.name.endswith("_pb2.py")]


def test_table_names_every_component() -> None:
    folders = {p.name for p in (ROOT / "components").iterdir() if (p / "__init__.py").exists()}
    assert folders == set(MAY_IMPORT)


@pytest.mark.parametrize("component", sorted(MAY_IMPORT))
def test_component_imports_only_what_the_table_allows(component: str) -> None:
    allowed = MAY_IMPORT[component] | FOUNDATION | {component}
    for path in _files(f"components/{component}"):
        for name in _imports(path):
            assert not name.startswith("slimworks.pipeline"), f"{path} imports {name}"
            parts = name.split(".")
            if parts[:2] == ["slimworks", "components"] and len(parts) > 2:
                assert parts[2] in allowed, f"{path} imports {name}"


def test_nothing_imports_the_folders_by_their_own_names() -> None:
    for path in _files("components") + _files("pipeline"):
        roots = {name.split(".")[0] for name in _imports(path)}
        assert not roots & {"components", "pipeline"}, path


def test_packages_have_the_shape_of_the_house() -> None:
    for path in _files("components") + _files("pipeline"):
        assert path.name not in {"utils.py", "helpers.py", "common.py"}, path
        if path.name == "__init__.py":
            assert path.read_text(encoding="utf-8") == "", f"{path} is not empty"


def test_setup_lists_each_package_once_and_completely() -> None:
    script = "import runpy, setuptools; setuptools.setup = lambda **k: print(*k['packages']);"
    script += "runpy.run_path('setup.py')"
    output = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    listed = output.stdout.split()
    expected = {"slimworks"} | {
        ".".join(("slimworks", *path.parent.relative_to(ROOT).parts))
        for path in _files("components") + _files("pipeline")
        if path.name == "__init__.py"
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == expected


_CPU_SECONDS = """
import resource, sys
{body}
used = resource.getrusage(resource.RUSAGE_SELF)
heavy = [name for name in {heavy!r} if name in sys.modules]
print(used.ru_utime + used.ru_stime, *heavy)
"""


def _cost(body: str) -> tuple[float, list[str]]:
    """CPU seconds of a fresh interpreter that runs `body`, and the heavy modules it loaded."""
    script = _CPU_SECONDS.format(body=body, heavy=HEAVY)
    output = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    seconds, *heavy = output.stdout.splitlines()[-1].split()
    return float(seconds), heavy


@pytest.mark.parametrize(
    "body",
    [
        "from slimworks.pipeline.cli import cli\ncli.main(['--help'], standalone_mode=False)",
        "from slimworks.pipeline.cli import cli\n"
        "cli.main(['predict', '--help'], standalone_mode=False)\n"
        "import slimworks.components.serving.client",
        "from slimworks.pipeline.cli import cli\n"
        "cli.main(['history', '--help'], standalone_mode=False)\n"
        "import slimworks.components.pusher.ledger",
        "import slimworks",
        "import slimworks\nslimworks.run, slimworks.load, slimworks.TrainedModel",
        "import slimworks.components.nets.registry",
    ],
    ids=["help", "predict", "history", "package", "python", "registry"],
)
def test_quick_verbs_load_nothing_heavy(body: str) -> None:
    _, heavy = _cost(body)
    assert heavy == []


def test_the_package_is_imported_at_once() -> None:
    seconds, _ = _cost("import slimworks\nslimworks.run, slimworks.load")
    assert seconds < 0.3


def test_components_are_light_until_they_execute() -> None:
    body = "from slimworks.pipeline import tfx_import; tfx_import.prepare()\n" + "\n".join(
        f"import slimworks.components.{path.parent.name}.component"
        for path in _files("components")
        if path.name == "component.py"
    )
    script = f"import sys\n{body}\nprint(*[n for n in sys.modules if '.' not in n])"
    output = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    loaded = set(output.stdout.split())
    assert not loaded & {
        "tensorflow_data_validation",
        "tensorflow_transform",
        "tensorflow_model_analysis",
        "tf_slim",
        "kfp",
    }


def test_pyarrow_is_imported_in_one_place() -> None:
    """components/arrow.py says why."""
    files = [path for name in ("components", "pipeline") for path in (ROOT / name).rglob("*.py")]
    importing = {
        path.relative_to(ROOT).as_posix()
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyarrow"))
        or (isinstance(node, ast.Import) and any("pyarrow" in name.name for name in node.names))
    }
    assert importing == {"components/arrow.py"}


@pytest.mark.parametrize(
    ("mark", "folder"),
    [
        ("chaos", "chaos"),
        ("container", "containers"),
        ("docs", "docs"),
        ("newest", "newest"),
        ("notebook", "notebooks"),
    ],
)
def test_a_target_that_names_a_folder_misses_no_test(mark: str, folder: str) -> None:
    tests = ROOT / "tests"
    marked = [path for path in tests.rglob("*.py") if f"pytest.mark.{mark}" in path.read_text()]
    others = {path.relative_to(tests).parts[0] for path in marked} - {folder}
    # Tests of the newest stack are for containers too: "newest" alone chooses them.
    assert others <= ({"newest"} if mark == "container" else set())
    assert len(marked) > len(others)


@pytest.mark.parametrize(
    ("arguments", "budget_seconds"), [(["--help"], 0.5), (["predict", "--help"], 0.6)]
)
def test_command_line_starts_within_its_budget(arguments: list[str], budget_seconds: float) -> None:
    """CPU time, and the best of three, because the machine is shared."""
    best = min(
        _command_cpu_seconds([sys.executable, "-m", "slimworks", *arguments]) for _ in range(3)
    )
    assert best < budget_seconds


def _command_cpu_seconds(command: list[str]) -> float:
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
