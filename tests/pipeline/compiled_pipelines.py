"""Small pipelines of shell commands, compiled by kfp itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from slimworks.pipeline.containers.ir import CompiledPipeline

IMAGE = "localhost/tiny:1"


def shell(
    name: str, script: str, *inputs: str, outputs: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """A component that runs a script; its inputs are $1, $2, ..., then come the output files.

    An input is a name, or name:Type in kfp's words; without a type it is a text.
    """
    from kfp import components

    typed = dict(one.split(":") if ":" in one else (one, "String") for one in inputs)
    arguments: list[Any] = [{"inputValue": one} for one in typed]
    arguments += [{"outputPath": one} for one in outputs]
    container = {"image": IMAGE, "command": ["sh", "-c", script, name], "args": arguments}
    component: dict[str, Any] = {"name": name, "implementation": {"container": container}}
    if typed:
        component["inputs"] = [{"name": one, "type": kind} for one, kind in typed.items()]
    if outputs:
        component["outputs"] = [{"name": one, "type": "String"} for one in outputs]
    loaded: Callable[..., Any] = components.load_component_from_text(yaml.safe_dump(component))
    return loaded


def compiled(function: Callable[..., None], path: Path) -> CompiledPipeline:
    """Compiles a kfp pipeline function to a file and reads that."""
    from kfp import compiler, dsl

    compiler.Compiler().compile(dsl.pipeline(name="small")(function), str(path))
    return CompiledPipeline.read(path)
