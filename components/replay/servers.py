"""The servers that a replay asks: a process of its own for each model, or one that runs already."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from slimworks.components.replay.config import OWN_MODEL_NAME, ReplaySettings
from slimworks.components.replay.rest import RestClient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slimworks.components.serving.answers import Prediction


GRPC, REST = "grpc", "rest"


class Asking(Protocol):
    """A client of one protocol."""

    def predict_bytes(self, images: Sequence[bytes]) -> list[Prediction]:
        """Classifies encoded images in one request."""


@dataclasses.dataclass(frozen=True)
class Served:
    """A model behind a server.

    Attributes:
        clients: By protocol.
        pid: Of the server, where it is a process of ours.
    """

    clients: Mapping[str, Asking]
    pid: int | None = None

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most that the server's process ever held; None where the system does not say."""
        return None if self.pid is None else peak_memory_bytes(self.pid)


def peak_memory_bytes(pid: int) -> int | None:
    """Peak resident memory of a process, from Linux's VmHWM; None on other systems."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


@contextlib.contextmanager
def own_server(
    saved_model_dir: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    settings: ReplaySettings,
) -> Iterator[Served]:
    """A server process that loaded a model as version 1, by gRPC and REST.

    Args:
        saved_model_dir: The model.
        folder: Where the server's base path is made; on the model's volume links do for copies.
        settings: The timeout.

    Raises:
        ServingError: The server does not start.
    """
    from slimworks.components.serving.client import Client
    from slimworks.components.serving.process import ServerProcess

    timeout = settings.timeout_seconds
    with tempfile.TemporaryDirectory(prefix=".serving-", dir=folder) as base_path:
        shutil.copytree(saved_model_dir, Path(base_path) / "1", copy_function=_link)
        with (
            ServerProcess(base_path, OWN_MODEL_NAME, start_timeout_seconds=timeout) as server,
            Client(server.address, OWN_MODEL_NAME, timeout_seconds=timeout) as grpc,
            RestClient(server.rest_address, OWN_MODEL_NAME, timeout_seconds=timeout) as rest,
        ):
            yield Served({GRPC: grpc, REST: rest}, server.pid)


@contextlib.contextmanager
def running_server(settings: ReplaySettings) -> Iterator[Served]:
    """The server that `serving.replay_server` names, and its REST where that is named too."""
    from slimworks.components.serving.client import Client

    assert settings.server is not None
    name, timeout = settings.model_name, settings.timeout_seconds
    with contextlib.ExitStack() as stack:
        clients: dict[str, Asking] = {
            GRPC: stack.enter_context(Client(settings.server, name, timeout_seconds=timeout))
        }
        if settings.rest_server is not None:
            rest = RestClient(settings.rest_server, name, timeout_seconds=timeout)
            clients[REST] = stack.enter_context(rest)
        yield Served(clients)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another volume, or one without hard links
        shutil.copyfile(source, target)
