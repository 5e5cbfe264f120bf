"""Connections of the clients: options, TLS, and patience with a server that is away for a moment.

Imports grpcio and the standard library only: the command line starts with it.
"""

from __future__ import annotations

import dataclasses
import os
import random
import time
from pathlib import Path
from typing import Any

import grpc

from slimworks.components.errors import ConfigError

FIRST_PAUSE_SECONDS = 0.2  # a batching queue is empty again by then
MAX_PAUSE_SECONDS = 5.0  # a server that is restarted is asked again soon after
_LOCAL = ("127.", "localhost", "[::1]", "unix:")


@dataclasses.dataclass(frozen=True)
class Tls:
    """Encryption of a connection, everything as PEM text.

    Attributes:
        root_certificates: Who may vouch for the server; None: the authorities that gRPC knows.
        certificate_chain: This client's own certificate, for servers that ask for one.
        private_key: Its key.
        server_name: Name that the server's certificate has to bear, where it is not the address.
    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = dataclasses.field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ConfigError(
                "A client's certificate and its key go together; one of them is missing.",
                "Give both --cert and --key, or neither.",
            )

    @classmethod
    def read(
        cls,
        ca: str | os.PathLike[str] | None = None,
        cert: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        server_name: str | None = None,
    ) -> Tls:
        """Reads the PEM files.

        Raises:
            ConfigError: A file cannot be read, or a certificate comes without its key.
        """
        ca_text, cert_text, key_text = (
            None if path is None else _pem(path) for path in (ca, cert, key)
        )
        return cls(ca_text, cert_text, key_text, server_name)


@dataclasses.dataclass(frozen=True)
class Target:
    """A model on a server, and how to ask it: what `client.Client` is made of.

    Attributes:
        address: `host:port` or `unix:/path`.
        model_name: Name that the server gives the model.
        version: Model version; None: the newest loaded one, or the label's.
        label: Version label, such as `stable` or `canary`.
        timeout_seconds: For a call: connection, retries and pauses included.
        num_retries: How often a call is made again that found the server UNAVAILABLE.
        max_answer_bytes: Largest answer accepted.
        tls: None: not encrypted.
    """

    address: str
    model_name: str
    version: int | None
    label: str | None
    timeout_seconds: float
    num_retries: int
    max_answer_bytes: int
    tls: Tls | None

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise ConfigError(
                f"Both a version ({self.version}) and a label ({self.label!r}) are given.",
                "Give --version or --label, not both.",
            )

    def open(self) -> grpc.Channel:
        """A connection for calls that block."""
        return self._opened(grpc)

    def open_async(self) -> grpc.aio.Channel:
        """A connection for the running event loop."""
        return self._opened(grpc.aio)

    def _opened(self, api: Any) -> Any:
        options = self._options()
        if self.tls is None:
            return api.insecure_channel(self.address, options=options)
        credentials = grpc.ssl_channel_credentials(
            self.tls.root_certificates, self.tls.private_key, self.tls.certificate_chain
        )
        return api.secure_channel(self.address, credentials, options=options)

    def _options(self) -> list[tuple[str, int | str]]:
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", self.max_answer_bytes),
            ("grpc.max_send_message_length", -1),
            # Within gRPC's own pause a retry would fail without having asked anybody.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        if self.address.startswith(_LOCAL):
            # gRPC would send even loopback traffic to the proxy named in http_proxy.
            options.append(("grpc.enable_http_proxy", 0))
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options


class Attempts:
    """The tries of one call: how long the next may take, and how long to wait before it.

    Args:
        target: Its time limit and number of retries.
        jitter: Spreads the pauses of clients that lost the same server.
    """

    def __init__(self, target: Target, jitter: random.Random) -> None:
        self._expires = time.monotonic() + target.timeout_seconds
        self._num_retries = target.num_retries
        self._num_failed = 0
        self._jitter = jitter

    def remaining_seconds(self) -> float:
        """Time left for the call; negative once it is over."""
        return self._expires - time.monotonic()

    def pause_seconds(self, code: grpc.StatusCode) -> float | None:
        """Pause before the next try after a failure; None where there is no next one."""
        if code != grpc.StatusCode.UNAVAILABLE or self._num_failed >= self._num_retries:
            return None
        longest = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**self._num_failed)
        self._num_failed += 1
        pause = longest * self._jitter.uniform(0.5, 1.0)
        return pause if pause < self.remaining_seconds() else None


def _pem(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{os.fspath(path)} cannot be read: {error.strerror}.",
            "Give --ca, --cert and --key the names of PEM files.",
        ) from error
