"""Second pass: which example stands where, and writing the shards."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.examples import tfrecord
from slimworks.components.examples.encoding import ImageRecord, encode_example
from slimworks.components.ingest import worklist
from slimworks.components.ingest.checking import CheckedFile, converted_path
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.source import display_name
from slimworks.components.ingest.splits import shuffle_key

# Large enough to read in one sweep from an object store, small enough to spread over workers
# (TensorFlow's own advice: 100 to 200 MB).
SHARD_BYTES = 150 * 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedImage:
    """One image with its place: split, class index and group are decided."""

    file: CheckedFile
    split: str
    class_index: int
    group: str


def num_shards_of(images: Sequence[PlannedImage], config: DataConfig) -> int:
    """Number of shards of one split; never more than images, so that none is empty."""
    total = sum(image.file.stored_bytes for image in images)
    wanted = config.num_shards or math.ceil(total / SHARD_BYTES)
    return max(1, min(wanted, len(images)))


def shards_of(
    images: Iterable[PlannedImage], config: DataConfig
) -> Iterator[tuple[str, int, int, list[PlannedImage]]]:
    """Yields (split, shard, number of shards, images in order) for every shard.

    Images are dealt out one by one in hash order: each shard is a fair sample of its split, holds
    the same number of images as the others but one, and always comes out the same.
    """
    by_split: dict[str, list[PlannedImage]] = {split: [] for split in contracts.SPLITS}
    for image in images:
        by_split[image.split].append(image)
    for split, members in by_split.items():
        members.sort(key=lambda image: shuffle_key(image.file.image_id, config.split_seed))
        num_shards = num_shards_of(members, config)
        for shard in range(num_shards):
            yield split, shard, num_shards, members[shard::num_shards]


def write_shard_tasks(images: Iterable[PlannedImage], config: DataConfig, work: Path) -> list[str]:
    """Writes one task file per shard: a row with its name, then one per image."""
    shards = shards_of(images, config)
    return worklist.write_tasks(work / "shards", "shard", (_task_rows(*shard) for shard in shards))


def _task_rows(
    split: str, shard: int, num_shards: int, members: Iterable[PlannedImage]
) -> Iterator[worklist.Row]:
    name = contracts.EXAMPLES_FILE_PATTERN.format(shard=shard, num_shards=num_shards)
    yield {"shard": f"{contracts.split_folder('', split)}/{name}"}
    for image in members:
        yield dataclasses.asdict(image)


def _stored_bytes(source: str, image: CheckedFile, work: Path) -> bytes | None:
    """Bytes for the example, or None where the user's file is not what was checked."""
    if image.is_converted:
        return converted_path(work, image.image_id).read_bytes()
    try:
        with open(os.path.join(source, image.path), "rb") as stream:
            data = stream.read(image.stored_bytes + 1)
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == image.image_id else None


def _record(image: PlannedImage, encoded: bytes) -> ImageRecord:
    file = image.file
    return ImageRecord(
        encoded=encoded,
        format=file.format,
        original_format=file.original_format,
        class_index=image.class_index,
        class_name=file.class_name,
        filename=display_name(file.path),
        height=file.height,
        width=file.width,
        colorspace=file.colorspace,
        channels=file.channels,
        image_id=file.image_id,
        group=image.group,
        brightness=file.brightness,
    )


def _write_images(
    stream: BinaryIO, source: str, images: Iterable[PlannedImage], work: Path
) -> list[str]:
    """Appends the images one at a time; returns the paths of those that changed."""
    changed = []
    for image in images:
        encoded = _stored_bytes(source, image.file, work)
        if encoded is None:
            changed.append(image.file.path)
        else:
            tfrecord.write_record(stream, encode_example(_record(image, encoded)))
    return changed


def write_shard(source: str, work: Path, output: Path, task: str) -> dict[str, int]:
    """Writes the shard of one task file: temporary name, fsync, rename. Holds one image at a time.

    A file that changed since the first pass is named in the result file, for the error.
    """
    rows = worklist.read_rows(task)
    path = output / next(rows)["shard"]
    images = (PlannedImage(**row | {"file": CheckedFile(**row["file"])}) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "wb") as stream:
        changed = _write_images(stream, source, images, work)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    files.fsync_folder(path.parent)
    worklist.write_rows(worklist.result_path(task), [{"changed": changed}])
    return {"shards_written": 1}


def write_all(
    source: str,
    images: Iterable[PlannedImage],
    config: DataConfig,
    work: Path,
    output: Path,
    beam_pipeline_args: Sequence[str],
) -> int:
    """Runs the second pass; returns the number of shards.

    Raises:
        DataError: A user's file changed while ingest was running.
    """
    from slimworks.components.ingest import engine

    tasks = write_shard_tasks(images, config, work)
    function = functools.partial(write_shard, source, work, output)
    engine.run_tasks("WriteShards", function, tasks, beam_pipeline_args)
    for task in tasks:
        for row in worklist.read_rows(worklist.result_path(task)):
            _require_unchanged(row["changed"])
    return len(tasks)


def _require_unchanged(changed: Sequence[str]) -> None:
    if changed:
        more = f" and {len(changed) - 1} more files" if len(changed) > 1 else ""
        raise DataError(
            f"{display_name(changed[0])}{more} changed or vanished while it was being ingested.",
            "Wait until nothing writes to the data any more, then run again.",
        )
