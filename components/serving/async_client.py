"""The client for programs with an event loop: `client.Client`, awaited."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
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
from slimworks.components.serving.client_errors import explained
from slimworks.components.serving.image_sources import MAX_IMAGE_BYTES, ImageSource
from slimworks.components.serving.model_requests import (
    IMAGES_PER_REQUEST,
    BaseClient,
    Call,
    Conversation,
    Result,
)


class AsyncClient(BaseClient):
    """Asks one model on one TF Serving-compatible server, from one event loop.

    Arguments, results and errors are those of `client.Client`. Files are read, images converted
    and addresses fetched in threads, so that the loop goes on meanwhile.
    """

    def _start(self) -> None:
        self._channel: grpc.aio.Channel | None = None  # gRPC ties it to the running loop

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; the next call would open it again."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def predict_bytes(
        self, images: Sequence[bytes], *, top_k: int | None = None
    ) -> list[Prediction]:
        """Classifies encoded images in one request; see `client.Client.predict_bytes`."""
        if not images:
            return []
        encoded = await asyncio.to_thread(model_requests.servable, images)
        predictions = await self._run(model_requests.predict_call(self._target, encoded))
        return [prediction.top(top_k) for prediction in predictions]

    async def predict_files(
        self, paths: Sequence[str | os.PathLike[str]], *, top_k: int | None = None
    ) -> list[Prediction]:
        """Classifies image files; see `client.Client.predict_files`."""
        files = (image_sources.ImageFile(path) for path in paths)
        return [found(answer) async for answer in self.predict_each(files, top_k=top_k)]

    async def predict_urls(
        self, urls: Sequence[str], *, top_k: int | None = None
    ) -> list[Prediction]:
        """Classifies images on the web; see `client.Client.predict_urls`."""
        images = (image_sources.ImageUrl(url) for url in urls)
        return [found(answer) async for answer in self.predict_each(images, top_k=top_k)]

    async def predict_each(
        self,
        images: Iterable[ImageSource],
        *,
        top_k: int | None = None,
        batch_size: int = IMAGES_PER_REQUEST,
        concurrency: int = 1,
        max_image_bytes: int = MAX_IMAGE_BYTES,
    ) -> AsyncIterator[Answer]:
        """Classifies any number of images, in order; see `client.Client.predict_each`."""
        pending: deque[asyncio.Task[list[Answer]]] = deque()
        try:
            for batch in image_sources.batches(images, batch_size):
                pending.append(asyncio.create_task(self._answers(batch, top_k, max_image_bytes)))
                if len(pending) >= concurrency:
                    for answer in await pending.popleft():
                        yield answer
            while pending:
                for answer in await pending.popleft():
                    yield answer
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def embed_bytes(self, images: Sequence[bytes]) -> list[tuple[float, ...]]:
        """The network's features of encoded images; see `client.Client.embed_bytes`."""
        if not images:
            return []
        encoded = await asyncio.to_thread(model_requests.servable, images)
        return await self._run(model_requests.embed_call(self._target, encoded))

    async def status(self) -> list[VersionStatus]:
        """States of the model's versions, newest first."""
        return await self._run(model_requests.status_call(self._target))

    async def metadata(self) -> ModelMetadata:
        """The model's version and signatures."""
        return await self._run(model_requests.metadata_call(self._target))

    async def _answers(
        self, batch: deque[ImageSource], top_k: int | None, max_image_bytes: int
    ) -> list[Answer]:
        answers: list[Answer] = []
        while batch:
            images = await asyncio.to_thread(image_sources.load, batch, max_image_bytes)
            answers += await self._held(model_requests.answering(self._target, images))
        return [answer.top(top_k) for answer in answers]

    async def _held(self, conversation: Conversation[Result]) -> Result:
        try:
            call = next(conversation)
            while True:
                try:
                    predictions = await self._run(call)
                except SlimWorksError as error:
                    call = conversation.throw(error)
                else:
                    call = conversation.send(predictions)
        except StopIteration as end:
            result: Result = end.value
            return result

    async def _run(self, call: Call[Result]) -> Result:
        attempts = self._attempts()
        while True:
            try:
                return call.read(await self._sent(call, attempts.remaining_seconds()))
            except grpc.RpcError as error:
                pause = attempts.pause_seconds(error.code())
                if pause is None:
                    raise explained(self._target, error) from error
                await asyncio.sleep(pause)

    async def _sent(self, call: Call[Result], timeout_seconds: float) -> object:
        if self._channel is None:
            self._channel = self._target.open_async()
        method = self._channel.unary_unary(
            f"/tensorflow.serving.{call.method}",
            request_serializer=call.serialize,
            response_deserializer=call.response_class.FromString,
        )
        return await method(call.request, timeout=timeout_seconds)
