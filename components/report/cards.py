"""Model card and data card of a pushed version, in Markdown, from the facts of its run.

Mitchell et al., "Model Cards for Model Reporting" (2019); Gebru et al., "Datasheets for Datasets"
(2021). What only people know (who the images show, what the model is for) is left for them to add.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from slimworks.components import contracts, files
from slimworks.components.report import data, overall, verdict, wording
from slimworks.components.report.facts import ReportInputs, read_facts
from slimworks.components.report.lineage import lineage
from slimworks.components.report.replayed import replay_view
from slimworks.components.report.slices import slice_table
from slimworks.components.storage import remote

MODEL_CARD, DATA_CARD = contracts.MODEL_CARD_FILE, "data-card.md"
MAX_LOW_SLICES = 10

_TEMPLATES = Path(__file__).parent / "templates"
_MARKDOWN = re.compile(r"([\\`*\[\]|])")


def cards_folder(base_path: str | os.PathLike[str], version: int) -> str:
    """Where the cards of a version are: beside the ledger, for the version itself never changes.

    A folder, or a URI where the base path is one.
    """
    place = os.fspath(base_path).rstrip("/")
    return f"{place}/{contracts.LEDGER_FOLDER}/{contracts.CARDS_FOLDER}/{version}"


def write_cards(inputs: ReportInputs) -> str | None:
    """Writes the cards of the version that the run pushed, once; returns their folder.

    Args:
        inputs: Where the facts of the run are.

    Returns:
        None where nothing was pushed.
    """
    if inputs.pushed is None:
        return None
    folder = cards_folder(inputs.pushed["base_path"], inputs.pushed["version"])
    # The run that pushed it wrote them; a later one that found it live has nothing to add.
    if not _exists(f"{folder}/{MODEL_CARD}"):
        _write(f"{folder}/{DATA_CARD}", data_card(inputs))
        _write(f"{folder}/{MODEL_CARD}", model_card(inputs))
    return folder


def _exists(path: str) -> bool:
    if "://" not in path:
        return os.path.isfile(path)
    try:
        remote.find(path)
    except FileNotFoundError:
        return False
    return True


def _write(path: str, text: str) -> None:
    if "://" in path:
        remote.write(path, text.encode())
    else:
        files.write_text(path, text)


def model_card(inputs: ReportInputs) -> str:
    """What the model is, how well it does on what, and on what it does badly."""
    facts = read_facts(inputs)
    table = slice_table(facts.metrics)
    return _render(
        "model_card.md.j2",
        {
            "inputs": inputs,
            "model": facts.model or {},
            "metrics": facts.metrics,
            "overall": overall.metric_rows(facts.metrics),
            "low_slices": [row for row in table.rows if row.is_low][:MAX_LOW_SLICES]
            if table
            else [],
            "decision": facts.decision,
            "bounds": verdict.bound_rows(facts.decision) or [],
            "lineage": lineage(facts.manifest, inputs.pushed),
            "replay": replay_view(facts.replay),
        },
    )


def data_card(inputs: ReportInputs) -> str:
    """What the images are that the model was trained and tested on."""
    ingest = inputs.ingest_report_dir
    view = data.data_view(Path(ingest) if ingest else None, read_facts(inputs).drift)
    return _render("data_card.md.j2", {"inputs": inputs, "data": view})


def _render(template: str, views: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=False,  # not HTML; `finalize` makes every value plain text in Markdown
        finalize=_plain_text,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(wording.FILTERS, code_block=_code_block)
    return environment.get_template(template).render(**views)


def _plain_text(value: Any) -> Any:
    """A value on one line, none of whose characters mean anything in Markdown or HTML."""
    if isinstance(value, Markup):
        return value
    text = " ".join(str(value).split())
    text = _MARKDOWN.sub(r"\\\1", text).replace("<", "&lt;").replace(">", "&gt;")
    return f"\\{text}" if text.startswith("#") else text


def _code_block(value: str) -> Markup:
    """Text as an indented block, which nothing in it can end."""
    return Markup("\n".join(f"    {line}" for line in value.splitlines()))
