"""Which split every usable image belongs to: groups and near-duplicates together, old ones kept.

Reads the tables of `selection.py` into small arrays (some 60 bytes an image), lets `splits.py`
decide, and writes the temporary table `planned`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from slimworks.components import contracts
from slimworks.components.contracts import LabelMap
from slimworks.components.ingest.catalogue import Catalogue
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.near_pairs import find_near_duplicates
from slimworks.components.ingest.selection import shown
from slimworks.components.ingest.splits import ImageTable, SplitPlan, plan_splits, shuffle_key

# What the splits follow from besides the images. With another value they are made anew.
SPLIT_SETTINGS = (
    "eval_fraction", "test_fraction", "split_seed", "group_regex", "group_column", "split_column",
    "near_duplicate_distance",
)  # fmt: skip

# Raised when the same facts make another example: the shards of earlier ingests are written anew.
EXAMPLE_VERSION = 1
# Columns of `facts` that an example holds.
STORED_FACTS = (
    "format", "original_format", "height", "width", "colorspace", "channels", "brightness",
    "sharpness", "is_converted",
)  # fmt: skip
_STORED_FACTS = ", ".join(f"f.{name}" for name in STORED_FACTS)
_ORIGINAL_FORMAT = STORED_FACTS.index("original_format")

_PLANNED = """
DROP TABLE IF EXISTS planned;
CREATE TEMP TABLE planned (
  number INTEGER PRIMARY KEY, image_id TEXT NOT NULL UNIQUE, name BLOB NOT NULL,
  class_name TEXT NOT NULL, class_index INTEGER NOT NULL, user_group TEXT, split TEXT NOT NULL,
  component INTEGER NOT NULL, span INTEGER NOT NULL, example TEXT NOT NULL, shuffle BLOB NOT NULL,
  original_format TEXT NOT NULL, num_bytes INTEGER NOT NULL, is_live INTEGER NOT NULL DEFAULT 1
);
"""


@dataclasses.dataclass(frozen=True)
class Planned:
    """What planning came to.

    Attributes:
        splits: The decision on every usable image.
        table: What it was made of.
        pairs: [M, 2] int32, near-duplicates by row of `table`.
        ties: [T, 2] int32, pairs that follow from images in several groups.
        num_changed_split: Images that were in another split before.
        num_moved_to_test: Of them in the test split now, and in the train split before.
        is_anew: The settings changed, so that no image was held to its old split.
    """

    splits: SplitPlan
    table: ImageTable
    pairs: np.ndarray
    ties: np.ndarray
    num_changed_split: int
    num_moved_to_test: int
    is_anew: bool


def split_settings(config: DataConfig) -> dict[str, Any]:
    """What the splits depend on besides the images."""
    return {key: getattr(config, key) for key in SPLIT_SETTINGS}


def _column(catalogue: Catalogue, query: str, dtype: Any, size: int) -> np.ndarray:
    rows = catalogue.connection.execute(query)
    return np.fromiter((value for (value,) in rows), dtype=dtype, count=size)


def _groups(catalogue: Catalogue, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First group of each image, and pairs that tie images to their further groups."""
    groups = np.full(size, -1, np.int32)
    member_of: dict[int, int] = {}
    further = []
    rows = catalogue.connection.execute(
        "SELECT number, DENSE_RANK() OVER (ORDER BY user_group) - 1 FROM memberships "
        "ORDER BY number, user_group"
    )
    for number, group in rows:
        if groups[number] < 0:
            groups[number] = group
            member_of.setdefault(group, number)
        else:
            further.append((number, group))
    # A group that is nobody's first is held together by its first member.
    ties = [(member_of.setdefault(group, number), number) for number, group in further]
    return groups, np.array(ties, np.int32).reshape(-1, 2)


def image_table(
    catalogue: Catalogue, label_map: LabelMap, *, anew: bool
) -> tuple[ImageTable, np.ndarray]:
    """Arrays of all usable images, by number, and pairs that follow from several groups."""
    size = catalogue.count("SELECT COUNT(*) FROM usable")
    indices = {name: index for index, name in enumerate(label_map.class_names)}
    ids = catalogue.connection.execute("SELECT image_id FROM usable ORDER BY number")
    names = catalogue.connection.execute("SELECT class_name FROM usable ORDER BY number")
    old = {split: index for index, split in enumerate(contracts.SPLITS)}
    frozen = catalogue.connection.execute(
        "SELECT i.split FROM usable u LEFT JOIN images i USING (image_id) ORDER BY u.number"
    )
    ranks = _column(catalogue, "SELECT rank FROM usable ORDER BY number", np.int8, size)
    # Ranks go by how precious a split is: test, eval, train, none.
    by_rank = np.array([*(contracts.SPLITS.index(s) for s in ("test", "eval", "train")), -1])
    groups, ties = _groups(catalogue, size)
    table = ImageTable(
        image_ids=np.fromiter((value for (value,) in ids), "S64", count=size),
        class_index=np.fromiter((indices[name] for (name,) in names), np.int32, count=size),
        group=groups,
        frozen_split=np.fromiter(
            (-1 if anew else old.get(split, -1) for (split,) in frozen), np.int8, count=size
        ),
        user_split=by_rank[ranks].astype(np.int8),
    )
    return table, ties


def plan_images(
    catalogue: Catalogue, label_map: LabelMap, config: DataConfig, span: int
) -> Planned:
    """Decides the split of every usable image and fills `planned`.

    Args:
        catalogue: After `select_images`.
        label_map: Holds every class.
        config: Fractions, seed, distance.
        span: Number of this ingest's span: that of images not seen before.
    """
    # A setting that did not exist then decided nothing.
    known = catalogue.get("split_settings", {})
    anew = any(split_settings(config).get(key) != value for key, value in known.items())
    table, ties = image_table(catalogue, label_map, anew=anew)
    pairs = find_near_duplicates(catalogue, config.near_duplicate_distance)
    splits = plan_splits(
        table,
        np.concatenate([pairs, ties]),
        config.eval_fraction,
        config.test_fraction,
        config.split_seed,
    )
    _write_planned(catalogue, table, splits, config, span)
    _set_aside(catalogue, splits)
    moved = "SELECT COUNT(*) FROM planned p JOIN images i USING (image_id) WHERE p.split != i.split"
    num_changed = catalogue.count(moved)
    num_moved_to_test = catalogue.count(f"{moved} AND p.split = 'test' AND i.split = 'train'")
    return Planned(splits, table, pairs, ties, num_changed, num_moved_to_test, anew)


def _write_planned(
    catalogue: Catalogue, table: ImageTable, splits: SplitPlan, config: DataConfig, span: int
) -> None:
    def rows() -> Iterator[tuple[Any, ...]]:
        found = catalogue.connection.execute(
            f"SELECT {_STORED_FACTS}, f.stored_bytes, u.number, u.image_id, u.name, u.class_name, "
            "l.slices, "
            # An image that was gone for a while arrives anew.
            "CASE WHEN EXISTS (SELECT 1 FROM committed_files c WHERE c.image_id = u.image_id) "
            "THEN i.span END, "
            "(SELECT user_group FROM memberships m WHERE m.number = u.number "
            "ORDER BY user_group LIMIT 1) "
            "FROM usable u JOIN listed l USING (name) JOIN facts f USING (image_id) "
            "LEFT JOIN images i USING (image_id) ORDER BY u.number"
        )
        columns = (table.class_index, splits.split, splits.component)
        # Lists: one number at a time out of an array takes three times as long.
        class_indices, split_numbers, components = (column.tolist() for column in columns)
        for *facts, size, number, image_id, name, class_name, slices, old_span, group in found:
            if split_numbers[number] < 0:
                continue
            class_index, split = class_indices[number], contracts.SPLITS[split_numbers[number]]
            content = (class_index, class_name, split, group, slices, shown(name))
            example = _digest((EXAMPLE_VERSION, *content, *facts))
            yield (
                number, image_id, name, class_name, class_index, group, split,
                components[number], old_span or span, example,
                shuffle_key(image_id, config.split_seed), facts[_ORIGINAL_FORMAT], size, 1,
            )  # fmt: skip

    with catalogue.transaction():
        for statement in _PLANNED.split(";\n"):
            catalogue.connection.execute(statement)
        catalogue.connection.executemany(
            f"INSERT INTO planned VALUES ({', '.join('?' * 14)})", rows()
        )
        if config.window is not None:
            catalogue.connection.execute(
                "UPDATE planned SET is_live = span > ?", (newest_span(catalogue) - config.window,)
            )


def newest_span(catalogue: Catalogue) -> int:
    """Number of the newest span, also where its images are gone; after `plan_images`."""
    found = catalogue.count("SELECT COALESCE(MAX(span), 0) FROM planned")
    return max(found, int(catalogue.get("span", 0)))


def _digest(values: tuple[Any, ...]) -> str:
    return hashlib.sha256(ascii(values).encode("ascii")).hexdigest()[:16]


def _set_aside(catalogue: Catalogue, splits: SplitPlan) -> None:
    """Names the images that would have connected two splits, with every file that holds them."""
    query = (
        "SELECT a.name FROM usable u JOIN accepted a USING (image_id) WHERE u.number = ? "
        "ORDER BY a.rank, a.name"
    )
    with catalogue.transaction():
        for one in splits.set_aside:
            other = catalogue.connection.execute(query, (int(one.other),)).fetchone()
            detail = f"it belongs together with {shown(other[0])}, which is in another split"
            names = catalogue.connection.execute(query, (int(one.index),)).fetchall()
            catalogue.connection.executemany(
                "INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?)",
                [(name, one.reason, detail) for (name,) in names],
            )
