from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_models import save_color_model, save_example_model
from tried_models import tried

from slimworks.components.serving.client import AsyncClient, Client
from slimworks.components.serving.process import ServerProcess


@pytest.fixture(scope="session")
def color_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_color_model(tmp_path_factory.mktemp("color") / "model")


@pytest.fixture(scope="session")
def blue_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers blue, whatever the image."""
    return save_color_model(tmp_path_factory.mktemp("blue") / "model", favourite=2)


@pytest.fixture(scope="session")
def example_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes tf.Examples."""
    return save_example_model(tmp_path_factory.mktemp("example") / "model")


@pytest.fixture
def base_path(color_model: Path, tmp_path: Path) -> Path:
    """A serving folder with version 1."""
    shutil.copytree(color_model, tmp_path / "base" / "1")
    return tmp_path / "base"


@pytest.fixture(scope="module")
def server(color_model: Path, tmp_path_factory: pytest.TempPathFactory):
    """A running server with version 3 of `colors`."""
    base = tmp_path_factory.mktemp("served")
    shutil.copytree(color_model, base / "3")
    with ServerProcess(base, "colors") as running:
        yield running


@pytest.fixture(scope="session")
def tried_server(
    color_model: Path, blue_model: Path, example_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
):  # fmt: skip
    """A running server with the page to try models."""
    folder = tmp_path_factory.mktemp("tried")
    with tried(folder, color_model, blue_model, example_model) as running:
        yield running


@pytest.fixture(params=["blocking", "asynchronous"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Calls one method of one of the clients, by either; what streams comes as a list."""

    async def asynchronously(address: str, method: str, *arguments: Any, **options: Any) -> Any:
        of_call = options.pop("of_call", {})
        async with AsyncClient(address, options.pop("model", "colors"), **options) as client:
            result = getattr(client, method)(*arguments, **of_call)
            if hasattr(result, "__aiter__"):
                return [answer async for answer in result]
            return await result

    def blocking(address: str, method: str, *arguments: Any, **options: Any) -> Any:
        of_call = options.pop("of_call", {})
        with Client(address, options.pop("model", "colors"), **options) as client:
            result = getattr(client, method)(*arguments, **of_call)
            return list(result) if isinstance(result, Iterator) else result

    if request.param == "blocking":
        return blocking
    return lambda *arguments, **options: asyncio.run(asynchronously(*arguments, **options))
