"""Refusals of a request, with TensorFlow Serving's status codes and texts."""

from __future__ import annotations

import enum

# tensorflow::Status texts are cut by TF Serving before they go into HTTP/2 headers.
_MAX_MESSAGE_CHARACTERS = 1_024
_TRUNCATED = "...TRUNCATED"


class Code(enum.IntEnum):
    """Status codes: TensorFlow's and gRPC's are the same numbers."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RequestError(Exception):
    """A request that cannot be answered.

    Attributes:
        code: Status code, as a plain number: an op may fail with any of them.
        message: Text for the client, at most 1,024 characters.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = int(code)
        self.message = truncated(message)


def truncated(message: str) -> str:
    """Cuts a text as TensorFlow Serving does."""
    if len(message) <= _MAX_MESSAGE_CHARACTERS:
        return message
    return message[: _MAX_MESSAGE_CHARACTERS - len(_TRUNCATED)] + _TRUNCATED
