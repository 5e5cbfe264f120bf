"""Opening the user's manifests and archives: what the system refuses is named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

from slimworks.components.errors import DataError
from slimworks.components.ingest.sources.items import SourceUnit, display_name, quoted_name
from slimworks.components.ingest.storage import access


def unreadable(path: str, error: OSError) -> DataError:
    """Error for a folder or file that the system does not let us read."""
    shown = display_name(path)
    return DataError(
        f"{shown} cannot be read: {error.strerror or error}.",
        f"Make it readable: chmod u+rx {quoted_name(path)}"
        if isinstance(error, PermissionError)
        else "Check the disk or the network share that it is on, then run again.",
    )


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Opens a file for the time of the block.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with access.open_binary(path) as stream:
            yield stream
    except OSError as error:
        raise unreadable(path, error) from error


def unit_of_file(path: str) -> SourceUnit:
    """Unit of a file that is no image: a manifest, an archive.

    Raises:
        DataError: It cannot be looked at.
    """
    try:
        found = access.describe_file(path)
    except OSError as error:
        raise unreadable(path, error) from error
    return SourceUnit(path, found.size, found.version)
