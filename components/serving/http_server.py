"""HTTP/1.1 in front of `Rest`: one event loop for connections, a pool of threads for answers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import threading
import zlib
from collections.abc import Callable

from tornado import httputil, iostream
from tornado.http1connection import HTTP1ServerConnection
from tornado.httpserver import HTTPServer

from slimworks.components.serving.request_errors import Code
from slimworks.components.serving.rest import Answer, Rest, refusal

_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
}
# tornado keeps a header out of its own limits; the body counts separately.
_MAX_HEADER_BYTES = 64 << 10
# A packed body may unpack to so much, or to so many times its size: digits pack a hundredfold.
_MAX_FREELY_UNPACKED_BYTES = 64 << 20
_MAX_UNPACKING_RATIO = 100
_QUIET_SECONDS = 0.2  # without a request, while draining: then the kept connections are idle ones

_logger = logging.getLogger(__name__)
# tornado logs each request that is not HTTP as if it were ours to mend.
logging.getLogger("tornado.general").setLevel(logging.ERROR)


class RestServer:
    """Listens, reads requests, and has them answered by a pool of threads.

    Args:
        rest: What answers.
        listener: A listening socket; it is closed with the server.
        num_threads: Requests worked on at once.
        max_waiting: Requests that may wait for a thread; more get RESOURCE_EXHAUSTED.
        timeout_seconds: For an answer; then the client gets DEADLINE_EXCEEDED.
        max_body_bytes: Larger requests are refused, also when they unpack to more.
        has_cors: Whether scripts of other origins may ask.
    """

    def __init__(
        self,
        rest: Rest,
        listener: socket.socket,
        *,
        num_threads: int,
        max_waiting: int,
        timeout_seconds: float,
        max_body_bytes: int,
        has_cors: bool = False,
    ) -> None:
        self.rest = rest
        self.max_body_bytes = max_body_bytes
        self.has_cors = has_cors
        self._timeout_seconds = timeout_seconds
        self._most_running = num_threads + max_waiting
        self._num_running = 0  # of the event loop's thread only
        self._num_answering = 0  # likewise; from a whole request until its answer is handed over
        self._num_writing = 0  # likewise; answers on their way
        self._last_request = 0.0  # likewise
        self._lines: set[object] = set()  # likewise; connections that have asked something
        self.is_draining = False  # likewise
        self._pool = concurrent.futures.ThreadPoolExecutor(num_threads, thread_name_prefix="rest")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(listener,), name="rest")
        self._is_up = threading.Event()

    def start(self) -> None:
        """Answers from now on."""
        self._thread.start()
        self._is_up.wait()

    def stop(self, drain_seconds: float) -> None:
        """Takes no new connections, lets running requests end, then closes all."""
        stopping = asyncio.run_coroutine_threadsafe(self._stop(drain_seconds), self._loop)
        stopping.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def answered(self, method: str, path: str, body: bytes) -> Answer:
        """Has a request answered by the pool, within the limits of load and time."""
        if self._num_running >= self._most_running:
            return refusal(
                Code.RESOURCE_EXHAUSTED,
                f"{self._num_running} requests are running or waiting, the limit of this server.",
            )
        self._num_running += 1
        answering = self._loop.run_in_executor(self._pool, self.rest.answer, method, path, body)
        answering.add_done_callback(self._ended)
        try:
            return await asyncio.wait_for(asyncio.shield(answering), self._timeout_seconds)
        except asyncio.TimeoutError:
            return refusal(
                Code.DEADLINE_EXCEEDED,
                f"No answer within {self._timeout_seconds:g} s (--rest_api_timeout_in_ms).",
            )

    def arrived(self, line: object) -> None:
        """Notes that a request begins on a connection."""
        self._lines.add(line)
        self._last_request = self._loop.time()

    def gone(self, line: object) -> None:
        """Notes that a connection is closed."""
        self._lines.discard(line)

    def answering(self, answer: asyncio.Task[None]) -> None:
        """Notes that a request is being answered."""
        self._num_answering += 1
        answer.add_done_callback(self._answered)

    def _answered(self, _answer: asyncio.Task[None]) -> None:
        self._num_answering -= 1

    def writing(self, written: asyncio.Future[None]) -> None:
        """Notes that an answer is on its way."""
        self._num_writing += 1
        written.add_done_callback(self._written)

    def _written(self, _written: asyncio.Future[None]) -> None:
        self._num_writing -= 1

    def _ended(self, _answering: asyncio.Future[Answer]) -> None:
        self._num_running -= 1

    def _run(self, listener: socket.socket) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = HTTPServer(
            _Connections(self), max_body_size=self.max_body_bytes, max_header_size=_MAX_HEADER_BYTES
        )  # fmt: skip
        self._server.add_sockets([listener])
        self._loop.call_soon(self._is_up.set)
        self._loop.run_forever()
        self._loop.close()

    async def _stop(self, drain_seconds: float) -> None:
        self._server.stop()
        self.is_draining = True
        self._last_request = self._loop.time()
        deadline = self._last_request + drain_seconds
        while self._is_busy() and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        if self._num_running:
            _logger.warning("%d REST requests are cut off", self._num_running)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._server.close_all_connections(), 1.0)

    def _is_busy(self) -> bool:
        """Whether requests are running, or may be on their way on connections that are kept."""
        is_quiet = self._loop.time() - self._last_request > _QUIET_SECONDS
        num_open = self._num_running + self._num_answering + self._num_writing
        return bool(num_open or (self._lines and not is_quiet))


class _Connections(httputil.HTTPServerConnectionDelegate):
    def __init__(self, server: RestServer) -> None:
        self._server = server

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        assert isinstance(server_conn, HTTP1ServerConnection)
        return _Request(self._server, server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        self._server.gone(server_conn)


class _Request(httputil.HTTPMessageDelegate):
    """Collects one request and writes its answer."""

    def __init__(
        self,
        server: RestServer,
        line: HTTP1ServerConnection,
        connection: httputil.HTTPConnection,
    ) -> None:
        self._server = server
        self._line = line
        self._connection = connection
        self._chunks: list[bytes] = []
        self._num_bytes = 0
        self._num_packed_bytes = 0
        self._unpack: Callable[[bytes], bytes] | None = None
        self._is_answered = False

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> None:
        assert isinstance(start_line, httputil.RequestStartLine)
        self._server.arrived(self._line)
        self._method = start_line.method
        self._path = start_line.path.partition("?")[0]
        if headers.get("Content-Encoding", "").lower() == "gzip":
            self._unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
            self._unpack = lambda chunk: self._unpacker.decompress(
                chunk, self._server.max_body_bytes + 1 - self._num_bytes
            )
        length = headers.get("Content-Length", "0")
        if length.isdecimal() and int(length) > self._server.max_body_bytes:
            self._refuse_size(int(length))

    def data_received(self, chunk: bytes) -> None:
        if self._is_answered:
            return
        if self._unpack:
            self._num_packed_bytes += len(chunk)
            try:
                chunk = self._unpack(chunk)
            except zlib.error as error:
                self._write(refusal(Code.INVALID_ARGUMENT, f"The body is no gzip data: {error}"))
                return
            if self._unpacker.unused_data:  # zlib would keep more of it, and copy it each time
                message = "The body is no gzip data: it goes on after its end"
                self._write(refusal(Code.INVALID_ARGUMENT, message))
                return
        self._num_bytes += len(chunk)
        if self._num_bytes > self._server.max_body_bytes:
            self._refuse_size(self._num_bytes)
            return
        if self._unpack and self._num_bytes > max(
            _MAX_FREELY_UNPACKED_BYTES, _MAX_UNPACKING_RATIO * self._num_packed_bytes
        ):
            self._refuse_ratio()
            return
        self._chunks.append(chunk)

    def finish(self) -> None:
        if self._is_answered:
            return
        if self._unpack and not self._unpacker.eof:
            self._write(refusal(Code.INVALID_ARGUMENT, "The body is no gzip data: it ends early"))
            return
        if self._method == "OPTIONS" and self._server.has_cors:
            self._write(Answer(200, b""))
            return
        self._task = asyncio.get_running_loop().create_task(self._answer())
        self._server.answering(self._task)

    def on_connection_close(self) -> None:
        self._is_answered = True  # nobody is left to read it

    async def _answer(self) -> None:
        answer = await self._server.answered(self._method, self._path, b"".join(self._chunks))
        self._chunks.clear()
        if not self._is_answered:
            self._write(answer)

    def _refuse_size(self, num_bytes: int) -> None:
        self._write(
            refusal(
                Code.RESOURCE_EXHAUSTED,
                f"Received message larger than max ({num_bytes} vs. "
                f"{self._server.max_body_bytes} bytes, --max_message_bytes)",
            )
        )

    def _refuse_ratio(self) -> None:
        self._write(
            refusal(
                Code.RESOURCE_EXHAUSTED,
                f"The packed body unpacks to more than {_MAX_UNPACKING_RATIO} times its size. "
                "Send it unpacked.",
            )
        )

    def _write(self, answer: Answer) -> None:
        self._is_answered = True
        self._chunks.clear()
        headers = httputil.HTTPHeaders(
            {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body))}
        )
        headers.update(answer.headers)
        if self._server.has_cors:
            headers.update(_CORS_HEADERS)
        if self._server.is_draining:
            headers["Connection"] = "close"
        reason = httputil.responses.get(answer.status, "Unknown")
        line = httputil.ResponseStartLine("HTTP/1.1", answer.status, reason)
        written = self._connection.write_headers(line, headers, answer.body)
        self._server.writing(written)
        written.add_done_callback(_forget_closed)
        self._connection.finish()
        if self._server.is_draining:  # the next request goes to another server
            written.add_done_callback(lambda _: self._line.stream.close())


def _forget_closed(written: asyncio.Future[None]) -> None:
    """A client that went away before its answer is no error of ours."""
    if not written.cancelled() and not isinstance(written.exception(), iostream.StreamClosedError):
        written.result()
