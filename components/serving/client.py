"""Clients of TensorFlow Serving that need grpcio and protobuf, not TensorFlow.

Start-up matters here (`slimworks predict`): nothing else is imported at module level.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import grpc

from slimworks.components.errors import SlimWorksError
from slimworks.components.serving import image_sources, model_requests
from slimworks.components.serving.answers import (
    Answer,
    ModelMetadata,
    Prediction,
    VersionStatus,
    found,
)
from slimworks.components.serving.async_client import AsyncClient as AsyncClient
from slimworks.components.serving.channels import Tls as Tls
from slimworks.components.serving.client_errors import RequestRefusedError as RequestRefusedError
from slimworks.components.serving.client_errors import explained
from slimworks.components.serving.image_sources import MAX_IMAGE_BYTES, ImageSource
from slimworks.components.serving.model_requests import (
    IMAGES_PER_REQUEST,
    BaseClient,
    Call,
    Conversation,
    Result,
)


class Client(BaseClient):
    """Asks one model on one TF Serving-compatible server; threads may share it.

    `model_requests.BaseClient` describes the arguments.
    """

    def _start(self) -> None:
        self._channel = self._target.open()
        self._is_closed = threading.Event()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls that are under way end with an error."""
        self._is_closed.set()
        self._channel.close()

    def predict_bytes(
        self, images: Sequence[bytes], *, top_k: int | None = None
    ) -> list[Prediction]:
        """Classifies encoded images in one request.

        Args:
            images: Encoded files. JPEG, PNG, GIF and plain BMP go as they are; WebP, TIFF,
                JPEG 2000, PPM and other BMP are sent as PNG.
            top_k: Classes of an answer at most; None: all that the model gives.

        Raises:
            DataError: An image is of no known format.
            ServingError: The server cannot be reached, or does not answer as expected.
        """
        if not images:
            return []
        encoded = model_requests.servable(images)
        predictions = self._run(model_requests.predict_call(self._target, encoded))
        return [prediction.top(top_k) for prediction in predictions]

    def predict_files(
        self, paths: Sequence[str | os.PathLike[str]], *, top_k: int | None = None
    ) -> list[Prediction]:
        """Classifies image files, several to a request.

        Raises:
            DataError: A file cannot be read, or the model refuses it; the file is named.
            ServingError: As for `predict_bytes`.
        """
        files = (image_sources.ImageFile(path) for path in paths)
        return [found(answer) for answer in self.predict_each(files, top_k=top_k)]

    def predict_urls(self, urls: Sequence[str], *, top_k: int | None = None) -> list[Prediction]:
        """Classifies images on the web: `image_urls.fetch` says within which limits.

        Raises:
            DataError: As for `predict_files`.
            ServingError: As for `predict_bytes`.
        """
        images = (image_sources.ImageUrl(url) for url in urls)
        return [found(answer) for answer in self.predict_each(images, top_k=top_k)]

    def predict_each(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int | None = None,
        batch_size: int = IMAGES_PER_REQUEST,
        concurrency: int = 1,
        max_image_bytes: int = MAX_IMAGE_BYTES,
    ) -> Iterator[Answer]:
        """Classifies any number of images, in order, in memory for a few requests.

        Args:
            images: Files, addresses, bytes (`image_sources`), read when their turn comes.
            top_k: Classes of an answer at most; None: all that the model gives.
            batch_size: Images in a request at most.
            concurrency: Requests under way at once.
            max_image_bytes: Larger images are an error of theirs.

        Yields:
            An answer for each image; one that cannot be read, or that the model refuses, has an
            error and costs no other its answer.

        Raises:
            ServingError: As for `predict_bytes`.
        """
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="predict")
        pending: deque[Future[list[Answer]]] = deque()
        try:
            for batch in image_sources.batches(images, batch_size):
                pending.append(pool.submit(self._answers, batch, top_k, max_image_bytes))
                if len(pending) >= concurrency:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            # Not waited for: who is interrupted closes the client, which ends them.
            pool.shutdown(wait=False, cancel_futures=True)

    def embed_bytes(self, images: Sequence[bytes]) -> list[tuple[float, ...]]:
        """The network's features of encoded images, by the signature `embed`, in one request.

        Raises:
            DataError: As for `predict_bytes`.
            ServingError: As for `predict_bytes`; also a model without that signature.
        """
        if not images:
            return []
        encoded = model_requests.servable(images)
        return self._run(model_requests.embed_call(self._target, encoded))

    def status(self) -> list[VersionStatus]:
        """States of the model's versions, newest first."""
        return self._run(model_requests.status_call(self._target))

    def metadata(self) -> ModelMetadata:
        """The model's version and signatures."""
        return self._run(model_requests.metadata_call(self._target))

    def _answers(
        self, batch: deque[ImageSource], top_k: int | None, max_image_bytes: int
    ) -> list[Answer]:
        answers: list[Answer] = []
        while batch:
            images = image_sources.load(batch, max_image_bytes)
            answers += self._held(model_requests.answering(self._target, images))
        return [answer.top(top_k) for answer in answers]

    def _held(self, conversation: Conversation[Result]) -> Result:
        try:
            call = next(conversation)
            while True:
                try:
                    predictions = self._run(call)
                except SlimWorksError as error:
                    call = conversation.throw(error)
                else:
                    call = conversation.send(predictions)
        except StopIteration as end:
            result: Result = end.value
            return result

    def _run(self, call: Call[Result]) -> Result:
        attempts = self._attempts()
        while True:
            try:
                return call.read(self._sent(call, attempts.remaining_seconds()))
            except grpc.RpcError as error:
                pause = attempts.pause_seconds(error.code())
                if pause is None or self._is_closed.wait(pause):
                    raise explained(self._target, error) from error

    def _sent(self, call: Call[Result], timeout_seconds: float) -> object:
        method = self._channel.unary_unary(
            f"/tensorflow.serving.{call.method}",
            request_serializer=call.serialize,
            response_deserializer=call.response_class.FromString,
        )
        return method(call.request, timeout=timeout_seconds)
