"""Images from a real web server, and what it may do wrong."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from serving_models import png

from slimworks.components.errors import DataError
from slimworks.components.serving.image_urls import fetch

LIMIT = 1 << 20
ADVICE = "Check the address, or download the image yourself."
IMAGE = png("red")


class Site(http.server.BaseHTTPRequestHandler):
    """One path for each way of answering."""

    protocol_version = "HTTP/1.1"
    released = threading.Event()

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        name, _, number = self.path[1:].partition("/")
        getattr(self, f"answer_{name}", self.answer_missing)(number)

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        named = {"Content-Length": str(len(body))} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        for name, value in named.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):  # the client has seen enough
            self.wfile.write(body)

    def answer_image(self, _: str) -> None:
        self.reply(200, IMAGE, Content_Type="image/png")

    def answer_moved(self, number: str) -> None:
        left = int(number) - 1
        self.reply(302, b"", Location=f"/moved/{left}" if left else "/image")

    def answer_elsewhere(self, scheme: str) -> None:
        self.reply(302, b"", Location=f"{scheme}:///etc/hostname")

    def answer_page(self, _: str) -> None:
        self.reply(200, b"<html>" + b" " * 900_000, Content_Type="text/html")

    def answer_missing(self, _: str) -> None:
        self.reply(404, b"no")

    def answer_announced(self, _: str) -> None:
        self.reply(200, IMAGE, Content_Length=str(LIMIT + 1))
        self.close_connection = True

    def answer_unannounced(self, _: str) -> None:
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(IMAGE + b"\0" * (LIMIT + 1))

    def answer_short(self, _: str) -> None:
        self.reply(200, IMAGE, Content_Length=str(len(IMAGE) + 1))
        self.close_connection = True

    def answer_silent(self, _: str) -> None:
        self.close_connection = True
        self.released.wait(60)

    def answer_slowly(self, _: str) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            for _ in range(100):
                if self.released.wait(0.02):
                    break
                self.wfile.write(b"a")

    def answer_dripping(self, _: str) -> None:
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(IMAGE)
            while not self.released.wait(0.02):
                self.wfile.write(b"\0")


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    Site.released.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            Site.released.set()
            server.shutdown()
            serving.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def refusal(url: str, **limits: Any) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        fetch(url, **({"max_bytes": LIMIT} | limits))
    assert caught.value.cause.startswith(url)
    return caught.value.cause.removeprefix(url), caught.value.fix


@pytest.mark.parametrize("path", ["image", "moved/5"])
def test_image_is_fetched_through_a_few_redirects(site: str, path: str) -> None:
    assert fetch(f"{site}/{path}", LIMIT) == IMAGE


def test_redirects_have_a_limit(site: str) -> None:
    cause, fix = refusal(f"{site}/moved/6")
    assert "302 The HTTP server returned a redirect error" in cause
    assert fix == ADVICE


@pytest.mark.parametrize("scheme", ["file", "ftp"])
def test_redirect_to_something_else_than_the_web_is_refused(site: str, scheme: str) -> None:
    cause, _ = refusal(f"{site}/elsewhere/{scheme}")
    assert "not allowed" in cause or "unknown url type: ftp" in cause


@pytest.mark.parametrize("path", ["announced", "unannounced"])
def test_size_has_a_limit(site: str, path: str) -> None:
    assert refusal(f"{site}/{path}") == (
        f" has more than {LIMIT} bytes.",
        "Leave it out, or raise --max-image-bytes.",
    )


@pytest.mark.parametrize("path", ["silent", "slowly", "dripping"])
def test_time_has_a_limit(site: str, path: str) -> None:
    begun = time.monotonic()
    cause, fix = refusal(f"{site}/{path}", timeout_seconds=0.2)
    assert cause == " cannot be read: timed out."
    assert fix == ADVICE
    assert time.monotonic() - begun < 1.5  # the headers alone take two seconds


def test_time_has_a_limit_while_tls_begins() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as line:
                line.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 kB follows
                for _ in range(200):
                    line.sendall(b"\0")
                    time.sleep(0.02)

        listener.settimeout(10)
        dripping = threading.Thread(target=drip)
        dripping.start()
        begun = time.monotonic()
        cause, _ = refusal(f"https://127.0.0.1:{listener.getsockname()[1]}/", timeout_seconds=1)
        seconds = time.monotonic() - begun
        dripping.join()
    assert cause == " cannot be read: timed out."
    assert seconds < 3  # the record takes four at least


def test_page_is_no_image(site: str) -> None:
    assert refusal(f"{site}/page") == (
        " is not an image that can be read: the answer is text/html.",
        "Give the address of a JPEG or PNG file itself, not of a page that shows it.",
    )


def test_status_is_told(site: str) -> None:
    assert refusal(f"{site}/nowhere") == (" cannot be read: the answer is 404 Not Found.", ADVICE)


def test_answer_that_ends_too_early_is_no_image(site: str) -> None:
    cause, _ = refusal(f"{site}/short")
    assert "IncompleteRead" in cause


def test_nobody_there() -> None:
    cause, _ = refusal("http://127.0.0.1:1/cat.jpg")
    assert "Connection refused" in cause


@pytest.mark.parametrize("url", ["http://", "http://[::1/cat.jpg", "http://a b/cat.jpg"])
def test_address_that_is_none(url: str) -> None:
    cause, fix = refusal(url)
    assert cause.startswith(" cannot be read: ")
    assert fix == ADVICE
