"""Where a client's images come from: files, addresses on the web, bytes at hand.

An image is read when its turn comes, and what cannot be read is told of that image alone.
"""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

from slimworks.components import files
from slimworks.components.addresses import without_accounts
from slimworks.components.errors import DataError
from slimworks.components.serving import image_bytes
from slimworks.components.terminal_text import shown_line

MAX_IMAGE_BYTES = 64 << 20  # a 100-megapixel camera's JPEG
BYTES_PER_REQUEST = 32 << 20  # 16 camera photos of 2 MB; with it goes the memory of a request


class ImageSource(Protocol):
    """One image that can be read."""

    @property
    def name(self) -> str:
        """What rows and messages call it."""

    def read(self, max_bytes: int) -> bytes:
        """The encoded image.

        Raises:
            DataError: It cannot be read, or has more than `max_bytes`.
        """


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """An image file.

    Attributes:
        path: As it was given.
        may_be_pipe: Whether what is no file is read too, to its end: somebody has named it.
    """

    path: str | os.PathLike[str]
    may_be_pipe: bool = False

    @property
    def name(self) -> str:
        """The path as it was given."""
        return os.fspath(self.path)

    def read(self, max_bytes: int) -> bytes:
        """See `ImageSource.read`."""
        name = shown_line(self.name)
        try:
            if self.may_be_pipe:
                with open(self.path, "rb") as file:
                    return bounded(file, name, max_bytes)
            content = files.read_regular(self.path, max_bytes + 1)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise DataError(
                f"{name} cannot be read: {getattr(error, 'strerror', None) or error}.",
                "Check the path and its permissions.",
            ) from error
        if content is None:
            raise DataError(
                f"{name} cannot be read: it is a folder, a pipe, a socket or a device.",
                "Give files.",
            )
        if len(content) > max_bytes:
            raise too_large(name, max_bytes)
        return content


@dataclasses.dataclass(frozen=True)
class ImageUrl:
    """An image on the web."""

    url: str

    @property
    def name(self) -> str:
        """The address as it was given, without an account."""
        return without_accounts(self.url)

    def read(self, max_bytes: int) -> bytes:
        """See `ImageSource.read`."""
        if self.name != self.url:
            raise DataError(
                f"{self.name} holds an account.",
                "Download the image yourself: no 'user:password@' is sent, or kept.",
            )
        from slimworks.components.serving.image_urls import fetch

        return fetch(self.url, max_bytes)


@dataclasses.dataclass(frozen=True)
class ImageContent:
    """An encoded image that is in memory."""

    name: str
    content: bytes

    def read(self, max_bytes: int) -> bytes:
        """See `ImageSource.read`."""
        if len(self.content) > max_bytes:
            raise too_large(shown_line(self.name), max_bytes)
        return self.content


@dataclasses.dataclass(frozen=True)
class LoadedImage:
    """An image as it is sent, or why it cannot be: exactly one of `content` and `error`."""

    name: str
    content: bytes = b""
    error: DataError | None = None


def source_of(text: str) -> ImageSource:
    """A file, or an address on the web where the text starts with http:// or https://."""
    return ImageUrl(text) if is_url(text) else ImageFile(text)


def is_url(text: str) -> bool:
    """Whether a text is an address on the web rather than a path."""
    return text.lower().startswith(("http://", "https://"))


def batches(sources: Iterable[ImageSource], batch_size: int) -> Iterator[deque[ImageSource]]:
    """Cuts a stream of sources into pieces; takes no more of it than a piece needs."""
    batch: deque[ImageSource] = deque()
    for source in sources:
        batch.append(source)
        if len(batch) == batch_size:
            yield batch
            batch = deque()
    if batch:
        yield batch


def load(sources: deque[ImageSource], max_image_bytes: int) -> list[LoadedImage]:
    """Reads images from the front of `sources`, for one request.

    Stops at BYTES_PER_REQUEST: what is left in `sources` is for the next one.
    """
    images: list[LoadedImage] = []
    num_bytes = 0
    while sources and num_bytes < BYTES_PER_REQUEST:
        source = sources.popleft()
        try:
            content = source.read(max_image_bytes)
            content = image_bytes.servable(content, shown_line(source.name))
        except DataError as error:
            images.append(LoadedImage(source.name, error=error))
        else:
            images.append(LoadedImage(source.name, content))
            num_bytes += len(content)
    return images


def bounded(stream: BinaryIO, name: str, max_bytes: int) -> bytes:
    """All of a stream.

    Raises:
        DataError: It has more than `max_bytes`.
    """
    content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise too_large(name, max_bytes)
    return content


def too_large(name: str, max_bytes: int) -> DataError:
    """The error for an image beyond the limit."""
    return DataError(
        f"{name} has more than {max_bytes} bytes.",
        "Leave it out, or raise --max-image-bytes.",
    )
