"""The data section alone, as a page: what `slimworks ingest` leaves beside its output."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.report.data import data_view
from slimworks.components.report.rendering import render

_LOGGER = logging.getLogger(__name__)


def write_data_report(
    report_dir: str | os.PathLike[str], output_html: str | os.PathLike[str], title: str
) -> None:
    """Writes one self-contained HTML page, atomically.

    Args:
        report_dir: IngestReport artifact.
        output_html: Where the page goes.
        title: Title and heading.

    Raises:
        DataError: `report_dir` holds no summary.json.
    """
    view = data_view(Path(report_dir), None)
    if view is None:
        raise DataError(
            f"{Path(report_dir) / contracts.SUMMARY_FILE} does not exist.",
            "Give the report folder below the output of `slimworks ingest`.",
        )
    files.write_text(output_html, render("data_page.html.j2", {"title": title, "data": view}))
    _LOGGER.info("wrote %s", output_html)
