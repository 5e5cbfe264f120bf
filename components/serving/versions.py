"""Which versions of a model are loaded: follows the base path, swaps without losing a request.

Rules of TensorFlow Serving: the highest number wins; the new version is loaded before the old
one is unloaded; a version that failed is not tried again while its folder stays. No TensorFlow
here: how to load is handed in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from slimworks.components.serving.request_errors import Code, RequestError, truncated

_MAX_VERSION = 2**63 - 1  # versions are int64 on the wire

_logger = logging.getLogger(__name__)


class Closable(Protocol):
    """What a loaded model must offer."""

    def close(self) -> None:
        """Frees the model."""


class State(enum.IntEnum):
    """Life cycle, with the numbers of GetModelStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclasses.dataclass(frozen=True)
class VersionReport:
    """State of one version as clients see it; `error_code` is 0 unless a load failed."""

    version: int
    state: State
    error_code: int
    error_message: str


@dataclasses.dataclass
class _Version:
    number: int
    path: Path
    state: State = State.START
    model: Closable | None = None
    error_code: int = 0
    error_message: str = ""
    num_requests: int = 0  # being answered right now
    num_failures: int = 0
    next_try: float = 0.0
    is_abandoned: bool = False  # failed, and its folder went away since

    @property
    def has_failed(self) -> bool:
        return self.state == State.END and self.error_code != 0


Policy = Callable[[Iterable[int]], list[int]]  # versions on disk -> wanted ones, newest first


def latest(found: Iterable[int], num_versions: int = 1) -> list[int]:
    """Version policy `latest`, TensorFlow Serving's default: the highest numbers."""
    return sorted(found, reverse=True)[:num_versions]


def every(found: Iterable[int]) -> list[int]:
    """Version policy `all`."""
    return sorted(found, reverse=True)


def specific(found: Iterable[int], numbers: Iterable[int]) -> list[int]:
    """Version policy `specific`: these, where they are on disk."""
    return sorted(set(found).intersection(numbers), reverse=True)


class Versions:
    """The versions of one model.

    `poll` and `apply` are called by one thread at a time; everything else from any.

    Args:
        model_name: For messages.
        base_path: Folder with one folder per version.
        load: Loads the SavedModel at a path, or raises.
        max_num_load_retries: Tries after a first failure.
        load_retry_interval_seconds: Pause before each of them.
        policy: Picks the wanted versions from those on disk, newest first.
    """

    def __init__(
        self,
        model_name: str,
        base_path: str,
        load: Callable[[Path], Closable],
        *,
        max_num_load_retries: int = 5,
        load_retry_interval_seconds: float = 60.0,
        policy: Policy = latest,
    ) -> None:
        self.model_name = model_name
        self.base_path = Path(base_path)
        self._load = load
        self._max_num_load_retries = max_num_load_retries
        self._load_retry_interval_seconds = load_retry_interval_seconds
        self._policy = policy
        self._versions: dict[int, _Version] = {}
        self._lock = threading.Lock()
        self._last_note = ""

    def poll(self) -> None:
        """Looks at the base path once: loads what is wanted, then unloads what is not."""
        found = self.found()
        if found is not None:
            self.apply(found)

    def found(self) -> dict[int, Path] | None:
        """Versions on disk; None where the base path is missing, which is noted."""
        found = find_versions(self.base_path)
        if found is None:  # keep what is loaded: the volume may only be away for a moment
            self._note(f"{self.base_path} does not exist; waiting for it")
        return found

    def apply(self, found: dict[int, Path]) -> None:
        """Loads what is wanted of the versions on disk, then unloads what is not."""
        wanted = self._policy(found)
        if not wanted:
            self._note(
                f"{self.base_path} holds no wanted version (a folder named by a number); waiting"
            )
        with self._lock:
            self._abandon_failures(found, wanted)
            due = [self._enlisted(number, found[number]) for number in wanted]
        for version in due:
            self._try_to_load(version)
        self._unload_unwanted(wanted)

    def reconfigure(self, base_path: str, policy: Policy) -> None:
        """Takes effect at the next poll."""
        self.base_path, self._policy = Path(base_path), policy

    def is_loaded(self, number: int) -> bool:
        """Whether this version answers."""
        with self._lock:
            entry = self._versions.get(number)
            return entry is not None and entry.state == State.AVAILABLE

    def is_available(self) -> bool:
        """Whether at least one version answers."""
        with self._lock:
            return any(entry.state == State.AVAILABLE for entry in self._versions.values())

    def failures(self) -> list[VersionReport]:
        """Versions on disk that failed all their tries."""
        return [
            report
            for report in self.reports()
            if report.error_code and report.state == State.END
            and not self._versions[report.version].is_abandoned
        ]  # fmt: skip

    def reports(self) -> list[VersionReport]:
        """States of all versions ever seen, newest first."""
        with self._lock:
            return [
                VersionReport(entry.number, entry.state, entry.error_code, entry.error_message)
                for _, entry in sorted(self._versions.items(), reverse=True)
            ]

    @contextlib.contextmanager
    def acquired(self, number: int | None) -> Iterator[tuple[int, Closable]]:
        """Holds a loaded version for one request; it is not unloaded before the block ends.

        Args:
            number: The version asked for; None means the highest one that is loaded.

        Yields:
            The version's number and its model.

        Raises:
            RequestError: NOT_FOUND, no such version is loaded.
        """
        entry, model = self._acquire(number)
        try:
            yield entry.number, model
        finally:
            self._release(entry)

    def close(self) -> None:
        """Unloads everything; a version in use is freed when its last request ends."""
        self._unload_unwanted([])

    def _acquire(self, number: int | None) -> tuple[_Version, Closable]:
        with self._lock:
            candidates = [
                entry
                for entry in self._versions.values()
                if entry.state == State.AVAILABLE and number in (None, entry.number)
            ]
            if candidates:
                entry = max(candidates, key=lambda entry: entry.number)
                entry.num_requests += 1
                assert entry.model is not None  # AVAILABLE means loaded
                return entry, entry.model
        asked = f"Latest({self.model_name})"
        if number is not None:
            asked = f"Specific({self.model_name}, {number})"
        raise RequestError(Code.NOT_FOUND, f"Servable not found for request: {asked}")

    def _release(self, entry: _Version) -> None:
        with self._lock:
            entry.num_requests -= 1
            is_over = entry.state == State.UNLOADING and not entry.num_requests
        if is_over:  # not in this thread: the request that was the last has its answer to send
            threading.Thread(target=self._free_if_unused, args=(entry,), name="unload").start()

    def _enlisted(self, number: int, path: Path) -> _Version:
        """The entry of a wanted version, a new one where the old one has ended."""
        entry = self._versions.get(number)
        if (
            entry is None
            or entry.is_abandoned
            or (entry.state == State.END and not entry.has_failed)
        ):
            entry = self._versions[number] = _Version(number, path)
        return entry

    def _abandon_failures(self, found: dict[int, Path], wanted: list[int]) -> None:
        for number, entry in self._versions.items():
            if entry.state == State.LOADING and number not in wanted:
                entry.state = State.END
            if entry.has_failed and number not in found:
                entry.is_abandoned = True

    def _try_to_load(self, entry: _Version) -> None:
        if entry.state not in (State.START, State.LOADING) or time.monotonic() < entry.next_try:
            return
        entry.state = State.LOADING
        _logger.info("Loading version %d of model %s", entry.number, self.model_name)
        started = time.monotonic()
        try:
            model = self._load(entry.path)
        # A model can fail in as many ways as there are models, and none may end the server.
        except Exception as error:
            self._record_failure(entry, error)
            return
        with self._lock:
            entry.model, entry.state = model, State.AVAILABLE
            entry.error_code, entry.error_message = 0, ""
        _logger.info(
            "Version %d of model %s is AVAILABLE after %.2f s",
            entry.number, self.model_name, time.monotonic() - started,
        )  # fmt: skip

    def _record_failure(self, entry: _Version, error: Exception) -> None:
        code = getattr(error, "code", getattr(error, "error_code", None))
        with self._lock:
            entry.num_failures += 1
            entry.next_try = time.monotonic() + self._load_retry_interval_seconds
            entry.error_code = code if isinstance(code, int) and code else int(Code.UNKNOWN)
            entry.error_message = truncated(f"{type(error).__name__}: {error}")
            if entry.num_failures > self._max_num_load_retries:
                entry.state = State.END
        _logger.error(
            "Version %d of model %s failed to load (try %d of %d): %s",
            entry.number, self.model_name, entry.num_failures, self._max_num_load_retries + 1,
            entry.error_message,
        )  # fmt: skip

    def _unload_unwanted(self, wanted: list[int]) -> None:
        with self._lock:
            available = {n for n, entry in self._versions.items() if entry.state == State.AVAILABLE}
            if wanted and not available.intersection(wanted):
                return  # an old version answers better than none
            unwanted = [self._versions[number] for number in available.difference(wanted)]
            for entry in unwanted:
                entry.state = State.UNLOADING
        for entry in unwanted:
            self._free_if_unused(entry)

    def _free_if_unused(self, entry: _Version) -> None:
        with self._lock:
            if entry.state != State.UNLOADING or entry.num_requests or entry.model is None:
                return
            model, entry.model = entry.model, None
        model.close()
        with self._lock:
            entry.state = State.END
        _logger.info("Version %d of model %s is unloaded", entry.number, self.model_name)

    def _note(self, text: str) -> None:
        """Logs a state of affairs once, not at every poll."""
        if text != self._last_note:
            self._last_note = text
            _logger.warning("Model %s: %s", self.model_name, text)


def find_versions(base_path: Path) -> dict[int, Path] | None:
    """Entries of `base_path` whose whole name is a number; None where it is no folder.

    Files count too, as in TensorFlow Serving, and then fail to load.
    """
    try:
        names = sorted(os.listdir(base_path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    found: dict[int, Path] = {}
    for name in names:
        if not (name.isascii() and name.isdecimal()) or int(name) > _MAX_VERSION:
            continue
        if int(name) in found:
            _logger.warning("%s and %s are one version", found[int(name)], base_path / name)
            continue
        found[int(name)] = base_path / name
    return found
