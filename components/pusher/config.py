"""Settings of publishing: the `push` section."""

from __future__ import annotations

import pydantic

from slimworks.components.settings import Settings


class PushConfig(Settings):
    """The `push` section of pipeline.yaml."""

    base_path: str | None = pydantic.Field(
        default=None,
        description="Folder that model servers watch; null: `serving` below the run root.",
    )
    keep_versions: int = pydantic.Field(
        default=5,  # a week of daily runs can be undone; a version takes 2 to 600 MB
        ge=1,
        description="Newest versions to keep; the live one is never removed.",
    )
