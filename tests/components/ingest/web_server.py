"""A small web server with byte ranges, which can be told to misbehave."""

import contextlib
import dataclasses
import http.server
import threading
from collections.abc import Iterator


@dataclasses.dataclass
class Site:
    """What a server has, and how it fails.

    Attributes:
        files: Content by path.
        failures: Status codes that the next requests get instead.
        cut_after: Bytes after which each answer breaks off; None for never.
        has_ranges: Whether it can begin in the middle.
        requests: The path and range of each request that came.
    """

    files: dict[str, bytes]
    failures: list[int] = dataclasses.field(default_factory=list)
    cut_after: int | None = None
    has_ranges: bool = True
    failure_body: bytes = b""
    requests: list[tuple[str, str | None]] = dataclasses.field(default_factory=list)
    url: str = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.site.requests.append((self.path, asked))
        content = self.site.files.get(self.path)
        if self.site.failures:
            self._answer(self.site.failures.pop(0), self.site.failure_body)
        elif content is None:
            self._answer(404, self.site.failure_body)
        elif asked and self.site.has_ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(content)) + 1, len(content))
            found = f"bytes {start}-{end - 1}/{len(content)}"
            self._answer(206, content[start:end], ("Content-Range", found))
        else:
            self._answer(200, content)

    def _answer(self, status: int, content: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        cut = self.site.cut_after if status < 300 else None
        self.wfile.write(content[:cut])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextlib.contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serves while the block runs."""
    handler = type("Handler", (_Handler,), {"site": site})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
