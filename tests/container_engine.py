"""podman or docker, for tests that run real containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ENGINE = os.environ.get("ENGINE") or shutil.which("podman") or "docker"


def engine(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the engine's command; `check` fails the test with its messages."""
    done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, timeout=600)
    if check:
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def run(image: str, *command: str, options: tuple[str, ...] = (), check: bool = True) -> str:
    """What a command prints in a new container of the image."""
    return engine(
        "run", "--rm", "--no-healthcheck", "--network=none", *options, "--entrypoint", command[0],
        image, *command[1:],
        check=check,
    ).stdout  # fmt: skip


def inspect(name: str) -> dict[str, Any]:
    """What the engine knows of an image or a container."""
    facts: dict[str, Any] = json.loads(engine("inspect", name).stdout)[0]
    return facts


def build_images(*names: str, **settings: str) -> list[str]:
    """Builds images (`make images` did) and returns what they are called."""
    environment = {"IMAGE_BUILD_OPTIONS": _build_options(), **os.environ, **settings}
    done = subprocess.run(
        ["images/build.sh", *names], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.split()


def _build_options() -> str:
    options = "--network=host"
    return f"{options} --secret=id=ca,src={CERTIFICATES}" if CERTIFICATES.exists() else options


@contextmanager
def started(image: str, *command: str, options: tuple[str, ...] = ()) -> Iterator[str]:
    """A container in the background; its name. It is removed at the end."""
    name = f"slimworks-test-{uuid.uuid4().hex[:10]}"
    engine("run", "--detach", "--name", name, *options, image, *command)
    try:
        yield name
    finally:
        engine("rm", "--force", "--time=0", name)


def logs(name: str) -> str:
    """What a container has written."""
    done = engine("logs", name)
    return done.stdout + done.stderr


def wait_for_text(name: str, text: str, seconds: float = 240.0) -> None:
    """Waits until a container wrote the text."""
    deadline = time.monotonic() + seconds
    while text not in logs(name):
        state = inspect(name)["State"]
        assert state["Running"], f"ended with {state['ExitCode']}:\n{logs(name)}"
        assert time.monotonic() < deadline, f"no {text!r} in:\n{logs(name)}"
        time.sleep(0.2)


def wait_until_healthy(name: str, seconds: float = 120.0) -> None:
    """Waits for a container's health check to pass."""
    deadline = time.monotonic() + seconds
    while engine("healthcheck", "run", name, check=False).returncode != 0:
        assert time.monotonic() < deadline, f"never healthy:\n{logs(name)}"
        time.sleep(0.2)
