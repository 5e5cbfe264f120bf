"""Work files of one ingest: rows of JSON that tell a worker what to do, and what came of it.

They live in the state folder until ingest ends. A file under its final name is complete. Not
fsynced: what a power cut destroys is done again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def write_rows(path: str | os.PathLike[str], rows: Iterable[Row]) -> None:
    """Writes one row a line. Escapes what UTF-8 cannot hold, so that any file name survives."""
    path = Path(path)
    # The process id keeps two workers with the same task apart.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="ascii") as stream:
        for row in rows:
            stream.write(json.dumps(row) + "\n")
    os.replace(temporary, path)


def read_rows(path: str | os.PathLike[str]) -> Iterator[Row]:
    """Yields the rows of one work file."""
    with open(path, encoding="ascii") as stream:
        for line in stream:
            yield json.loads(line)


def is_whole(path: str | os.PathLike[str]) -> bool:
    """Whether a work file survived a power cut: its last line is there, and each can be read."""
    try:
        rows = sum(1 for _ in read_rows(path))
    except ValueError:
        return False
    return rows > 0


def result_path(task: str | os.PathLike[str]) -> Path:
    """Where the worker of a task file leaves its result."""
    return Path(task).with_suffix(".done")


def write_tasks(folder: Path, name: str, tasks: Iterable[Iterable[Row]]) -> list[str]:
    """Writes one task file per item of `tasks`; returns their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, rows in enumerate(tasks):
        path = folder / f"{name}-{number:06d}.todo"
        write_rows(path, rows)
        paths.append(str(path))
    return paths


def batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Cuts rows into lists of `size`; the last may be shorter."""
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
