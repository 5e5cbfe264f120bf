"""Near-duplicates from one ingest to the next: only what is new is searched for.

What was found stays true: a pair follows from the bytes of its two images. So it is kept as soon as
it is known, and not only by a finished ingest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slimworks.components.ingest.catalogue import Catalogue
from slimworks.components.ingest.checking import RULES_VERSION
from slimworks.components.ingest.connectivity import component_of
from slimworks.components.ingest.near_duplicates import SEARCH_VERSION, near_duplicate_pairs
from slimworks.components.ingest.perceptual import FINGERPRINT_BYTES

# With other settings everything is searched anew.
_SETTINGS = "near_pairs"
# An image with '' was searched for. In a table of its own, which may be missing: it can be made
# again from the facts.
_TABLE = """
CREATE TABLE IF NOT EXISTS near_pairs (
  image_id TEXT NOT NULL, other TEXT NOT NULL, PRIMARY KEY (image_id, other)
) WITHOUT ROWID
"""


def find_near_duplicates(catalogue: Catalogue, max_distance: int | None) -> np.ndarray:
    """Pairs that connect all images that look alike; none where the distance is None.

    Args:
        catalogue: After `select_images`.
        max_distance: As `data.near_duplicate_distance`.

    Returns:
        [M, 2] int32 by number, the smaller first, in order.
    """
    if max_distance is None:
        return np.empty((0, 2), np.int32)
    _prepare(catalogue, max_distance)
    is_new, old_pairs, is_any_gone = _known(catalogue)
    pairs = _search(catalogue, max_distance, is_new, old_pairs) if is_new.any() else old_pairs
    _keep(catalogue, pairs, is_new, is_any_gone)
    return pairs


def _prepare(catalogue: Catalogue, max_distance: int) -> None:
    settings = [max_distance, RULES_VERSION, SEARCH_VERSION]
    with catalogue.transaction():
        catalogue.connection.execute(_TABLE)
        if catalogue.get(_SETTINGS) != settings:
            catalogue.connection.execute("DELETE FROM near_pairs")
            catalogue.set(_SETTINGS, settings)


def _known(catalogue: Catalogue) -> tuple[np.ndarray, np.ndarray, bool]:
    """What earlier searches found.

    Returns:
        Which images are to be searched for [N] bool, pairs of those that are there [M, 2] int32,
        and whether images are gone that were searched for.
    """
    run = catalogue.connection.execute
    size = catalogue.count("SELECT COUNT(*) FROM usable")
    is_new = np.ones(size, bool)
    num_known = catalogue.count("SELECT COUNT(*) FROM near_pairs WHERE other = ''")
    query = "SELECT number FROM near_pairs JOIN usable USING (image_id) WHERE other = ''"
    is_new[np.fromiter((number for (number,) in run(query)), np.int64)] = False
    is_any_gone = num_known > size - np.count_nonzero(is_new)
    if not num_known:
        return is_new, np.empty((0, 2), np.int32), is_any_gone
    pairs = _old_pairs(catalogue, size)
    if is_any_gone:
        is_new |= _stand_with_gone(pairs, size)
    return is_new, pairs[(pairs < size).all(axis=1)], is_any_gone


def _old_pairs(catalogue: Catalogue, size: int) -> np.ndarray:
    """Pairs [M, 2] int32 in order; images that are gone have numbers from `size` on."""
    gone: dict[str, int] = {}
    rows = catalogue.connection.execute(
        "SELECT n.image_id, n.other, a.number, b.number FROM near_pairs n "
        "LEFT JOIN usable a ON a.image_id = n.image_id LEFT JOIN usable b ON b.image_id = n.other "
        "WHERE n.other != '' ORDER BY n.image_id, n.other"
    )

    def number_of(image_id: str, number: int | None) -> int:
        return gone.setdefault(image_id, size + len(gone)) if number is None else number

    ends = (
        number_of(*end)
        for first_id, second_id, first, second in rows
        for end in ((first_id, first), (second_id, second))
    )
    return np.fromiter(ends, np.int32).reshape(-1, 2)


def _stand_with_gone(pairs: np.ndarray, size: int) -> np.ndarray:
    """Images [size] bool that may have been connected by one that is gone, and by nothing else."""
    num_nodes = max(size, int(pairs.max(initial=-1)) + 1)
    component = component_of(pairs, num_nodes)
    return np.isin(component[:size], component[size:])


def _search(
    catalogue: Catalogue, max_distance: int, is_new: np.ndarray, old_pairs: np.ndarray
) -> np.ndarray:
    run = catalogue.connection.execute
    found = run(
        "SELECT f.rowid, fingerprint FROM usable JOIN facts f USING (image_id) ORDER BY number"
    )
    kind = [("row_id", np.int64), ("fingerprint", f"V{FINGERPRINT_BYTES}")]
    table = np.fromiter(found, kind, len(is_new))
    row_ids = table["row_id"]
    fingerprints = table["fingerprint"].copy().view(np.uint8).reshape(-1, FINGERPRINT_BYTES)

    def signatures_of(numbers: Sequence[int]) -> list[bytes]:
        query = "SELECT signature FROM facts WHERE rowid = ?"
        return [run(query, (row_id,)).fetchone()[0] for row_id in row_ids[numbers].tolist()]

    return near_duplicate_pairs(fingerprints, signatures_of, max_distance, is_new, old_pairs)


def _keep(catalogue: Catalogue, pairs: np.ndarray, is_new: np.ndarray, is_any_gone: bool) -> None:
    connection = catalogue.connection
    usable = "(SELECT image_id FROM usable)"
    with catalogue.transaction():
        if is_any_gone:
            connection.execute(
                f"DELETE FROM near_pairs WHERE image_id NOT IN {usable} "
                f"OR (other != '' AND other NOT IN {usable})"
            )
        connection.executemany(
            "INSERT OR IGNORE INTO near_pairs SELECT image_id, '' FROM usable WHERE number = ?",
            ((number,) for number in np.flatnonzero(is_new).tolist()),
        )
        connection.executemany(
            "INSERT OR IGNORE INTO near_pairs SELECT a.image_id, b.image_id "
            "FROM usable a, usable b WHERE a.number = ? AND b.number = ?",
            pairs[is_new[pairs].any(axis=1)].tolist(),
        )
