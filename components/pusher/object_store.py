"""An object store (s3://, gs://) as destination: no lock, no rename, only conditional writes.

A publisher claims a number (`claims/<version>.json`, which only one can write), uploads the files,
puts saved_model.pb aside (`staging/<version>.pb`), and then wins the decision about the version
(`claims/<version>.decided.json`, again by one writer only) before saved_model.pb goes to its place,
last. Another publisher that finds the claim old may decide instead that the version is abandoned:
whoever decides first is right, so that neither a killed nor a very slow publisher leaves a version
with files missing. Claims and decisions stay: a number is never used twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts
from slimworks.components.errors import ConfigError, DataError, ServingError
from slimworks.components.pusher import ledger, manifest, staging
from slimworks.components.pusher.ledger import Entry
from slimworks.components.pusher.manifest import MANIFESTS_FOLDER, SAVED_MODEL_FILE, Manifest
from slimworks.components.pusher.object_ledger import ObjectLedger
from slimworks.components.storage import remote

STALE_SECONDS = 900.0  # 600 MB (vgg) by a slow line take five minutes
CLAIMS_FOLDER, LEDGER_FOLDER = "claims", "ledger"
FINISH, ABANDON = "finish", "abandon"
_SCHEMES = ("s3://", "gs://")
_BLOCK_BYTES = 16 << 20
_MAX_STATE_BYTES = 16 << 20  # a card, a manifest

_log = logging.getLogger(__name__)


class ObjectStore:
    """See `destination.Destination`."""

    def __init__(self, base_path: str) -> None:
        if not base_path.startswith(_SCHEMES):
            raise ConfigError(
                f"{base_path} is no place that SlimWorks publishes to.",
                "Give a folder, or a URI that starts with s3:// or gs://, as push.base_path.",
            )
        self.base_path = base_path.rstrip("/")
        self._state = f"{self.base_path}/{contracts.LEDGER_FOLDER}"
        self._ledger = ObjectLedger(f"{self._state}/{LEDGER_FOLDER}")

    def exists(self) -> bool:
        """Whether there is a ledger."""
        return remote.is_folder(self._state)

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Recovers; others may publish at the same time."""
        self._recover()
        yield

    def history(self) -> list[Entry]:
        """All events."""
        return self._ledger.history()

    def append(self, entries: Iterable[Entry]) -> None:
        """Objects of the ledger."""
        self._ledger.append(entries)

    def versions(self) -> dict[int, str]:
        """Prefixes with a saved_model.pb."""
        found = _by_version(self._sizes())
        return {v: f"{self.base_path}/{v}" for v in found if SAVED_MODEL_FILE in found[v]}

    def digest_of(self, version: int) -> str | None:
        """The manifest's, where all its objects are there in their sizes."""
        expected = self._manifest(version)
        if expected is None:
            with self._downloaded(version) as folder:
                return manifest.digest_of(folder)
        found = {file.name: file.size for file in remote.walk(f"{self.base_path}/{version}")}
        return expected.digest if found == dict(expected.num_bytes) else None

    def place(
        self,
        source: Path,
        digest: str,
        entry_of: Callable[[int], Entry],
        additions: Mapping[str, bytes],
    ) -> tuple[int, str]:
        """Claims, uploads, decides, finishes."""
        with tempfile.TemporaryDirectory(prefix="slimworks-push-") as folder:
            for name, content in additions.items():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).write_bytes(content)
            added, original = manifest.manifest_of(folder), manifest.manifest_of(source)
            whole = Manifest(
                {**original.sha256, **added.sha256}, {**original.num_bytes, **added.num_bytes}
            )
            entry = self._claim(entry_of)
            for name in sorted(whole.sha256):
                path = (Path(folder) if name in added.sha256 else source) / name
                remote.write(self._upload_uri(entry.version, name), path)
        self._write_manifest(entry.version, whole)
        if not original.digest == digest == manifest.digest_of(source):
            self._decide(entry.version, ABANDON)
            self._clear(entry.version)
            raise DataError(
                f"{source} changed while it was copied.", "Push again when nobody writes to it."
            )
        if self._decide(entry.version, FINISH) != FINISH:
            raise ServingError(
                f"Uploading version {entry.version} of {self.base_path} took longer than "
                f"{STALE_SECONDS:g} seconds: another publisher took it for dead and cleared it "
                "away.",
                "Push again, from a machine with a faster line to the store.",
            )
        self._finish(entry)
        return entry.version, f"{self.base_path}/{entry.version}"

    @contextlib.contextmanager
    def content(self, version: int) -> Iterator[Path]:
        """A download, checked by the manifest."""
        with self._downloaded(version) as folder:
            expected = self._manifest(version)
            if expected is not None and manifest.manifest_of(folder).sha256 != expected.sha256:
                raise ConfigError(
                    f"{self.base_path}/{version} was changed since it was published: it may not "
                    "work.",
                    "Restore it from a backup, or name another version.",
                )
            yield folder

    def remove(self, version: int) -> None:
        """saved_model.pb first, as servers look for it."""
        remote.delete(f"{self.base_path}/{version}/{SAVED_MODEL_FILE}")
        self._clear(version)

    def write_state(self, name: str, content: bytes) -> None:
        """One object."""
        remote.write(f"{self._state}/{name}", content)

    def read_state(self, name: str) -> bytes | None:
        """Content, or None."""
        try:
            return remote.read(f"{self._state}/{name}", 0, _MAX_STATE_BYTES)
        except FileNotFoundError:
            return None

    # --- Publishing

    def _claim(self, entry_of: Callable[[int], Entry]) -> Entry:
        names = {name.partition("/")[0] for name in self._sizes()}
        names |= {
            name.partition(".")[0] for name, _ in remote.names(f"{self._state}/{CLAIMS_FOLDER}")
        }
        version = staging.number_above(ledger.made_by(self.history()), names, self.base_path)
        while True:
            entry = entry_of(version)
            claim = {
                "publisher": secrets.token_hex(8),
                "time": ledger.now(),
                "entry": entry.to_json(),
            }
            try:
                remote.write_new(self._claim_uri(version), manifest.encoded(claim))
            except FileExistsError:
                version += 1
                continue
            return entry

    def _decide(self, version: int, outcome: str) -> str:
        """Decides about a claimed version, or learns what was decided before."""
        uri = self._claim_uri(version, ".decided")
        try:
            remote.write_new(
                uri, manifest.encoded({"outcome": outcome, "by": secrets.token_hex(8)})
            )
        except FileExistsError:
            decided: dict[str, Any] = json.loads(remote.read(uri, 0, _MAX_STATE_BYTES))
            return str(decided["outcome"])
        return outcome

    def _finish(self, entry: Entry) -> None:
        """Makes a decided version visible: the same, however often and by whomever it is done."""
        aside = self._upload_uri(entry.version, SAVED_MODEL_FILE)
        try:
            self._move_into_place(aside, f"{self.base_path}/{entry.version}/{SAVED_MODEL_FILE}")
        except FileNotFoundError:
            if entry.version not in ledger.made_by(self.history()):
                raise
            return  # another publisher has just finished it
        if entry.version not in ledger.made_by(self.history()):
            self.append([entry])
        remote.delete(aside)

    def _move_into_place(self, aside: str, uri: str) -> None:
        with tempfile.TemporaryDirectory(prefix="slimworks-push-") as folder:
            local = Path(folder) / SAVED_MODEL_FILE
            _download(aside, remote.find(aside).size, local)
            remote.write(uri, local)

    # --- Recovery

    def _recover(self) -> None:
        """Finishes or clears away what killed publishers left; gives foreign versions a line."""
        entries = self.history()
        made, current = ledger.made_by(entries), ledger.current(entries)
        claims = self._names(CLAIMS_FOLDER)
        asides = _numbers(self._names(staging.STAGING_FOLDER))
        manifests = _numbers(self._names(MANIFESTS_FOLDER))
        found = _by_version(self._sizes())
        waiting = [version for version in _numbers(claims) if version not in made]
        for version in waiting:
            if version in found or version in asides or version in manifests:
                self._recover_claim(version, f"{version}.decided.json" in claims)
        for version in asides:
            if version in made:
                remote.delete(self._upload_uri(version, SAVED_MODEL_FILE))
        for version in manifests:
            if version in made and version not in current:  # its removal was interrupted
                self.remove(version)
        known = {*current, *waiting, *manifests}
        for version in sorted(found.keys() - known):
            if SAVED_MODEL_FILE in found[version]:
                self._adopt(version)

    def _recover_claim(self, version: int, is_decided: bool) -> None:
        claim = json.loads(remote.read(self._claim_uri(version), 0, _MAX_STATE_BYTES))
        if time.time() - claim["time"] < STALE_SECONDS:
            return  # its publisher is at work
        outcome = self._decide(version, ABANDON) if not is_decided else self._decided(version)
        if outcome == ABANDON:
            if self._clear(version):
                _log.info("removed version %d of %s: unfinished", version, self.base_path)
            return
        entry = Entry.from_json(claim["entry"])
        reason = "its publisher was interrupted"
        self._finish(
            dataclasses.replace(
                entry,
                event=ledger.RECOVERED,
                reason=f"{reason}; {entry.reason}" if entry.reason else reason,
            )
        )
        _log.warning("finished version %d of %s: %s", version, self.base_path, reason)

    def _decided(self, version: int) -> str:
        content = remote.read(self._claim_uri(version, ".decided"), 0, _MAX_STATE_BYTES)
        return str(json.loads(content)["outcome"])

    def _adopt(self, version: int) -> None:
        with self._downloaded(version) as folder:
            found = manifest.manifest_of(folder)
        self._write_manifest(version, found)
        reason = "it was not put here by SlimWorks"
        entry = Entry(ledger.RECOVERED, version, ledger.now(), found.digest, reason=reason)
        self.append([entry])
        _log.warning("version %d of %s was not in the ledger: now it is", version, self.base_path)

    def _clear(self, version: int) -> bool:
        """Deletes a version's objects, the manifest last; returns whether there were any."""
        uris = [file.path for file in remote.walk(f"{self.base_path}/{version}")]
        uris.append(self._upload_uri(version, SAVED_MODEL_FILE))
        uris.append(self._manifest_uri(version))
        for uri in uris:
            remote.delete(uri)
        return len(uris) > 2

    # --- Objects

    def _sizes(self) -> dict[str, int]:
        """Bytes by name of what is below the base path, without `.slimworks/`."""
        own = f"{contracts.LEDGER_FOLDER}/"
        return {
            file.name: file.size
            for file in remote.walk(self.base_path)
            if not file.name.startswith(own)
        }

    def _names(self, folder: str) -> set[str]:
        return {name for name, _ in remote.names(f"{self._state}/{folder}")}

    @contextlib.contextmanager
    def _downloaded(self, version: int) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="slimworks-version-") as folder:
            for file in remote.walk(f"{self.base_path}/{version}"):
                _download(file.path, file.size, Path(folder) / file.name)
            yield Path(folder)

    def _manifest(self, version: int) -> Manifest | None:
        content = self.read_state(f"{MANIFESTS_FOLDER}/{version}.json")
        return None if content is None else Manifest.from_json(json.loads(content))

    def _write_manifest(self, version: int, consists_of: Manifest) -> None:
        remote.write(self._manifest_uri(version), manifest.encoded(consists_of.to_json(version)))

    def _manifest_uri(self, version: int) -> str:
        return f"{self._state}/{MANIFESTS_FOLDER}/{version}.json"

    def _claim_uri(self, version: int, kind: str = "") -> str:
        return f"{self._state}/{CLAIMS_FOLDER}/{version}{kind}.json"

    def _upload_uri(self, version: int, name: str) -> str:
        if name == SAVED_MODEL_FILE:
            return f"{self._state}/{staging.STAGING_FOLDER}/{version}.pb"
        return f"{self.base_path}/{version}/{name}"


def _by_version(sizes: Mapping[str, int]) -> dict[int, set[str]]:
    """Names of the files of each folder whose name is a number."""
    found: dict[int, set[str]] = {}
    for name in sizes:
        folder, _, rest = name.partition("/")
        if rest and folder.isascii() and folder.isdecimal():
            found.setdefault(int(folder), set()).add(rest)
    return found


def _numbers(names: Iterable[str]) -> list[int]:
    return sorted({int(first) for name in names if (first := name.partition(".")[0]).isdecimal()})


def _download(uri: str, num_bytes: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        while stream.tell() < num_bytes:
            block = remote.read(uri, stream.tell(), _BLOCK_BYTES)
            if not block:
                raise DataError(f"{uri} changed while it was read.", "Run again.")
            stream.write(block)
