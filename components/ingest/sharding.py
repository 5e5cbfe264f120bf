"""Second pass: which example stands in which shard, and writing those shards that change.

Shards stay in the state folder, so that a later ingest takes over those that did not change. A new
image goes into a new shard of its split; a shard that lost an image is written again without it,
from itself. When a split has come to many small shards, all of it is dealt out anew, again from
the old shards. The user's files are read for new images, and for those whose example changed: by
another split, a renamed class, other slices.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from slimworks.components import contracts, files
from slimworks.components.examples import tfrecord
from slimworks.components.examples.encoding import ImageRecord, encode_example
from slimworks.components.examples.image_conversion import to_png
from slimworks.components.ingest import worklist
from slimworks.components.ingest.catalogue import SHARDS_FOLDER, Catalogue, item_of
from slimworks.components.ingest.checking import is_kept, kept_path
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.images import Rejection
from slimworks.components.ingest.planning import STORED_FACTS
from slimworks.components.ingest.sources.items import SourceItem, as_row, display_name
from slimworks.components.ingest.storage import access

# Large enough to read in one sweep from an object store, small enough to spread over workers
# (TensorFlow's own advice: 100 to 200 MB).
SHARD_BYTES = 150 * 1_000_000
_WRITE_FOLDER = "write"
# A split is dealt out anew when it has more than twice the shards that it needs, and these more:
# so a daily ingest of a few photos copies the set once a week or so.
_EXTRA_SHARDS = 8

_FACT_COLUMNS = (*STORED_FACTS, "stored_bytes")
_TO_WRITE = """
DROP TABLE IF EXISTS to_write;
CREATE TEMP TABLE to_write (
  image_id TEXT PRIMARY KEY, split TEXT NOT NULL, shuffle BLOB NOT NULL, num_bytes INTEGER NOT NULL,
  shard INTEGER, position INTEGER
) WITHOUT ROWID;
DROP TABLE IF EXISTS dealt;
CREATE TEMP TABLE dealt (
  target INTEGER NOT NULL, shuffle BLOB NOT NULL, image_id TEXT NOT NULL, shard INTEGER,
  position INTEGER, PRIMARY KEY (target, shuffle)
) WITHOUT ROWID;
DROP TABLE IF EXISTS written;
CREATE TEMP TABLE written (
  image_id TEXT PRIMARY KEY, shard INTEGER NOT NULL, position INTEGER NOT NULL,
  num_bytes INTEGER NOT NULL
) WITHOUT ROWID;
"""
# Images that an old shard holds as they shall be; shard and position say where.
_UNCHANGED = "p.is_live AND i.shard IS NOT NULL AND i.example = p.example AND i.split = p.split"


@dataclasses.dataclass(frozen=True)
class NewShard:
    """One shard that was written: `shard` is its number for ever."""

    shard: int
    split: str
    file: str
    num_images: int
    num_bytes: int


def shard_path(state: str | os.PathLike[str], file: str) -> Path:
    """Where a shard lies in the state folder."""
    return Path(state) / SHARDS_FOLDER / file


def num_shards_of(num_bytes: int, num_images: int, config: DataConfig) -> int:
    """Number of shards for so many images; never more than images, so that none is empty."""
    wanted = config.num_shards or math.ceil(num_bytes / SHARD_BYTES)
    return max(1, min(wanted, num_images))


def choose_images(catalogue: Catalogue, config: DataConfig) -> None:
    """Fills `to_write`: new and changed images, those beside one that left, whole splits."""
    run = catalogue.connection.execute
    for statement in _TO_WRITE.split(";\n"):
        run(statement)
    with catalogue.transaction():
        run(
            "INSERT INTO to_write SELECT p.image_id, p.split, p.shuffle, p.num_bytes, "
            "NULL, NULL FROM planned p LEFT JOIN images i USING (image_id) "
            f"WHERE p.is_live AND NOT COALESCE({_UNCHANGED}, 0)"
        )
        _add_old(catalogue, "i.shard IN (SELECT shard FROM stale)", _stale_shards())
        for split in contracts.SPLITS:
            if _is_dealt_anew(catalogue, split, config):
                _add_old(catalogue, f"i.split = '{split}'", "SELECT NULL AS shard")


def _stale_shards() -> str:
    """Shards with an image that is gone or changed."""
    return (
        "SELECT s.shard FROM shards s LEFT JOIN (SELECT i.shard, COUNT(*) AS num_left "
        f"FROM planned p CROSS JOIN images i USING (image_id) WHERE {_UNCHANGED} GROUP BY i.shard) "
        "USING (shard) WHERE s.num_images > COALESCE(num_left, 0)"
    )


def _add_old(catalogue: Catalogue, condition: str, stale: str) -> None:
    """Adds images that are copied from an old shard."""
    catalogue.connection.execute(
        f"WITH stale AS ({stale}) INSERT OR IGNORE INTO to_write "
        "SELECT p.image_id, p.split, p.shuffle, i.num_bytes, i.shard, i.position "
        f"FROM planned p JOIN images i USING (image_id) WHERE {_UNCHANGED} AND {condition}"
    )


def _is_dealt_anew(catalogue: Catalogue, split: str, config: DataConfig) -> bool:
    num_new = catalogue.count("SELECT COUNT(*) FROM to_write WHERE split = ?", (split,))
    num_images, num_bytes = catalogue.connection.execute(
        "SELECT COUNT(*), COALESCE(SUM(num_bytes), 0) FROM planned WHERE is_live AND split = ?",
        (split,),
    ).fetchone()
    needed = num_shards_of(num_bytes, num_images, config)
    kept = catalogue.count(
        "SELECT COUNT(*) FROM shards WHERE split = ? AND shard NOT IN (SELECT shard FROM to_write "
        "WHERE shard IS NOT NULL)",
        (split,),
    )
    if config.num_shards:
        return kept != needed if not num_new else True
    return bool(num_new) and kept + 1 > 2 * needed + _EXTRA_SHARDS


def deal_out(catalogue: Catalogue, config: DataConfig) -> list[NewShard]:
    """Gives every image of `to_write` its shard, in `dealt`; returns the shards, empty yet.

    Images are dealt out one by one in hash order: each shard is a fair sample, holds the same
    number of images as the others but one, and always comes out the same.
    """
    number = catalogue.count("SELECT COALESCE(MAX(shard), -1) + 1 FROM shards")
    shards: list[NewShard] = []
    with catalogue.transaction():
        for split in contracts.SPLITS:
            num_images, num_bytes = catalogue.connection.execute(
                "SELECT COUNT(*), COALESCE(SUM(num_bytes), 0) FROM to_write WHERE split = ?",
                (split,),
            ).fetchone()
            if not num_images:
                continue
            num_shards = num_shards_of(num_bytes, num_images, config)
            catalogue.connection.execute(
                "INSERT INTO dealt SELECT ? + (ROW_NUMBER() OVER (ORDER BY shuffle) - 1) % ?, "
                "shuffle, image_id, shard, position FROM to_write WHERE split = ?",
                (number, num_shards, split),
            )
            for shard in range(number, number + num_shards):
                shards.append(NewShard(shard, split, f"{split}-{shard:06d}.tfrecord", 0, 0))
            number += num_shards
    return shards


def _shard_rows(catalogue: Catalogue, state: Path, shard: NewShard) -> Iterator[worklist.Row]:
    yield {"shard": shard.shard, "file": shard.file}
    facts = ", ".join(f"f.{name}" for name in _FACT_COLUMNS)
    rows = catalogue.connection.execute(
        f"SELECT l.*, p.image_id, p.class_name, p.class_index, p.user_group, p.span, {facts}, "
        "s.file, d.position FROM dealt d JOIN planned p USING (image_id) "
        "JOIN facts f USING (image_id) JOIN listed l ON l.name = p.name "
        "LEFT JOIN shards s ON s.shard = d.shard WHERE d.target = ? ORDER BY d.shuffle",
        (shard.shard,),
    )
    for row in rows:
        image_id, class_name, class_index, group, span = row[11:16]
        old_file, position = row[-2:]
        if old_file is not None:
            old = str(shard_path(state, old_file))
            yield {"image_id": image_id, "old_shard": old, "position": position}
            continue
        yield {
            "image_id": image_id,
            "item": as_row(item_of(row)) | {"class_name": class_name},
            "class_index": class_index,
            "group": group,
            "span": span,
            "facts": dict(zip(_FACT_COLUMNS, row[16:-2], strict=True)),
        }


def _stored_bytes(row: worklist.Row, config: DataConfig, work: str) -> bytes | None:
    """Bytes for the example, or None where the user's file is not what was checked."""
    if is_kept(row["item"]["path"], row["facts"]["is_converted"]):
        kept = kept_path(work, row["image_id"])
        if kept.exists() and kept.stat().st_size == row["facts"]["stored_bytes"]:
            return kept.read_bytes()
    data = access.read_item(SourceItem(**row["item"]), config.max_file_bytes)
    if isinstance(data, Rejection) or hashlib.sha256(data).hexdigest() != row["image_id"]:
        return None
    return to_png(data, config.max_pixels) if row["facts"]["is_converted"] else data


def _record(row: worklist.Row, encoded: bytes) -> ImageRecord:
    item, facts = row["item"], row["facts"]
    return ImageRecord(
        encoded=encoded,
        format=facts["format"],
        original_format=facts["original_format"],
        class_index=row["class_index"],
        class_name=item["class_name"],
        filename=display_name(item["name"]),
        height=facts["height"],
        width=facts["width"],
        colorspace=facts["colorspace"],
        channels=facts["channels"],
        image_id=row["image_id"],
        group=row["group"] or row["image_id"],
        brightness=facts["brightness"],
        sharpness=facts["sharpness"],
        span=row["span"],
        slices=item["slices"],
    )


def _example_bytes(row: worklist.Row, config: DataConfig, work: str) -> bytes | None:
    if "old_shard" in row:
        return tfrecord.read_record(row["old_shard"], row["position"])
    encoded = _stored_bytes(row, config, work)
    return None if encoded is None else encode_example(_record(row, encoded))


def _write_images(
    stream: BinaryIO, rows: Iterable[worklist.Row], example_bytes: Callable[[worklist.Row], Any]
) -> Iterator[worklist.Row]:
    """Appends the images one at a time; yields where each stands, or why it does not."""
    for row in rows:
        try:
            example = example_bytes(row)
        except tfrecord.DamagedFileError:
            yield {"damaged": row["old_shard"]}
            continue
        if example is None:
            yield {"changed": row["item"]["name"]}
            continue
        position = stream.tell()
        tfrecord.write_record(stream, example)
        yield {
            "image_id": row["image_id"],
            "position": position,
            "num_bytes": stream.tell() - position,
        }


def write_shard(
    config: DataConfig, state: str, work: str, beam_pipeline_args: Sequence[str], task: str
) -> dict[str, int]:
    """Writes the shard of one task file: temporary name, fsync, rename. Holds one image at a time.

    The result file says where each image stands, which files changed since the first pass, and
    which old shards cannot be read.
    """
    access.configure(beam_pipeline_args)
    rows = worklist.read_rows(task)
    path = shard_path(state, next(rows)["file"])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    read = functools.partial(_example_bytes, config=config, work=work)
    with open(temporary, "wb") as stream:
        worklist.write_rows(result := worklist.result_path(task).with_suffix(".rows"),
                            _write_images(stream, rows, read))  # fmt: skip
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    files.fsync_folder(path.parent)
    os.replace(result, worklist.result_path(task))
    return {"shards_written": 1}


def write_shards(
    catalogue: Catalogue, config: DataConfig, work: Path, beam_pipeline_args: Sequence[str]
) -> tuple[list[NewShard], list[str]]:
    """Runs the second pass over `to_write` and fills `written`.

    Files that changed since the first pass are left out, and checked again by the next ingest.

    Returns:
        The new shards, and the names of old ones that are damaged: where there are any, the new
        ones lack their images.
    """
    from slimworks.components.ingest.engine import passes

    state = catalogue.folder
    shards = deal_out(catalogue, config)
    if not shards:
        return [], []
    # Of a killed ingest, which may have planned other shards.
    shutil.rmtree(work / _WRITE_FOLDER, ignore_errors=True)
    rows = (_shard_rows(catalogue, state, shard) for shard in shards)
    tasks = worklist.write_tasks(work / _WRITE_FOLDER, "shard", rows)
    args = tuple(beam_pipeline_args)
    function = functools.partial(write_shard, config, str(state), str(work), args)
    num_images = catalogue.count("SELECT COUNT(*) FROM to_write")
    passes.run_tasks("WriteShards", function, tasks, beam_pipeline_args, num_images)
    damaged: set[str] = set()
    with catalogue.transaction():
        written = [
            _absorb(catalogue, shard, task, damaged)
            for shard, task in zip(shards, tasks, strict=True)
        ]
    return written, sorted(damaged)


def _absorb(catalogue: Catalogue, shard: NewShard, task: str, damaged: set[str]) -> NewShard:
    num_images = num_bytes = 0
    for row in worklist.read_rows(worklist.result_path(task)):
        if "changed" in row:
            _note_changed(catalogue, os.fsencode(row["changed"]))
        elif "damaged" in row:
            damaged.add(Path(row["damaged"]).name)
        else:
            num_images += 1
            num_bytes += row["num_bytes"]
            catalogue.connection.execute(
                "INSERT INTO written VALUES (?, ?, ?, ?)",
                (row["image_id"], shard.shard, row["position"], row["num_bytes"]),
            )
    return dataclasses.replace(shard, num_images=num_images, num_bytes=num_bytes)


def _note_changed(catalogue: Catalogue, name: bytes) -> None:
    """Takes a file out of this ingest: it is looked at again by the next one."""
    detail = "it changed or vanished while it was being ingested; the next run takes it up"
    run = catalogue.connection.execute
    run(
        "UPDATE outcomes SET image_id = NULL, reason = 'changed', detail = ? WHERE name = ?",
        (detail, name),
    )
    run("DELETE FROM planned WHERE name = ?", (name,))
