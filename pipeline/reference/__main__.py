"""`python -m slimworks.pipeline.reference FOLDER`: the generated pages of the documentation."""

from __future__ import annotations

import sys
from pathlib import Path

from slimworks.components import files
from slimworks.pipeline.reference import artifacts, commands, messages, metrics, settings

PAGES = {
    "configuration.md": settings.page,
    "commands.md": commands.page,
    "artifacts.md": artifacts.page,
    "metrics.md": metrics.page,
    "errors.md": messages.page,
}


def main(folder: Path) -> None:
    """Writes each page whose text changed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        text = page()
        if not (folder / name).is_file() or (folder / name).read_text("utf-8") != text:
            files.write_text(folder / name, text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
