"""An image from the web, within limits: size, time, redirects, and nothing that is no image."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from slimworks import __version__
from slimworks.components.errors import DataError
from slimworks.components.examples import image_formats
from slimworks.components.serving.image_sources import too_large

TIMEOUT_SECONDS = 20.0  # from header to end: a server that drips bytes is not waited for
MAX_REDIRECTS = 5
_CHUNK_BYTES = 64 << 10
_HEADERS = {"User-Agent": f"slimworks/{__version__}", "Accept": "image/*"}


class _FewRedirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS


class _Deadline:
    """Cuts connections when the time is over: a socket's own timeout begins again at each byte."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._expires = time.monotonic() + seconds
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for connection in self._sockets:
                connection.close()
            self._sockets.clear()

    def seconds_left(self) -> float:
        """More than 0, which a socket would take for no waiting at all.

        Raises:
            TimeoutError: Nothing is left.
        """
        left = self._expires - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def watch(self, connection: socket.socket) -> None:
        """Cuts this connection in time, whatever is made of it: TLS takes the socket over."""
        with self._lock:
            self._sockets.append(connection.dup())
            if self.is_over:
                self._cut()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
            self._cut()

    def _cut(self) -> None:
        for connection in self._sockets:
            with contextlib.suppress(OSError):  # the other side was quicker
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(http.client.HTTPConnection):
    deadline: _Deadline

    def connect(self) -> None:
        self.timeout = self.deadline.seconds_left()
        super().connect()
        self.deadline.watch(self.sock)


class _SecureConnection(http.client.HTTPSConnection, _Connection):
    """HTTPSConnection itself calls `_Connection.connect`, and shakes hands afterwards."""


class _WatchedHandler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_watched(_Connection, self._deadline), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_watched(_SecureConnection, self._deadline), req)


def _watched(kind: type[_Connection], deadline: _Deadline) -> Any:
    def connection(host: str, **options: Any) -> _Connection:
        made = kind(host, **options)
        made.deadline = deadline
        return made

    return connection


def fetch(url: str, max_bytes: int, timeout_seconds: float = TIMEOUT_SECONDS) -> bytes:
    """Downloads an image; proxies are taken from the environment, as urllib does.

    Raises:
        DataError: No answer, another status than 200, more than MAX_REDIRECTS redirects, more
            than `max_bytes`, longer than `timeout_seconds`, or not the start of an image.
    """
    with _Deadline(timeout_seconds) as deadline:
        try:
            image = _fetched(url, max_bytes, timeout_seconds, deadline)
        except DataError as error:
            if deadline.is_over:
                raise _failed(url, "timed out") from error
            raise
        if deadline.is_over:  # what came may be a part
            raise _failed(url, "timed out")
        return image


def _fetched(url: str, max_bytes: int, timeout_seconds: float, deadline: _Deadline) -> bytes:
    try:
        request = urllib.request.Request(url, headers=_HEADERS)
        with _opener(deadline).open(request, timeout=timeout_seconds) as response:
            return _body(response, url, max_bytes)
    except urllib.error.HTTPError as error:
        error.close()
        status = f"{error.code} {error.reason}".splitlines()[0]
        raise _failed(url, f"the answer is {status}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        is_slow = isinstance(reason, TimeoutError)  # TLS has other words for it
        raise _failed(
            url, "timed out" if is_slow else str(reason) or type(error).__name__
        ) from error


def _opener(deadline: _Deadline) -> urllib.request.OpenerDirector:
    """HTTP and HTTPS only: urllib's usual opener follows a redirect to FTP as well."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _WatchedHandler(deadline),
        _FewRedirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _body(response: Any, url: str, max_bytes: int) -> bytes:
    if int(response.headers.get("Content-Length") or 0) > max_bytes:
        raise too_large(url, max_bytes)
    body, is_checked = bytearray(), False
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise too_large(url, max_bytes)
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
