"""Options that name a model on a server and say how to reach it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from slimworks.components.serving.client import Client

_OPTIONS = (
    click.option(
        "--server", "address", default="127.0.0.1:8500", show_default=True, metavar="HOST:PORT",
        help="The server's gRPC address.",
    ),
    click.option("--model-name", default="default", show_default=True, help="Served model."),
    click.option("--version", type=int, help="Model version; default: the newest loaded."),
    click.option("--label", help="Version label in place of a version: stable, canary."),
    click.option(
        "--deadline", "--timeout", "timeout_seconds", type=click.FloatRange(min=0, min_open=True),
        default=10.0, show_default=True, help="Seconds for a request, its retries included.",
    ),
    click.option(
        "--retries", "num_retries", type=click.IntRange(min=0), default=3, show_default=True,
        help="How often a request is sent again that found the server unavailable.",
    ),
    click.option("--tls", "is_tls", is_flag=True, help="Encrypt; the options below imply it."),
    click.option("--ca", metavar="PEM", help="Who vouches for the server, where no public one."),
    click.option("--cert", metavar="PEM", help="Our certificate, where the server asks for one."),
    click.option("--key", metavar="PEM", help="The key of --cert."),
    click.option("--server-name", help="Name in the server's certificate, if not its address."),
)  # fmt: skip
_NAMES = (
    "address", "model_name", "version", "label", "timeout_seconds", "num_retries", "is_tls", "ca",
    "cert", "key", "server_name",
)  # fmt: skip


def connection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the function gets `connect`, which gives the client that they describe."""

    @functools.wraps(function)
    def connecting(**values: Any) -> Any:
        named = {name: values.pop(name) for name in _NAMES}
        return function(connect=functools.partial(_client, **named), **values)

    for option in reversed(_OPTIONS):
        connecting = option(connecting)
    return connecting


def _client(
    *,
    is_tls: bool,
    ca: str | None,
    cert: str | None,
    key: str | None,
    server_name: str | None,
    **target: Any,
) -> Client:
    from slimworks.components.serving.client import Client, Tls

    encrypts = is_tls or any((ca, cert, key, server_name))
    return Client(**target, tls=Tls.read(ca, cert, key, server_name) if encrypts else None)
