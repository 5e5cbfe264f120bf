"""Rows of floats by image id, on disk: grows, survives kills, is mapped and not loaded."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimworks.components import files

GB = 10**9
SEGMENT_BYTES = 64 * 2**20  # also what is held in memory before it is written
ABOUT_FILE = "about.json"  # what the rows are; its time is that of the last use
_ID_BYTES = 64  # image ids are sha256 in hex, see contracts.IMAGE_ID
_LEFT_OVER_SECONDS = 3_600  # an unfinished file of that age is nobody's any more

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of chosen images, where they lie on disk.

    Attributes:
        segments: [M] each, with the fields `id` and `features` float32 [D].
        segment_of: int32 [N], which segment has an image's row.
        place_of: int32 [N], where in it.
    """

    segments: Sequence[np.ndarray]
    segment_of: np.ndarray
    place_of: np.ndarray

    @property
    def width(self) -> int:
        """D, floats of a row."""
        return int(self.segments[0].dtype["features"].shape[0])

    def take(self, images: np.ndarray) -> np.ndarray:
        """Reads rows. images: integers [B] in [0, N) -> float32 [B, D]."""
        segments, places = self.segment_of[images], self.place_of[images]
        taken = np.empty([len(images), self.width], np.float32)
        for number in np.unique(segments):
            here = segments == number
            taken[here] = self.segments[number]["features"][places[here]]
        return taken


class NoRoomError(Exception):
    """The rows would take more than may be kept."""

    def __init__(self, needed_gb: float) -> None:
        super().__init__(f"{needed_gb:.2g} GB of features")
        self.needed_gb = needed_gb


class FeatureStore:
    """The rows of one kind in one folder: files that are written once, named by their content.

    Two processes may write to the same folder at once; a row that is there twice is the same.
    """

    def __init__(self, folder: Path, width: int, about: dict[str, Any]) -> None:
        """Opens a folder, or makes it; damaged files are removed.

        Args:
            folder: Of this kind of rows alone.
            width: D, floats a row.
            about: What the rows are, for people who look into the folder.
        """
        self.folder = folder
        self.dtype = np.dtype([("id", f"S{_ID_BYTES}"), ("features", "<f4", (width,))])
        if not (folder / ABOUT_FILE).is_file():
            files.write_json(folder / ABOUT_FILE, about)
        os.utime(folder / ABOUT_FILE)
        self._segments: dict[Path, np.ndarray] = {}
        for path in sorted(folder.glob("*.npy")):
            self._open(path)
        self._remove_left_over()

    @property
    def num_bytes(self) -> int:
        """Of the rows on disk."""
        return sum(segment.nbytes for segment in self._segments.values())

    def missing(self, ids: np.ndarray) -> np.ndarray:
        """Which of the images have no row. ids: bytes [N] -> bool [N]."""
        return self._find(ids) < 0

    def append(self, ids: np.ndarray, features: np.ndarray) -> None:
        """Writes rows as a new file. ids: bytes [M]; features: float32 [M, D]."""
        segment = np.empty(len(ids), self.dtype)
        segment["id"], segment["features"] = ids, features
        self._write(segment)

    @contextlib.contextmanager
    def writer(self, seconds: float) -> Iterator[Callable[[np.ndarray, np.ndarray], None]]:
        """Yields `append` for small parts: they become files of some size, or of some seconds."""
        pending: list[tuple[np.ndarray, np.ndarray]] = []
        last = time.monotonic()

        def flush() -> None:
            nonlocal last
            if pending:
                ids, features = zip(*pending, strict=True)
                self.append(np.concatenate(ids), np.concatenate(features))
            pending.clear()
            last = time.monotonic()

        def write(ids: np.ndarray, features: np.ndarray) -> None:
            pending.append((ids, features))
            num_bytes = self.dtype.itemsize * sum(len(part) for part, _ in pending)
            if num_bytes >= SEGMENT_BYTES or time.monotonic() - last >= seconds:
                flush()

        yield write
        flush()

    def rows(self, ids: np.ndarray) -> Rows:
        """Where the rows of these images are; every one must be there. ids: bytes [N]."""
        segments = list(self._segments.values())
        ends = np.cumsum([len(segment) for segment in segments])
        places = self._find(ids)
        segment_of = np.searchsorted(ends, places, side="right")
        starts = np.concatenate([[0], ends])[segment_of]
        return Rows(segments, segment_of.astype(np.int32), (places - starts).astype(np.int32))

    def forget_others(self, ids: np.ndarray) -> None:
        """Removes the files that have no row of these images. ids: bytes [N]."""
        for path, segment in list(self._segments.items()):
            if not np.isin(segment["id"], ids).any():
                self._remove(path)

    def _find(self, ids: np.ndarray) -> np.ndarray:
        """Places among the rows of all segments, -1 where there is none: int64 [N]."""
        known = np.concatenate([[b""], *(segment["id"] for segment in self._segments.values())])
        order = np.argsort(known, kind="stable")
        places = order[np.searchsorted(known, ids, sorter=order).clip(max=len(known) - 1)]
        return np.where(known[places] == ids, places - 1, -1)

    def merge_small(self) -> None:
        """Joins files that are much smaller than a file may be: each open one costs a handle."""
        group: list[Path] = []
        num_bytes = 0
        for path, segment in sorted(self._segments.items(), key=lambda item: item[1].nbytes):
            if num_bytes + segment.nbytes > SEGMENT_BYTES:
                break
            group.append(path)
            num_bytes += segment.nbytes
        if len(group) > 1:
            self._write(np.concatenate([self._segments[path] for path in group]))
            for path in group:
                self._remove(path)

    def _open(self, path: Path) -> None:
        if files.sha256_of_file(path) != path.stem:
            _log.warning("%s is damaged: its features are computed again", path)
            path.unlink()
            return
        self._segments[path] = np.load(path, mmap_mode="r")

    def _write(self, segment: np.ndarray) -> None:
        content = io.BytesIO()
        np.save(content, segment)
        data = content.getvalue()
        path = self.folder / f"{hashlib.sha256(data).hexdigest()}.npy"
        files.write_bytes(path, data)
        self._segments[path] = np.load(path, mmap_mode="r")

    def _remove(self, path: Path) -> None:
        del self._segments[path]
        path.unlink(missing_ok=True)  # another process may have been quicker

    def _remove_left_over(self) -> None:
        oldest = time.time() - _LEFT_OVER_SECONDS
        for path in self.folder.glob(".*.npy.*"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)


def make_room(store: FeatureStore, ids: np.ndarray, num_new: int, limit_gb: float) -> None:
    """Removes what was not used for longest, until new rows may be added to a store.

    Args:
        store: To be added to; it lies beside the others.
        ids: The images that it is needed for, bytes [N].
        num_new: Rows to be added.
        limit_gb: What all stores together may take, in GB (10^9 bytes).

    Raises:
        NoRoomError: These images alone take more; nothing is removed.
    """
    needed = len(ids) * store.dtype.itemsize
    if needed > limit_gb * GB:
        raise NoRoomError(needed / GB)
    left = limit_gb * GB - num_new * store.dtype.itemsize
    others = [path.parent for path in store.folder.parent.glob(f"*/{ABOUT_FILE}")]
    others.remove(store.folder)
    sizes = {folder: _num_bytes(folder) for folder in others}
    for folder in sorted(others, key=lambda folder: (folder / ABOUT_FILE).stat().st_mtime):
        if store.num_bytes + sum(sizes.values()) <= left:
            return
        _log.info("%s is removed: train.feature_cache_gb is %g", folder, limit_gb)
        shutil.rmtree(folder)
        del sizes[folder]
    if store.num_bytes > left:
        store.forget_others(ids)


def _num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
