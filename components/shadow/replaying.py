"""Sends what a request log holds to two models, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import grpc

from slimworks.components.serving.logged import (
    Answer,
    LogReader,
    answers_of,
    images_of,
    response_answers,
)
from slimworks.components.shadow.sides import METHODS, Side, error_code
from slimworks.components.shadow.tally import CANDIDATE, PRIMARY, Tally

_logger = logging.getLogger(__name__)


def shadow_log(reader: LogReader, candidate: Side, primary: Side | None, tally: Tally) -> None:
    """Asks both models each logged request; which is asked first alternates.

    Args:
        reader: The log.
        candidate: Is compared.
        primary: With this one; None: with the answers in the log.
        tally: Counts.
    """
    is_warm = False
    for number, (kind, log) in enumerate(_comparable(reader, tally)):
        request = getattr(log, kind).request
        if not is_warm:  # the first request of all traces kernels: no user of a server waits
            for server in filter(None, (primary, candidate)):
                _ask(server, "server", kind, request, None)
            is_warm = True
        order: list[tuple[str, Side | None]] = [(PRIMARY, primary), (CANDIDATE, candidate)]
        answers: dict[str, list[Answer] | None] = {PRIMARY: answers_of(log)}
        num_images = len(answers_of(log))
        for name, side in order if number % 2 else reversed(order):
            if side is not None:
                answers[name] = _ask(side, name, kind, request, tally, num_images)
        _count(tally, log, answers)
    tally.add_damaged(reader.num_damaged)


def _comparable(reader: LogReader, tally: Tally) -> Iterator[tuple[str, Any]]:
    for log in reader:
        kind = log.WhichOneof("log_type")
        if kind in METHODS and answers_of(log):
            yield kind, log
        else:
            tally.add_skipped()


def _ask(
    side: Side, name: str, kind: str, request: Any, tally: Tally | None, num_images: int = 0
) -> list[Answer] | None:
    """Answers of one side; None where it failed. Without a tally nothing is counted."""
    copy = type(request)()
    copy.CopyFrom(request)
    try:
        response, seconds = side.ask(kind, copy)
    except grpc.RpcError as error:
        _logger.info("The %s did not answer: %s", name, error_code(error))
        if tally is not None:
            tally.add_error(name, error_code(error), num_images)
        return None
    if tally is not None:
        tally.add_seconds(name, seconds)
    return response_answers(response)


def _count(tally: Tally, log: Any, answers: dict[str, list[Answer] | None]) -> None:
    primary, candidate = answers[PRIMARY], answers[CANDIDATE]
    if candidate is None:
        return  # counted as an error
    if not primary:
        tally.add_skipped()
    else:
        tally.compare(images_of(log), primary, candidate)
