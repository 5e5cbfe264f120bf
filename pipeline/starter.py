"""The commented pipeline.yaml that `init` writes, generated from the schema."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

from slimworks.components.settings import Settings
from slimworks.pipeline.config import PipelineConfig

_HEADER = """\
# SlimWorks pipeline. Every key is shown with its default; remove the '#' to change one.
# Check it with: slimworks run --config pipeline.yaml --until ingest
"""


def starter_yaml(source: str) -> str:
    """Returns YAML with `data.source` set and every other key as a comment."""
    sections = [_HEADER]
    defaults = PipelineConfig()
    for name, field in PipelineConfig.model_fields.items():
        value = getattr(defaults, name)
        if not isinstance(value, Settings):
            sections.append(_entry(name, value, field.description, indent="", active=False))
            continue
        lines = [f"{name}:\n"]
        for key, entry in type(value).model_fields.items():
            active = name == "data" and key == "source"
            current = source if active else getattr(value, key)
            lines.append(_entry(key, current, entry.description, indent="  ", active=active))
        sections.append("".join(lines))
    return "\n".join(sections)


def _entry(key: str, value: Any, description: str | None, indent: str, active: bool) -> str:
    if isinstance(value, Settings):
        value = value.model_dump(mode="json")
    text = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=10_000)
    mark = "" if active else "# "
    comment = textwrap.fill(
        description or "", 96, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
    )
    body = "".join(f"{indent}{mark}{line}\n" for line in text.splitlines())
    return f"{comment}\n{body}" if description else body
