"""First pass: every file is read, hashed and decoded once; only its facts are kept."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from slimworks.components.ingest import worklist
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.images import CheckedImage, Rejection, check_image
from slimworks.components.ingest.source import SourceFile, SourceListing

# Small enough to balance two workers over a thousand photos, large enough that a task costs
# nothing beside its 64 decodes of a millisecond.
FILES_PER_TASK = 64
_CONVERTED_FOLDER = "converted"
LABEL_CONFLICT = "label_conflict"  # reason of files that are sound but stand under two classes


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedFile:
    """Facts of one usable file; `stored_bytes` is the size of what the example will hold."""

    path: str
    class_name: str
    image_id: str
    format: str
    original_format: str
    height: int
    width: int
    colorspace: str
    channels: int
    brightness: float
    stored_bytes: int
    is_converted: bool


@dataclasses.dataclass(frozen=True, slots=True)
class RejectedFile:
    """One file set aside."""

    path: str
    class_name: str
    reason: str
    detail: str


def converted_path(work: Path, image_id: str) -> Path:
    """Where the PNG of a converted image waits for the second pass."""
    return work / _CONVERTED_FOLDER / f"{image_id}.png"


def read_file(source: str, file: SourceFile, max_bytes: int) -> bytes | Rejection:
    """Reads one file whole, or says why not. Never opens a pipe or a device."""
    if not file.is_regular:
        return Rejection("not_a_file", "a broken link, pipe, socket or device")
    if file.size > max_bytes:
        return Rejection("too_large", f"{file.size} bytes, data.max_file_bytes is {max_bytes}")
    try:
        with open(os.path.join(source, file.path), "rb") as stream:
            # One byte more than allowed: a file that grew since it was listed is not read whole.
            data = stream.read(max_bytes + 1)
    except OSError as error:
        return Rejection("unreadable", str(error.strerror))
    if len(data) > max_bytes:
        return Rejection("too_large", f"data.max_file_bytes is {max_bytes}")
    return data


def check_file(
    source: str, file: SourceFile, config: DataConfig, work: Path
) -> CheckedFile | RejectedFile:
    """Checks one file; leaves the PNG of a converted image in the work folder."""
    data = read_file(source, file, config.max_file_bytes)
    checked = data if isinstance(data, Rejection) else check_image(data, config)
    if isinstance(checked, Rejection):
        return RejectedFile(file.path, file.class_name, checked.reason, checked.detail)
    assert isinstance(data, bytes)
    if checked.converted:
        _keep_converted(work, checked)
    return _checked_file(file, checked, len(checked.converted or data))


def _keep_converted(work: Path, image: CheckedImage) -> None:
    path = converted_path(work, image.image_id)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(image.converted or b"")
    os.replace(temporary, path)


def _checked_file(file: SourceFile, image: CheckedImage, stored_bytes: int) -> CheckedFile:
    return CheckedFile(
        path=file.path,
        class_name=file.class_name,
        image_id=image.image_id,
        format=image.format,
        original_format=image.original_format,
        height=image.height,
        width=image.width,
        colorspace=image.colorspace,
        channels=image.channels,
        brightness=image.brightness,
        stored_bytes=stored_bytes,
        is_converted=image.converted is not None,
    )


def write_check_tasks(listing: SourceListing, work: Path) -> list[str]:
    """Cuts the listing into task files; returns their paths."""
    files = listing.files
    starts = range(0, len(files), FILES_PER_TASK)
    tasks = (map(dataclasses.asdict, files[start : start + FILES_PER_TASK]) for start in starts)
    return worklist.write_tasks(work / "check", "files", tasks)


def check_task(source: str, config: DataConfig, work: Path, task: str) -> Counter[str]:
    """Checks the files of one task file and writes the outcome of each; returns counts."""
    outcomes = [
        check_file(source, SourceFile(**row), config, work) for row in worklist.read_rows(task)
    ]
    worklist.write_rows(worklist.result_path(task), map(_as_row, outcomes))
    return Counter(
        "images_rejected" if isinstance(outcome, RejectedFile) else "images_accepted"
        for outcome in outcomes
    )


def _as_row(outcome: CheckedFile | RejectedFile) -> dict[str, Any]:
    return dataclasses.asdict(outcome)


def read_outcomes(tasks: Sequence[str]) -> Iterator[CheckedFile | RejectedFile]:
    """Yields the outcome of every file, in the order of the listing."""
    for task in tasks:
        for row in worklist.read_rows(worklist.result_path(task)):
            yield RejectedFile(**row) if "reason" in row else CheckedFile(**row)


def check_all(
    source: str,
    listing: SourceListing,
    config: DataConfig,
    work: Path,
    beam_pipeline_args: Sequence[str],
) -> tuple[list[CheckedFile], list[RejectedFile]]:
    """Runs the first pass over all files; both lists are in the order of the listing."""
    from slimworks.components.ingest import engine

    tasks = write_check_tasks(listing, work)
    function = functools.partial(check_task, source, config, work)
    engine.run_tasks("CheckImages", function, tasks, beam_pipeline_args)
    outcomes = list(read_outcomes(tasks))
    accepted = [outcome for outcome in outcomes if isinstance(outcome, CheckedFile)]
    rejected = [outcome for outcome in outcomes if isinstance(outcome, RejectedFile)]
    return accepted, rejected
