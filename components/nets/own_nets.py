"""Networks of the user's own: `my_module:my_net`. Importable without TensorFlow.

Nothing of the user's is imported here: a module is found and digested as a file, and looked at in
a process of its own, where TensorFlow's threads harm no fork and what it prints is no output.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slimworks.components import files
from slimworks.components.errors import ERRORS, ConfigError, nearest
from slimworks.components.nets.spec import NetSpec
from slimworks.components.python_process import code_command

# Folders, separated by ':', that modules are looked for in besides the current one.
FOLDERS_VARIABLE = "SLIMWORKS_NETS_PATH"

_BUILDER = "slimworks.components.nets.nets_factory"
_ITS_OWN = "--- the network's own output:"  # what libraries say as they are imported stands above
_LOOK = (
    "import json; given = json.load(sys.stdin); sys.path[:] = given['path']; "
    "from slimworks.components.nets import own_net_inspection; "
    f"print({_ITS_OWN!r}, file=sys.stderr, flush=True); own_net_inspection.main(given)"
)
_SHOWN_CHARACTERS = 200  # of what a process that died has said


@dataclasses.dataclass(frozen=True)
class OwnNet:
    """A function of a user's module.

    Attributes:
        name: As it was typed.
        module: Name to import the module by.
        function: Name of the function.
        file: Of the module.
        folder: That the module is imported from; None where it is installed.
    """

    name: str
    module: str
    function: str
    file: Path
    folder: Path | None


def is_own(name: str) -> bool:
    """Whether a name of a network says that it is a user's own."""
    return ":" in name


def check_name(name: str) -> str:
    """Returns the name where it can be one of a user's own network.

    Raises:
        ConfigError: It is no MODULE:FUNCTION.
    """
    module, _, function = name.rpartition(":")
    is_file = module.endswith(".py") and Path(module).stem.isidentifier()
    is_module = all(part.isidentifier() for part in module.split("."))
    if function.isidentifier() and (is_file or is_module):
        return name
    raise ConfigError(
        f"model.net is {name!r}, expected MODULE:FUNCTION.",
        "Write it like my_nets:my_net, for the function my_net of my_nets.py.",
    )


def look_in(folder: Path) -> None:
    """Modules are looked for in this folder too, here and in processes started from here."""
    known = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    if str(folder.resolve()) not in known:
        os.environ[FOLDERS_VARIABLE] = os.pathsep.join(
            filter(None, [*known, str(folder.resolve())])
        )


def find(name: str) -> OwnNet:
    """Finds the file of a network's module.

    The current folder comes first, then those of `look_in`, then what Python finds.

    Raises:
        ConfigError: There is none.
    """
    module, _, function = check_name(name).rpartition(":")
    if module.endswith(".py"):
        file = Path(module).resolve()
        if not file.is_file():
            raise ConfigError(
                f"model.net is {name!r}, but {file} does not exist.",
                "Give the path of the file from the current folder, or an absolute one.",
            )
        return OwnNet(name, file.stem, function, file, file.parent)
    for folder in _folders():
        if found := _module_file(folder, module.split(".")):
            return OwnNet(name, module, function, found.resolve(), folder)
    if installed := _installed_file(module):
        return OwnNet(name, module, function, installed, None)
    looked_in = " and ".join(str(folder) for folder in _folders())
    there = [path.stem for folder in _folders() for path in folder.glob("*.py")]
    raise ConfigError(
        f"model.net is {name!r}, but there is no module {module} in {looked_in}, and none is "
        f"installed.{nearest(module, there)}",
        f"Put {module.replace('.', '/')}.py beside the configuration or into the current folder, "
        "or write its path: nets/my_nets.py:my_net.",
    )


def _folders() -> list[Path]:
    named = os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep)
    return list(dict.fromkeys(Path(folder).resolve() for folder in [".", *filter(None, named)]))


def _module_file(folder: Path, parts: list[str]) -> Path | None:
    path = folder.joinpath(*parts)
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file
    return None


def _installed_file(module: str) -> Path | None:
    """Where Python finds a module; packages above it are not imported."""
    top, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    for part in below:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name, path = f"{spec.name}.{part}", list(spec.submodule_search_locations)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
    origin = spec.origin if spec else None
    return Path(origin).resolve() if origin and origin.endswith(".py") else None


def source_digest(name: str) -> str:
    """Digest of the module's source, and of what it imports from its own folder or package.

    Raises:
        ConfigError: There is no such module.
    """
    digest = hashlib.sha256()
    for file in source_files(find(name)):
        digest.update(f"{file.name} {files.sha256_of_file(file)}\n".encode())
    return digest.hexdigest()


def source_files(net: OwnNet) -> list[Path]:
    """The module's file, and those that it imports from its own folder or package, in order."""
    top = net.module.split(".")[0]
    above = net.module.count(".") + (net.file.name == "__init__.py")
    root = net.folder or net.file.parents[above]
    found: dict[Path, None] = {net.file: None}
    pending = [net.file]
    while pending:
        for parts in _imports(pending.pop(), root):
            file = _module_file(root, parts) if net.folder or parts[0] == top else None
            if file is not None and file.resolve() not in found:
                found[file.resolve()] = None
                pending.append(file.resolve())
    return sorted(found)


def _imports(file: Path, root: Path) -> Iterator[list[str]]:
    """Names of all that a file may import, in parts; none where it is not Python."""
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return
    own = file.relative_to(root).with_suffix("").parts if file.is_relative_to(root) else ()
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = list(own[: -node.level]) if node.level else []
            start = package + (node.module.split(".") if node.module else [])
            names = [start, *([*start, alias.name] for alias in node.names)]
        else:
            continue
        for name in names:
            yield from (name[:length] for length in range(1, len(name) + 1))


_specs: dict[tuple[str, int | None, str, str], NetSpec] = {}


def inspected(name: str, image_size: int | None) -> NetSpec:
    """Returns the record of a user's own network, which is built to be read off.

    Args:
        name: MODULE:FUNCTION.
        image_size: Height and width that it is built for; None: its own default.

    Raises:
        ConfigError: It cannot be found, imported or built.
    """
    net = find(name)
    key = (name, image_size, str(net.file), source_digest(name))
    if key not in _specs:
        if _BUILDER in sys.modules:  # this process builds networks anyway
            from slimworks.components.nets.own_net_inspection import inspect_net

            _specs[key] = inspect_net(name, image_size)
        else:
            _specs[key] = _inspected_elsewhere(net, image_size)
    return _specs[key]


def _inspected_elsewhere(net: OwnNet, image_size: int | None) -> NetSpec:
    with tempfile.TemporaryDirectory(prefix="slimworks-net-") as folder:
        output = Path(folder) / "net.json"
        given = {"name": net.name, "image_size": image_size, "output": str(output)}
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}
        ended = subprocess.run(
            code_command(_LOOK),
            input=json.dumps({**given, "path": sys.path}),
            env={**quiet, **os.environ},
            capture_output=True,
            text=True,
        )
        if not output.is_file():
            own = ended.stderr.rpartition(_ITS_OWN)[2]
            last = [line for line in own.splitlines() if line.strip()][-1:]
            raise ConfigError(
                f"The process that looked at {net.name} ended with code {ended.returncode}: "
                f"{(last or ['no message'])[0][:_SHOWN_CHARACTERS]}",
                f"See what {net.file} does when it is imported and when its network is built.",
            )
        found: dict[str, Any] = files.read_json(output)
    if "error" in found:
        raise ERRORS[found["error"]](found["cause"], found["fix"], found["details"])
    return NetSpec(**{**found, "head_scopes": tuple(found["head_scopes"])})


def require_installed(name: str, image: str) -> None:
    """Checks that steps in containers can have a network's module.

    Raises:
        ConfigError: It is a file of this machine.
    """
    if is_own(name) and (net := find(name)).folder is not None:
        raise ConfigError(
            f"model.net is {name!r}, which is {net.file} on this machine; steps in containers see "
            "only what their image holds.",
            f"Make it a package, install it here and in {image}, and name it by its module: "
            "docs/own-networks.md.",
        )
