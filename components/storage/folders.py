"""Folders kept in an object store: files by their digest, a manifest last.

```
<uri>/objects/<2 digits>/<sha256>      a file; the same content is stored once
<uri>/folders/<name>.json              which files a folder has
```

A folder without a manifest is not there: a killed upload leaves objects that nothing names, and
the next upload finds them.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slimworks.components import files
from slimworks.components.errors import DataError
from slimworks.components.storage import remote

FORMAT = 1
_BLOCK_BYTES = 8 << 20  # in memory at once: so much a thread
_THREADS = 8
_MAX_MANIFEST_BYTES = 256 << 20


class FolderStore:
    """Folders below one URI.

    Attributes:
        uri: s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    def store(self, folder: Path, name: str, *, is_new: bool = False) -> None:
        """Uploads what is not there yet, then the manifest.

        Args:
            folder: Its files; empty folders are left out.
            name: With "/" between parts.
            is_new: Refused where there is a manifest already: of several writers one wins.

        Raises:
            FileExistsError: Another writer was first.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            described = list(pool.map(self._put, paths))
        listed = {
            path.relative_to(folder).as_posix(): entry
            for path, entry in zip(paths, described, strict=True)
        }
        manifest = {"format": FORMAT, "writer": secrets.token_hex(8), "files": listed}
        content = json.dumps(manifest, sort_keys=True).encode()
        (remote.write_new if is_new else remote.write)(self._manifest_uri(name), content)

    def fetch(
        self, name: str, folder: Path, is_wanted: Callable[[str], bool] = lambda name: True
    ) -> bool:
        """Downloads the files of a folder that are not here; each appears whole or not at all.

        Args:
            name: As it was stored.
            folder: Where it is to be.
            is_wanted: Of a file's name in the folder.

        Returns:
            Whether there is such a folder.

        Raises:
            DataError: A file is missing or damaged in the store.
        """
        listed = self.files_of(name)
        if listed is None:
            return False
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [(folder / file, entry) for file, entry in listed.items() if is_wanted(file)]
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(self._get, *zip(*wanted, strict=True)) if wanted else ())
        return True

    def files_of(self, name: str) -> dict[str, dict[str, Any]] | None:
        """Size and sha256 of each file of a folder; None where it is not there.

        Raises:
            DataError: A newer SlimWorks wrote it.
        """
        uri = self._manifest_uri(name)
        try:
            manifest = json.loads(remote.read(uri, 0, _MAX_MANIFEST_BYTES))
        except FileNotFoundError:
            return None
        if manifest["format"] > FORMAT:
            raise DataError(
                f"{uri} was written by a newer SlimWorks.", "Upgrade SlimWorks in this image."
            )
        listed: dict[str, dict[str, Any]] = manifest["files"]
        return listed

    def names(self, above: str) -> list[str]:
        """Names of the folders below a name, in order."""
        found = remote.walk(f"{self.uri}/folders/{above}")
        return sorted(f"{above}/{file.name.removesuffix('.json')}" for file in found)

    def remove(self, name: str) -> None:
        """Deletes a folder's manifest, then the objects that it alone names.

        Only where no other process stores below this URI.
        """
        listed = self.files_of(name)
        if listed is None:
            return
        remote.delete(self._manifest_uri(name))
        others: set[str] = set()
        for file in remote.walk(f"{self.uri}/folders"):
            other = self.files_of(file.name.removesuffix(".json")) or {}
            others |= _digests(other)
        for digest in _digests(listed) - others:
            remote.delete(self._object_uri(digest))

    def _put(self, path: Path) -> dict[str, Any]:
        entry = {"size": path.stat().st_size, "sha256": files.sha256_of_file(path)}
        uri = self._object_uri(str(entry["sha256"]))
        try:
            if remote.find(uri).size == entry["size"]:
                return entry
        except FileNotFoundError:
            pass
        remote.write(uri, path)
        return entry

    def _get(self, path: Path, entry: Mapping[str, Any]) -> None:
        if path.is_file() and path.stat().st_size == entry["size"]:
            return
        uri = self._object_uri(entry["sha256"])
        digest = hashlib.sha256()
        try:
            with files.replaced(path) as stream:
                for block in _blocks(uri, entry["size"]):
                    stream.write(block)
                    digest.update(block)
                if digest.hexdigest() != entry["sha256"]:
                    raise _damaged(uri, path)
        except FileNotFoundError:
            raise _damaged(uri, path) from None

    def _object_uri(self, digest: str) -> str:
        return f"{self.uri}/objects/{digest[:2]}/{digest}"

    def _manifest_uri(self, name: str) -> str:
        return f"{self.uri}/folders/{name}.json"


def fetch_files(uri: str, folder: Path) -> None:
    """Downloads the objects below a URI under their own names; files that are here are replaced."""
    for file in remote.walk(uri):
        with files.replaced(folder / file.name) as stream:
            for block in _blocks(file.path, file.size):
                stream.write(block)


def _blocks(uri: str, num_bytes: int) -> Iterator[bytes]:
    position = 0
    while position < num_bytes:
        block = remote.read(uri, position, min(_BLOCK_BYTES, num_bytes - position))
        if not block:
            return
        yield block
        position += len(block)


def _digests(listed: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {str(entry["sha256"]) for entry in listed.values()}


def _damaged(uri: str, path: Path) -> DataError:
    return DataError(
        f"{uri} is missing or damaged: {path.name} cannot be fetched.",
        "Restore the object, or run the step that made it again: --no-cache of that step "
        "(kubeflow.steps.STEP.cache: false).",
    )
