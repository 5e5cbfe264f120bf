"""The end of an ingest: one transaction that makes its decisions those of the next one, and links.

A span is the set of images that one ingest found first, numbered from 1. Shards belong to the state
folder; an Examples artifact is hard links to them (copies where the file system has no links).
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from slimworks.components import contracts, files
from slimworks.components.contracts import LabelMap
from slimworks.components.examples import tfrecord
from slimworks.components.examples.encoding import decode_example
from slimworks.components.ingest.catalogue import SHARDS_FOLDER, Catalogue
from slimworks.components.ingest.sharding import NewShard, shard_path

_LOGGER = logging.getLogger(__name__)
LABEL_MAP = "label_map"  # setting of the catalogue
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)

_FORGET_SHARDS = """
UPDATE images SET shard = NULL, position = NULL, num_bytes = NULL, example = NULL
WHERE shard IS NOT NULL AND (image_id NOT IN (SELECT image_id FROM planned WHERE is_live)
  OR image_id IN (SELECT image_id FROM to_write))
"""
_TAKE_PLANNED = """
INSERT INTO images (image_id, split, span) SELECT image_id, split, span FROM planned WHERE TRUE
ON CONFLICT (image_id) DO UPDATE SET split = excluded.split, span = excluded.span
"""
_TAKE_WRITTEN = """
UPDATE images SET
  (shard, position, num_bytes) =
    (SELECT shard, position, num_bytes FROM written w WHERE w.image_id = images.image_id),
  example = (SELECT example FROM planned p WHERE p.image_id = images.image_id)
WHERE image_id IN (SELECT image_id FROM written)
"""
_FORGET_GONE = (
    "DELETE FROM shards WHERE shard NOT IN (SELECT shard FROM images WHERE shard IS NOT NULL)",
    "DELETE FROM outcomes WHERE name NOT IN (SELECT name FROM listed)",
    "DELETE FROM facts WHERE image_id NOT IN "
    "(SELECT image_id FROM outcomes WHERE image_id IS NOT NULL)",
    "DELETE FROM committed_files",
    "INSERT INTO committed_files SELECT l.name, l.size, l.version, o.image_id FROM listed l "
    "LEFT JOIN outcomes o USING (name)",
    "DELETE FROM committed_units",
    "INSERT INTO committed_units SELECT * FROM units",
)


def commit(
    catalogue: Catalogue,
    new_shards: Sequence[NewShard],
    settings: dict[str, object],
    *,
    is_anew: bool,
) -> None:
    """Makes `planned` and `written` the state that the next ingest starts from.

    Args:
        catalogue: With the temporary tables `planned`, `to_write`, `written` and `units`.
        new_shards: Durable already.
        settings: Values of the catalogue's settings.
        is_anew: Splits were made anew: images that are not there now forget theirs.
    """
    run = catalogue.connection.execute
    with catalogue.transaction():
        if is_anew:
            run("DELETE FROM images WHERE image_id NOT IN (SELECT image_id FROM planned)")
        run(_FORGET_SHARDS)
        run(_TAKE_PLANNED)
        run(_TAKE_WRITTEN)
        for new in new_shards:
            row = (new.shard, new.split, new.file, new.num_images, new.num_bytes)
            run("INSERT INTO shards VALUES (?, ?, ?, ?, ?)", row)
        for statement in _FORGET_GONE:
            run(statement)
        for key, value in settings.items():
            catalogue.set(key, value)
    _remove_unused_shards(catalogue)


def _remove_unused_shards(catalogue: Catalogue) -> None:
    used = {file for (file,) in catalogue.connection.execute("SELECT file FROM shards")}
    folder = catalogue.folder / SHARDS_FOLDER
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in used:
            path.unlink()


def missing_shards(catalogue: Catalogue) -> list[str]:
    """Shards that the catalogue knows and the state folder has not, or not whole."""
    rows = catalogue.connection.execute("SELECT file, num_bytes FROM shards ORDER BY shard")
    return [
        file
        for file, num_bytes in rows
        if not (path := shard_path(catalogue.folder, file)).is_file()
        or path.stat().st_size != num_bytes
    ]


def forget_shards(catalogue: Catalogue, shards: Sequence[str]) -> None:
    """Makes the images of lost shards new ones: they are read from the source again."""
    if shards:
        _LOGGER.warning(
            "ingest: %d shards of the state folder are lost or damaged; their images are read "
            "again",
            len(shards),
        )
    with catalogue.transaction():
        for file in shards:
            catalogue.connection.execute(
                "UPDATE images SET shard = NULL, example = NULL WHERE shard = "
                "(SELECT shard FROM shards WHERE file = ?)",
                (file,),
            )
            catalogue.connection.execute("DELETE FROM shards WHERE file = ?", (file,))


def publish(catalogue: Catalogue, examples: str | os.PathLike[str]) -> int:
    """Links every shard into an Examples folder, whose splits must not exist; returns the number.

    Names count the shards of each split, as TensorFlow's and TFX's readers expect.
    """
    total = 0
    for split in contracts.SPLITS:
        folder = contracts.split_folder(examples, split)
        folder.mkdir(parents=True)
        rows = catalogue.connection.execute(
            "SELECT file FROM shards WHERE split = ? ORDER BY shard", (split,)
        ).fetchall()
        for number, (file,) in enumerate(rows):
            name = contracts.EXAMPLES_FILE_PATTERN.format(shard=number, num_shards=len(rows))
            _link(shard_path(catalogue.folder, file), folder / name)
        files.fsync_folder(folder)
        total += len(rows)
    return total


def stored_file(catalogue: Catalogue, image_id: str) -> bytes | None:
    """An image's file as its example holds it; None where it is in no shard."""
    place = catalogue.connection.execute(
        "SELECT s.file, i.position FROM images i JOIN shards s USING (shard) WHERE i.image_id = ?",
        (image_id,),
    ).fetchone()
    if place is None:
        return None
    record = tfrecord.read_record(shard_path(catalogue.folder, place[0]), place[1])
    encoded = decode_example(record)[contracts.IMAGE_ENCODED]
    assert isinstance(encoded, bytes)  # `encoding.py` writes it
    return encoded


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
        files.fsync_file(target)


def previous_label_map(catalogue: Catalogue) -> LabelMap:
    """The label map of the last finished ingest.

    Where the catalogue is new, the file beside it: of an older SlimWorks, or what a lost catalogue
    left.
    """
    known = catalogue.get(LABEL_MAP)
    if known is not None:
        return LabelMap.from_json(known)
    if (catalogue.folder / contracts.LABEL_MAP_FILE).exists():
        return LabelMap.read(catalogue.folder)
    return LabelMap()
