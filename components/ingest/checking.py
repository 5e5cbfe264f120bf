"""First pass: each new or changed file is read, hashed and decoded once; its facts are kept."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import files
from slimworks.components.ingest import worklist
from slimworks.components.ingest.catalogue import Catalogue
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.images import CheckedImage, Rejection, check_image
from slimworks.components.ingest.sources.items import SourceItem, as_row, is_uri
from slimworks.components.ingest.storage import access

# Small enough to balance two workers over a thousand photos, large enough that a task costs
# nothing beside its 64 decodes of a millisecond.
FILES_PER_TASK = 64
# Files of tasks and results lie in one folder: 100 million images would make three million of 64.
MAX_TASKS = 20_000
CHECK_FOLDER = "check"
_KEPT_FOLDER = "kept"
# The settings that decide whether an image is taken. With another value all are checked again.
CHECK_SETTINGS = ("min_image_size_pixels", "max_pixels", "max_file_bytes")
# Counts changes of the rules and of the facts kept about an image.
RULES_VERSION = 1

_FACTS = (
    "format", "original_format", "height", "width", "colorspace", "channels", "brightness",
    "sharpness", "fingerprint", "signature", "stored_bytes", "is_converted",
)  # fmt: skip


def check_settings(config: DataConfig) -> dict[str, Any]:
    """What an outcome depends on besides the file."""
    return {"rules": RULES_VERSION} | {key: getattr(config, key) for key in CHECK_SETTINGS}


def is_kept(path: str, is_converted: bool) -> bool:
    """Whether the first pass leaves an image's bytes for the second: they were dear to get."""
    return is_converted or is_uri(path)


def kept_path(work: str | os.PathLike[str], image_id: str) -> Path:
    """Where the bytes of a converted or remote image wait for the second pass."""
    return Path(work) / _KEPT_FOLDER / image_id[:2] / image_id


def keep_bytes(work: str | os.PathLike[str], image_id: str, data: bytes) -> None:
    """Leaves an image's bytes for the second pass; complete under its final name.

    Synced, because the catalogue, which says that they are there, is.
    """
    files.write_bytes(kept_path(work, image_id), data)


def check_item(
    item: SourceItem, known_id: str | None, config: DataConfig, work: str
) -> worklist.Row:
    """Checks one file.

    Args:
        item: The file.
        known_id: Image that it held before; the same bytes are not decoded again.
        config: Limits.
        work: Keeps the bytes of converted and of remote images.

    Returns:
        "name", "size", "version" of the item with "image_id" and its "facts" (None where they are
        known), or with "reason" and "detail".
    """
    row = {"name": item.name, "size": item.size, "version": item.version}
    data = access.read_item(item, config.max_file_bytes)
    if isinstance(data, Rejection):
        return row | dataclasses.asdict(data)
    image_id = hashlib.sha256(data).hexdigest()
    if image_id == known_id:
        return row | {"image_id": image_id, "facts": None}
    checked = check_image(data, config, image_id)
    if isinstance(checked, Rejection):
        return row | dataclasses.asdict(checked)
    stored = checked.converted or data
    if is_kept(item.path, checked.converted is not None):
        keep_bytes(work, image_id, stored)
    return row | {"image_id": image_id, "facts": _facts(checked, len(stored))}


def _facts(image: CheckedImage, stored_bytes: int) -> dict[str, Any]:
    values = {name: getattr(image, name, None) for name in _FACTS}
    values |= {
        "fingerprint": image.fingerprint.hex(),
        "signature": image.signature.hex(),
        "stored_bytes": stored_bytes,
        "is_converted": image.converted is not None,
    }
    return values


def check_task(
    config: DataConfig, work: str, beam_pipeline_args: Sequence[str], task: str
) -> Counter[str]:
    """Checks the files of one task file and writes the outcome of each; returns counts."""
    access.configure(beam_pipeline_args)
    outcomes = [
        check_item(SourceItem(**row["item"]), row["known_id"], config, work)
        for row in worklist.read_rows(task)
    ]
    worklist.write_rows(worklist.result_path(task), outcomes)
    return Counter(
        "images_rejected" if "reason" in outcome else "images_accepted" for outcome in outcomes
    )


def absorb_outcomes(catalogue: Catalogue, tasks: Iterable[str | os.PathLike[str]]) -> None:
    """Takes the results of finished tasks into the catalogue, in one transaction."""
    with catalogue.transaction():
        for task in tasks:
            for row in worklist.read_rows(worklist.result_path(task)):
                _absorb(catalogue, row)


def _absorb(catalogue: Catalogue, row: worklist.Row) -> None:
    name = os.fsencode(row["name"])
    outcome = (row.get("image_id"), row.get("reason"), row.get("detail"))
    catalogue.connection.execute(
        "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?, ?)",
        (name, row["size"], row["version"], *outcome),
    )
    facts = row.get("facts")
    if facts:
        facts["fingerprint"] = bytes.fromhex(facts["fingerprint"])
        facts["signature"] = bytes.fromhex(facts["signature"])
        catalogue.connection.execute(
            f"INSERT OR REPLACE INTO facts VALUES ({', '.join('?' * (len(_FACTS) + 1))})",
            (row["image_id"], *(facts[key] for key in _FACTS)),
        )


def absorb_leftovers(catalogue: Catalogue, work: Path) -> int:
    """Takes over what a killed ingest had checked already; returns the number of its tasks."""
    done = sorted((work / CHECK_FOLDER).glob("*.done"))
    whole = [path for path in done if worklist.is_whole(path)]
    absorb_outcomes(catalogue, whole)
    for path in done:
        path.unlink()
    return len(whole)


def _task_rows(catalogue: Catalogue) -> Iterator[worklist.Row]:
    for item, known_id in catalogue.files_to_check():
        yield {"item": as_row(item), "known_id": known_id}


def files_per_task(num_files: int) -> int:
    """Files of one task: few, but no more than MAX_TASKS tasks."""
    return max(FILES_PER_TASK, math.ceil(num_files / MAX_TASKS))


def check_all(
    catalogue: Catalogue, config: DataConfig, work: Path, beam_pipeline_args: Sequence[str]
) -> int:
    """Runs the first pass over all new and changed files; returns their number."""
    num_files = catalogue.count_to_check()
    if not num_files:
        return 0
    from slimworks.components.ingest.engine import passes

    rows = worklist.batches(_task_rows(catalogue), files_per_task(num_files))
    tasks = worklist.write_tasks(work / CHECK_FOLDER, "files", rows)
    function = functools.partial(check_task, config, str(work), tuple(beam_pipeline_args))
    passes.run_tasks("CheckImages", function, tasks, beam_pipeline_args, num_files)
    absorb_outcomes(catalogue, tasks)
    return num_files
