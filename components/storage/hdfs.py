"""HDFS through WebHDFS, with Beam's own `--hdfs_*` options."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from slimworks.components.beam_options import hdfs_options
from slimworks.components.errors import ConfigError
from slimworks.components.storage.contract import (
    FoundFile,
    Page,
    UnreachableError,
    last_part,
    one_line,
)

_Result = TypeVar("_Result")
_TIMEOUT_SECONDS = (5, 30)  # to connect, between two packets
_PREFIX = "hdfs://"


class HdfsStore:
    """One HDFS name node."""

    def __init__(self, beam_options: Sequence[str]) -> None:
        self._client, self._has_full_urls = _client(beam_options)

    def find(self, uri: str) -> FoundFile:
        """One file's size and version."""
        status = self._call(uri, lambda path: self._client.status(path))
        if status["type"] == "DIRECTORY":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), uri)
        return _found(last_part(uri), uri, status)

    def is_folder(self, uri: str) -> bool:
        """Whether it is a directory."""
        status = self._call(uri, lambda path: self._client.status(path, strict=False))
        return bool(status) and status["type"] == "DIRECTORY"

    def page(self, folder: str, token: str | None, *, is_recursive: bool) -> Page:
        """One whole directory: WebHDFS lists no less at once."""
        try:
            entries = self._call(folder, lambda path: self._client.list(path, status=True))
        except FileNotFoundError:
            return Page((), ())
        base = folder.rstrip("/")
        files = [entry for entry in entries if entry[1]["type"] == "FILE"]
        folders = [entry for entry in entries if entry[1]["type"] == "DIRECTORY"]
        return Page(
            tuple(_found(name, f"{base}/{name}", status) for name, status in files),
            tuple(f"{base}/{name}" for name, _ in folders),
        )

    def read(self, uri: str, start: int, length: int) -> bytes:
        """Bytes from `start`, fewer at the end."""

        def download(path: str) -> bytes:
            with self._client.read(path, offset=start, length=length) as reader:
                data: bytes = reader.read()
                return data

        return self._call(uri, download)

    def _call(self, uri: str, request: Callable[[str], _Result]) -> _Result:
        try:
            return request(self._path(uri))
        except Exception as error:
            raise _explained(error, uri) from error

    def _path(self, uri: str) -> str:
        """Path on the server: as in Beam, `hdfs://a/b` is /a/b, or /b with --hdfs_full_urls."""
        rest = uri[len(_PREFIX) :].lstrip("/")
        return "/" + (rest.partition("/")[2] if self._has_full_urls else rest)


def _client(beam_options: Sequence[str]) -> tuple[Any, bool]:
    try:
        import hdfs
    except ImportError:
        raise ConfigError(
            "hdfs:// needs the package hdfs, which is not installed.",
            "pip install 'slimworks[pipeline]'",
        ) from None
    options = hdfs_options(beam_options)
    missing = [
        f"--{name}"
        for name in ("hdfs_host", "hdfs_port", "hdfs_user")
        if not getattr(options, name)
    ]
    if missing:
        raise ConfigError(
            f"hdfs:// needs {' and '.join(missing)} in data.beam_pipeline_args.",
            "Add them: --hdfs_host=NAMENODE, --hdfs_port=9870, --hdfs_user=NAME.",
        )
    url = f"http://{options.hdfs_host}:{options.hdfs_port}"
    client = hdfs.InsecureClient(url, user=options.hdfs_user, timeout=_TIMEOUT_SECONDS)
    return client, bool(options.hdfs_full_urls)


def _found(name: str, uri: str, status: dict[str, Any]) -> FoundFile:
    # A file's id changes when it is replaced, even within the millisecond.
    version = f"{status['modificationTime']} {status.get('fileId', '')}"
    return FoundFile(name, uri, int(status["length"]), version)


def _explained(error: Exception, uri: str) -> Exception:
    import hdfs
    import requests

    if isinstance(error, requests.exceptions.RequestException):
        return UnreachableError(one_line(error))
    if not isinstance(error, hdfs.HdfsError):
        return error
    kind = str(error.exception or error.message)
    if "FileNotFound" in kind or "does not exist" in error.message:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    if "AccessControl" in kind or "Security" in kind:
        return PermissionError(
            errno.EACCES, f"the server refuses it: {one_line(error.message)}", uri
        )
    if any(word in kind for word in ("Standby", "Retriable", "SafeMode", "StateException")):
        return UnreachableError(one_line(error.message))
    return OSError(errno.EIO, one_line(error.message), uri)
