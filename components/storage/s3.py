"""S3 and what speaks its protocol, through boto3 with Beam's own `--s3_*` options.

Not through Beam's S3 file system: that makes one client for each call (90 ms here), keeps every
name of a listing in memory, and tries a dead server for ten minutes.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from slimworks.components.beam_options import s3_options
from slimworks.components.errors import ConfigError
from slimworks.components.storage.contract import (
    FoundFile,
    Page,
    UnreachableError,
    last_part,
    one_line,
)

_CONNECT_SECONDS = 5  # a server in another region answers within one
_READ_SECONDS = 30  # between two packets
_BLOCK_BYTES = 1 << 20
_MAX_CONNECTIONS = 64  # threads of one worker that read at once
_WRONG_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_WRONG_REGION = frozenset(
    {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
)
# Codes of "not now" that come with a status below 500.
_NOT_NOW = frozenset(
    {
        "ConditionalRequestConflict",  # two writers of one object at the same moment
        "RequestThrottled",
        "RequestTimeout",
        "Throttling",
        "ThrottlingException",
    }
)
_CREDENTIALS_FIX = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) wherever a worker runs; "
    "docs/storage.md has the other ways."
)


class S3Store:
    """One S3 endpoint."""

    def __init__(self, beam_options: Sequence[str]) -> None:
        self._client = _client(beam_options)

    def find(self, uri: str) -> FoundFile:
        """One file's size and version."""
        bucket, key = _split(uri)
        if not key:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
        try:
            head = self._call("head_object", uri, Bucket=bucket, Key=key)
        except PermissionError:
            # An answer to HEAD has no body, hence no word on why: ask again in a way that has one.
            self._call("get_object", uri, Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].close()
            raise
        return FoundFile(last_part(uri), uri, head["ContentLength"], _version(head))

    def is_folder(self, uri: str) -> bool:
        """Whether keys start with `uri/`; a bucket always is one."""
        bucket, prefix = _split(uri.rstrip("/") + "/")
        found = self._call("list_objects_v2", uri, Bucket=bucket, Prefix=prefix, MaxKeys=1)
        return bool(found.get("Contents")) or not prefix

    def page(self, folder: str, token: str | None, *, is_recursive: bool) -> Page:
        """Up to 1,000 keys below a folder."""
        bucket, prefix = _split(folder.rstrip("/") + "/")
        request = {"Bucket": bucket, "Prefix": prefix}
        if token:
            request["ContinuationToken"] = token
        if not is_recursive:
            request["Delimiter"] = "/"
        answer = self._call("list_objects_v2", folder, **request)
        return Page(
            tuple(
                FoundFile(
                    content["Key"][len(prefix) :],
                    f"s3://{bucket}/{content['Key']}",
                    content["Size"],
                    _version(content),
                )
                for content in answer.get("Contents", ())
                # Consoles make an empty object with this name to show a folder.
                if not content["Key"].endswith("/")
            ),
            tuple(
                f"s3://{bucket}/{common['Prefix'].rstrip('/')}"
                for common in answer.get("CommonPrefixes", ())
            ),
            answer.get("NextContinuationToken"),
        )

    def read(self, uri: str, start: int, length: int) -> bytes:
        """Bytes from `start`, fewer at the end."""
        bucket, key = _split(uri)
        wanted = f"bytes={start}-{start + length - 1}"
        try:
            answer = self._call("get_object", uri, Bucket=bucket, Key=key, Range=wanted)
        except _EmptyRangeError:
            return b""
        try:
            with answer["Body"] as body:
                data: bytes = body.read(length)
        except Exception as error:
            raise _explained(error, uri) from error
        if len(data) < min(length, answer["ContentLength"]):
            raise UnreachableError("the answer ended early")
        return data

    def write(self, uri: str, content: bytes | Path, *, is_new: bool) -> None:
        """One object, whose arrival the server checks by its MD5."""
        bucket, key = _split(uri)
        condition = {"IfNoneMatch": "*"} if is_new else {}
        with _opened(content) as body:
            digest = _md5(body)
            self._call(
                "put_object", uri, Bucket=bucket, Key=key, Body=body, ContentMD5=digest, **condition
            )

    def delete(self, uri: str) -> None:
        """One object; S3 itself says nothing of one that is not there."""
        bucket, key = _split(uri)
        self._call("delete_object", uri, Bucket=bucket, Key=key)

    def _call(self, operation: str, uri: str, **request: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**request)
            return answer
        except Exception as error:
            raise _explained(error, uri) from error


class _EmptyRangeError(OSError):
    """The range starts at the end of the file or behind it."""


def _client(beam_options: Sequence[str]) -> Any:
    try:
        import boto3
        import botocore.config
        import botocore.exceptions
    except ImportError:
        raise ConfigError(
            "s3:// needs the package boto3, which is not installed.",
            "pip install 'slimworks[pipeline]'",
        ) from None
    options = s3_options(beam_options)
    config = botocore.config.Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        max_pool_connections=_MAX_CONNECTIONS,
        retries={"total_max_attempts": 1},  # `remote` is patient, within its bounds
    )
    try:
        # The same arguments as in Beam's apache_beam/io/aws/clients/s3/boto3_client.py.
        return boto3.session.Session().client(
            "s3",
            region_name=options.s3_region_name,
            api_version=options.s3_api_version,
            use_ssl=not options.s3_disable_ssl,
            verify=options.s3_verify,
            endpoint_url=options.s3_endpoint_url,
            aws_access_key_id=options.s3_access_key_id,
            aws_secret_access_key=options.s3_secret_access_key,
            aws_session_token=options.s3_session_token,
            config=config,
        )
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise ConfigError(
            f"The S3 client cannot be made: {one_line(error)}.",
            "Correct ~/.aws/config, the AWS_* variables or --s3_* in data.beam_pipeline_args.",
        ) from error


def _split(uri: str) -> tuple[str, str]:
    """Bucket and key of a URI. Nothing is decoded: a key may hold any character."""
    bucket, _, key = uri[len("s3://") :].partition("/")
    return bucket, key


def _opened(content: bytes | Path) -> contextlib.AbstractContextManager[BinaryIO]:
    return io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb")


def _md5(body: BinaryIO) -> str:
    """As the header Content-MD5 has it; `body` stands at its start again."""
    digest = hashlib.md5(usedforsecurity=False)
    while block := body.read(_BLOCK_BYTES):
        digest.update(block)
    body.seek(0)
    return base64.b64encode(digest.digest()).decode()


def _version(facts: dict[str, Any]) -> str:
    """Checksum and time: a gateway to a file system may know one of them only."""
    return f"{facts.get('ETag', '')} {facts['LastModified'].isoformat()}".strip()


def _explained(error: Exception, uri: str) -> Exception:
    """What boto3 raised, in the words of `RemoteStore`."""
    import botocore.exceptions as boto
    import urllib3

    if isinstance(error, boto.ClientError):
        return _explained_answer(error, uri)
    if isinstance(error, boto.SSLError):
        return ConfigError(
            f"{uri}: the server's certificate is not trusted ({one_line(error)}).",
            "Name its authority's file: AWS_CA_BUNDLE=FILE, or --s3_verify=FILE in "
            "data.beam_pipeline_args.",
        )
    unreachable = (
        boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError,
        boto.MetadataRetrievalError, urllib3.exceptions.HTTPError,
    )  # fmt: skip
    if isinstance(error, unreachable):
        return UnreachableError(one_line(error))
    credentials = (
        boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError,
        boto.NoAuthTokenError, boto.TokenRetrievalError, boto.SSOError, boto.LoginError,
    )  # fmt: skip
    if isinstance(error, credentials):
        return ConfigError(
            f"There are no credentials to read {uri} with: {one_line(error)}.", _CREDENTIALS_FIX
        )
    if isinstance(error, boto.ParamValidationError):
        return ConfigError(
            f"{uri} cannot be asked for: {_split(uri)[0]!r} is no name of a bucket.",
            "Correct it: s3://BUCKET/FOLDER/FILE.",
        )
    if isinstance(error, (boto.BotoCoreError, ValueError)):
        return ConfigError(
            f"{uri} cannot be asked for: {one_line(error)}.", "Correct it: s3://BUCKET/FOLDER/FILE."
        )
    return error


def _explained_answer(error: Any, uri: str) -> Exception:
    """What the server's refusal means: for this file, for all, or for now."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = error.response.get("Error", {}).get("Message") or code
    if code in _WRONG_CREDENTIALS:
        return ConfigError(
            f"The server refuses the credentials for {uri}: {code}, {one_line(message)}.",
            _CREDENTIALS_FIX,
        )
    if code == "NoSuchBucket":
        return ConfigError(
            f"{uri}: there is no bucket {_split(uri)[0]!r} on this server.",
            "Correct the name, or give the server: AWS_ENDPOINT_URL=https://HOST",
        )
    if code in _WRONG_REGION or status == 301:
        return ConfigError(
            f"{uri} is in another region: {one_line(message)}.",
            "Set AWS_DEFAULT_REGION, or --s3_region_name=REGION in data.beam_pipeline_args.",
        )
    if code in _NOT_NOW or status == 429 or status >= 500:
        return UnreachableError(f"{status} {code}: {message}")
    if status == 416:
        return _EmptyRangeError()
    if status == 412:
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), uri)
    if status == 404:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    if status == 403:
        return PermissionError(errno.EACCES, f"the server refuses it: {message}", uri)
    return OSError(errno.EIO, f"the server answers {status} {code}: {message}", uri)
