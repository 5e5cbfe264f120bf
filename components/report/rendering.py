"""Turns views into one HTML page that loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from slimworks.components.report import wording

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, views: Mapping[str, Any]) -> str:
    """The page as text; `views` are the template's variables, all of which it must get."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        # Class and file names are the user's: each is text, never markup.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(wording.FILTERS)
    return environment.get_template(template).render(**views)
