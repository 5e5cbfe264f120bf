"""Small pictures that ingest kept, as data URIs: a bounded number, so that a page can be mailed."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from slimworks.components import contracts

# 96 px JPEGs of about 4 kB: a megabyte and a half in the page.
MAX_THUMBNAILS = 240
MAX_BYTES = 64 * 2**10
_IMAGE_ID = re.compile(r"[0-9a-f]{8,128}")


class Thumbnails:
    """Pictures of one ingest report, until `limit` of them are given out."""

    def __init__(self, report_dir: Path, limit: int = MAX_THUMBNAILS) -> None:
        self._folder = report_dir / contracts.THUMBNAILS_FOLDER
        self._left = limit

    def uri(self, image_id: str | None) -> str | None:
        """JPEG data URI of an image; None without a picture, or when enough were given out."""
        if self._left <= 0 or not image_id or not _IMAGE_ID.fullmatch(image_id):
            return None
        path = self._folder / f"{image_id}.jpg"
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return None
        self._left -= 1
        return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
