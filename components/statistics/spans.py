"""Which spans statistics are computed of besides the splits, and where they lie."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from slimworks.components import files

SPANS_FILE = "spans.json"  # in the statistics artifact: the fields of Spans

# Groups of spans, all splits together; folders are Span-<group>.
LATEST = "latest"  # the newest span
PREVIOUS = "previous"  # the one before it
UNTRAINED = "untrained"  # all spans after the last that a model was trained on and judged
TRAINED = "trained"  # all up to that one


@dataclasses.dataclass(frozen=True)
class Spans:
    """What is new in the examples, and against what.

    Attributes:
        span: The newest span.
        previous_span: The one before it; None in the first.
        trained_span: Newest span of the data whose model the gate has judged; None without one.
    """

    span: int
    previous_span: int | None = None
    trained_span: int | None = None

    def groups_of(self, span: int) -> Iterator[str]:
        """Yields the groups that an image of a span belongs to."""
        if span == self.span:
            yield LATEST
        elif span == self.previous_span:
            yield PREVIOUS
        if self.trained_span is not None:
            yield TRAINED if span <= self.trained_span else UNTRAINED

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Writes spans.json into `folder`."""
        files.write_json(Path(folder) / SPANS_FILE, dataclasses.asdict(self))

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Spans:
        """Reads spans.json from `folder`."""
        return cls(**files.read_json(Path(folder) / SPANS_FILE))


def span_folder(statistics: str | os.PathLike[str], group: str) -> Path:
    """Folder of one group of spans inside a statistics artifact."""
    return Path(statistics) / f"Span-{group}"
