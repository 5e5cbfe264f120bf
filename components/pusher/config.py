"""Settings of publishing: the `push` section."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pydantic

from slimworks.components.settings import Settings

_ADDRESS = re.compile(r"unix:.+|(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _checked(address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        raise ValueError(f"{address!r} is no address: write HOST:PORT, the port of gRPC.")
    return address


class PushConfig(Settings):
    """The `push` section of pipeline.yaml."""

    base_path: str | None = pydantic.Field(
        default=None,
        description="Folder that model servers watch, or s3://BUCKET/..., gs://BUCKET/...; null: "
        "`serving` below the run root.",
    )
    keep_versions: int = pydantic.Field(
        default=5,  # a week of daily runs can be undone; a version takes 2 to 600 MB
        ge=1,
        description="Newest versions to keep; the live one, labelled ones and those that a server "
        "of `server` holds are never removed.",
    )
    label: Literal["stable", "canary"] = pydantic.Field(
        default="stable",
        description="Label that the new version gets. A canary becomes stable by `slimworks "
        "promote`.",
    )
    server: Annotated[
        tuple[Annotated[str, pydantic.AfterValidator(_checked)], ...],
        pydantic.BeforeValidator(_listed),
    ] = pydantic.Field(
        default=(),
        description="HOST:PORT (gRPC) of the model servers: each has to report the new version "
        "AVAILABLE before its label moves. Empty: the label moves at once.",
    )
    confirm_timeout_seconds: float = pydantic.Field(
        default=180.0,  # a server polls every second or so; vgg loads and warms up in half a minute
        gt=0,
        description="Time for all servers together to load the version.",
    )
    server_ca: str | None = pydantic.Field(
        default=None,
        description="PEM file of the authority of the servers' certificates: they are asked by "
        "TLS. null: not encrypted.",
    )
    server_cert: str | None = pydantic.Field(
        default=None, description="PEM file of the own certificate, where they ask for one."
    )
    server_key: str | None = pydantic.Field(default=None, description="PEM file of its key.")
    server_base_path: str | None = pydantic.Field(
        default=None,
        description="The model's folder as servers see it, for `.slimworks/models.config`; null: "
        "the same path.",
    )
