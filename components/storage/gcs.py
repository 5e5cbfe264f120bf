"""Google Cloud Storage, through the client that Beam makes from its options and the environment."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from slimworks.components.errors import ConfigError
from slimworks.components.storage.contract import (
    FoundFile,
    Page,
    UnreachableError,
    last_part,
    one_line,
)

_LOGGER = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_TIMEOUT_SECONDS = (5, 30)  # to connect, between two packets
_CREDENTIALS_FIX = (
    "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key "
    "file of a service account, wherever a worker runs."
)


class GcsStore:
    """Google Cloud Storage, or its emulator where STORAGE_EMULATOR_HOST names one."""

    def __init__(self, beam_options: Sequence[str]) -> None:
        self._client = _client(beam_options)

    def find(self, uri: str) -> FoundFile:
        """One file's size and version."""
        bucket, key = _split(uri)
        if not key:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
        # `retry=None` everywhere: `remote` is patient, within its bounds.
        blob = _explaining(
            uri,
            lambda: self._client.bucket(bucket).get_blob(key, retry=None, timeout=_TIMEOUT_SECONDS),
        )
        if blob is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
        return FoundFile(last_part(uri), uri, int(blob.size), str(blob.generation))

    def is_folder(self, uri: str) -> bool:
        """Whether names start with `uri/`; a bucket always is one."""
        page = self._list(uri, None, "", max_results=1)
        return bool(page.files or page.folders) or not _split(uri.rstrip("/"))[1]

    def page(self, folder: str, token: str | None, *, is_recursive: bool) -> Page:
        """Up to 1,000 objects below a folder."""
        return self._list(folder, token, "" if is_recursive else "/")

    def _list(
        self, folder: str, token: str | None, delimiter: str, max_results: int | None = None
    ) -> Page:
        bucket, prefix = _split(folder.rstrip("/") + "/")
        iterator = self._client.list_blobs(
            bucket, prefix=prefix, delimiter=delimiter or None, page_token=token,
            max_results=max_results, retry=None, timeout=_TIMEOUT_SECONDS,
        )  # fmt: skip
        try:
            blobs = _explaining(folder, lambda: list(next(iterator.pages, ())))
        except FileNotFoundError as error:
            raise ConfigError(
                f"{folder}: there is no bucket {bucket!r}.", "Correct the name: gs://BUCKET/FOLDER."
            ) from error
        return Page(
            tuple(
                FoundFile(
                    blob.name[len(prefix) :],
                    f"gs://{bucket}/{blob.name}",
                    int(blob.size),
                    str(blob.generation),
                )
                for blob in blobs
                # Consoles make an empty object with this name to show a folder.
                if not blob.name.endswith("/")
            ),
            tuple(f"gs://{bucket}/{name.rstrip('/')}" for name in sorted(iterator.prefixes)),
            iterator.next_page_token,
        )

    def read(self, uri: str, start: int, length: int) -> bytes:
        """Bytes from `start`, fewer at the end."""
        from google.api_core.exceptions import RequestRangeNotSatisfiable

        bucket, key = _split(uri)
        blob = self._client.bucket(bucket).blob(key)

        def download() -> bytes:
            try:
                # Raw: a file stored with `Content-Encoding: gzip` keeps the size that was listed.
                data: bytes = blob.download_as_bytes(
                    start=start, end=start + length - 1, raw_download=True, retry=None,
                    timeout=_TIMEOUT_SECONDS,
                )  # fmt: skip
                return data
            except RequestRangeNotSatisfiable:  # an empty file, or one that shrank
                return b""

        return _explaining(uri, download)

    def write(self, uri: str, content: bytes | Path, *, is_new: bool) -> None:
        """One object, whose arrival the server checks by its MD5."""
        bucket, key = _split(uri)
        blob = self._client.bucket(bucket).blob(key)
        options: dict[str, Any] = {
            "content_type": "application/octet-stream",
            "if_generation_match": 0 if is_new else None,  # generation 0: there is none yet
            "checksum": "md5",
            "retry": None,
            "timeout": _TIMEOUT_SECONDS,
        }
        if isinstance(content, bytes):
            _explaining(uri, lambda: blob.upload_from_string(content, **options))
        else:
            _explaining(uri, lambda: blob.upload_from_filename(str(content), **options))

    def delete(self, uri: str) -> None:
        """One object."""
        bucket, key = _split(uri)
        blob = self._client.bucket(bucket).blob(key)
        try:
            _explaining(uri, lambda: blob.delete(retry=None, timeout=_TIMEOUT_SECONDS))
        except FileNotFoundError:
            return


def _client(beam_options: Sequence[str]) -> Any:
    try:
        import google.auth
        from apache_beam.io.gcp.gcsio import create_storage_client
        from google.cloud.storage import Client
    except ImportError:
        raise ConfigError(
            "gs:// needs Google's packages for Beam, which are not installed.",
            "pip install 'apache-beam[gcp]'",
        ) from None
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

    options = PipelineOptions(list(beam_options))
    try:
        # First, because Beam looks for credentials for half a minute before it does without.
        if not options.view_as(GoogleCloudOptions).no_auth:
            google.auth.default()
            return _explaining("gs://", lambda: create_storage_client(options))
    except google.auth.exceptions.DefaultCredentialsError:
        _LOGGER.info("ingest: no Google credentials: only public buckets can be read")
    return Client.create_anonymous_client()


def _split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri[len("gs://") :].partition("/")
    return bucket, key


def _explaining(uri: str, call: Callable[[], _Result]) -> _Result:
    """Calls, and puts what Google's client raises into the words of `RemoteStore`."""
    try:
        return call()
    except Exception as error:
        raise _explained(error, uri) from error


def _explained(error: Exception, uri: str) -> Exception:
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    if isinstance(error, (api.TooManyRequests, api.ServerError, api.RetryError)):
        return UnreachableError(one_line(error))
    if isinstance(error, (requests.exceptions.RequestException, auth.TransportError)):
        return UnreachableError(one_line(error))
    if isinstance(error, (auth.GoogleAuthError, api.Unauthorized)):
        return ConfigError(
            f"There are no credentials to read {uri} with: {one_line(error)}.", _CREDENTIALS_FIX
        )
    if isinstance(error, api.Forbidden):
        return PermissionError(
            errno.EACCES, f"the server refuses it: {one_line(error.message)}", uri
        )
    if isinstance(error, api.PreconditionFailed):
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), uri)
    if isinstance(error, api.NotFound):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    if isinstance(error, api.GoogleAPICallError):
        return OSError(
            errno.EIO, f"the server answers {error.code}: {one_line(error.message)}", uri
        )
    return error
