"""Base class of every configuration section."""

from __future__ import annotations

import json
from collections.abc import Collection

import pydantic


class Settings(pydantic.BaseModel):
    """Frozen, typed settings; an unknown key is an error."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def canonical_json(self, exclude: Collection[str] = ()) -> str:
        """Same settings, same text: keys sorted, no blanks.

        Args:
            exclude: Keys to leave out: those that do not change a component's result, so that
                changing them does not invalidate what is cached.
        """
        values = self.model_dump(mode="json", exclude=set(exclude))
        return json.dumps(values, sort_keys=True, separators=(",", ":"))
