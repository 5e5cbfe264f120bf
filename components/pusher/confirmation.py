"""Whether servers have loaded a version, asked of them by GetModelStatus."""

from __future__ import annotations

import dataclasses
import logging
import time

from slimworks.components.errors import ServingError
from slimworks.components.pusher.config import PushConfig
from slimworks.components.serving.answers import VersionStatus
from slimworks.components.serving.client import Client, Tls

_ANSWER_SECONDS = 5.0  # a server that loads answers status requests at once
_PAUSE_SECONDS = 0.2
_AVAILABLE, _END = "AVAILABLE", "END"

_log = logging.getLogger(__name__)


def wait_until_available(config: PushConfig, model_name: str, version: int) -> bool:
    """Waits until each server of `config.server` has loaded a version.

    Args:
        config: Servers, how to reach them, and the time for all of them together.
        model_name: What they call the model.
        version: The version.

    Returns:
        False where a server went on to a newer version without it.

    Raises:
        ServingError: A server could not load it, or time is up.
        ConfigError: As `tls_of`.
    """
    deadline = time.monotonic() + config.confirm_timeout_seconds
    ask = _Asking(model_name, tls_of(config))
    return all(_wait_for(server, ask, version, deadline, config) for server in config.server)


def served_versions(config: PushConfig, model_name: str) -> set[int] | None:
    """Versions that any of the servers holds now; None where one of them does not say."""
    found: set[int] = set()
    ask = _Asking(model_name, tls_of(config))
    for server in config.server:
        try:
            statuses = ask.statuses(server)
        except ServingError as error:
            _log.warning("what %s serves is not known: %s", server, error.cause)
            return None
        found |= {status.version for status in statuses if status.state != _END}
    return found


@dataclasses.dataclass(frozen=True)
class _Asking:
    model_name: str
    tls: Tls | None

    def statuses(self, server: str) -> list[VersionStatus]:
        with Client(
            server, self.model_name, timeout_seconds=_ANSWER_SECONDS, tls=self.tls
        ) as client:
            return client.status()


def tls_of(config: PushConfig) -> Tls | None:
    """How the servers are to be reached; None: not encrypted.

    Raises:
        ConfigError: A file cannot be read.
    """
    if config.server_ca is None:
        return None
    return Tls.read(config.server_ca, config.server_cert, config.server_key)


def _wait_for(server: str, ask: _Asking, version: int, deadline: float, config: PushConfig) -> bool:
    is_first = True
    while True:
        is_loaded, state = _look(server, ask, version)
        if is_loaded is not None:
            return is_loaded
        if time.monotonic() >= deadline:
            raise ServingError(
                f"{server} did not report version {version} of {ask.model_name!r} AVAILABLE "
                f"within {config.confirm_timeout_seconds:g} seconds: {state}.",
                "Look into the server's log, or raise push.confirm_timeout_seconds.",
            )
        if is_first:
            _log.info("waiting for %s to load version %d: %s", server, version, state)
            is_first = False
        time.sleep(_PAUSE_SECONDS)


def _look(server: str, ask: _Asking, version: int) -> tuple[bool | None, str]:
    """Whether the version is loaded (None: not yet), and its state in words."""
    try:
        statuses = ask.statuses(server)
    except ServingError as error:  # not started yet, or it has not seen the model: worth waiting
        return None, error.cause.rstrip(".")
    states = {status.version: status for status in statuses}
    mine = states.get(version)
    if mine is not None and mine.state == _AVAILABLE:
        return True, mine.state
    if mine is not None and mine.state == _END and mine.error_code:
        raise ServingError(
            f"{server} cannot load version {version} of {ask.model_name!r}: {mine.error_message}",
            "Look into the server's log.",
        )
    if any(other > version and states[other].state == _AVAILABLE for other in states):
        return False, "a newer version is loaded"
    return None, f"it is {mine.state}" if mine else "it has not seen the version"
