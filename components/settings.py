"""Base class of every configuration section."""

from __future__ import annotations

import json

import pydantic


class Settings(pydantic.BaseModel):
    """Frozen, typed settings; an unknown key is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def canonical_json(self) -> str:
        """Same settings, same text: keys sorted, no blanks."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
