"""An image from the web, within limits: size, time, redirects, and nothing that is no image."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from typing import Any

from slimworks import __version__
from slimworks.components.errors import DataError
from slimworks.components.examples import image_formats
from slimworks.components.serving.image_sources import too_large

TIMEOUT_SECONDS = 20.0  # for all of it: a server that drips bytes is not waited for
MAX_REDIRECTS = 5
_CHUNK_BYTES = 64 << 10
_HEADERS = {"User-Agent": f"slimworks/{__version__}", "Accept": "image/*"}


class _FewRedirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS


def fetch(url: str, max_bytes: int, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes:
    """Downloads an image; proxies are taken from the environment, as urllib does.

    Raises:
        DataError: No answer, another status than 200, more than MAX_REDIRECTS redirects, more
            than `max_bytes`, longer than `timeout_seconds`, or not the start of an image.
    """
    expires = time.monotonic() + timeout_seconds
    try:
        request = urllib.request.Request(url, headers=_HEADERS)
        with _opener().open(request, timeout=timeout_seconds) as response:
            return _body(response, url, max_bytes, expires)
    except urllib.error.HTTPError as error:
        error.close()
        status = f"{error.code} {error.reason}".splitlines()[0]
        raise _failed(url, f"the answer is {status}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = str(getattr(error, "reason", None) or error)
        raise _failed(url, reason or type(error).__name__) from error


def _opener() -> urllib.request.OpenerDirector:
    """HTTP and HTTPS only: urllib's usual opener follows a redirect to FTP as well."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        _FewRedirects,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _body(response: Any, url: str, max_bytes: int, expires: float) -> bytes:
    if int(response.headers.get("Content-Length") or 0) > max_bytes:
        raise too_large(url, max_bytes)
    body, is_checked = bytearray(), False
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise too_large(url, max_bytes)
        if time.monotonic() > expires:
            raise TimeoutError("timed out")
        if not is_checked and len(body) >= image_formats.TEXT_BYTES:
            _require_image(bytes(body[: image_formats.TEXT_BYTES]), url, response)
            is_checked = True
    _require_image(bytes(body[: image_formats.TEXT_BYTES]), url, response)
    if response.length:  # what the header promised and nobody sent
        raise http.client.IncompleteRead(b"", response.length)
    return bytes(body)


def _require_image(head: bytes, url: str, response: Any) -> None:
    if image_formats.kind_of(head) in image_formats.READ_FORMATS:
        return
    content_type = response.headers.get("Content-Type") or "something without a type"
    raise DataError(
        f"{url} is not an image that can be read: the answer is {content_type}.",
        "Give the address of a JPEG or PNG file itself, not of a page that shows it.",
    )


def _failed(url: str, reason: str) -> DataError:
    return DataError(
        f"{url} cannot be read: {reason}.", "Check the address, or download the image yourself."
    )
