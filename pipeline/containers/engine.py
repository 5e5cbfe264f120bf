"""podman or docker: where it is, which image it has, what killed runs left, and its options.

Every container runs as a user who is not root, without a capability, on a root file system that
it cannot write, and without a network where its step needs none.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import shutil
import subprocess
from pathlib import Path

from slimworks.components.errors import ConfigError
from slimworks.pipeline.containers.ir import Container

UNPRIVILEGED_UID = 10_001  # of the containers where root calls
SCRATCH = "/scratch"  # TMPDIR: on the disk, where /tmp is in memory
_LABEL = "slimworks.pipeline"
_NOT_THERE = ("no such image", "not known", "no such object", "failed to find image")


@dataclasses.dataclass(frozen=True)
class Mount:
    """A folder or file of this machine, and where a container sees it."""

    source: str
    target: str
    is_writable: bool = False

    def option(self) -> str:
        """The value of --mount: CSV, so that a path may hold a comma."""
        fields = ["type=bind", f"source={self.source}", f"target={self.target}"]
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(
            fields if self.is_writable else [*fields, "readonly"]
        )
        return text.getvalue()


@dataclasses.dataclass(frozen=True)
class Engine:
    """podman or docker.

    Attributes:
        program: Its path.
        name: podman or docker.
    """

    program: str
    name: str

    @classmethod
    def find(cls, wanted: str) -> Engine:
        """Finds an engine: podman, docker, or auto.

        Raises:
            ConfigError: It is not installed.
        """
        names = ("podman", "docker") if wanted == "auto" else (wanted,)
        for name in names:
            if program := shutil.which(name):
                return cls(program, name)
        raise ConfigError(
            f"{' or '.join(names)} is not installed: --runner containers needs it.",
            "Install podman (apt-get install podman), or use --runner local.",
        )

    def image_id(self, image: str) -> str:
        """Id of an image, so that a tag that moves changes nothing within a run.

        Raises:
            ConfigError: The image is not on this machine, or the engine does not work.
        """
        found = self.call("image", "inspect", "--format", "{{.Id}}", image)
        if found.returncode == 0:
            return found.stdout.strip().removeprefix("sha256:")
        if any(words in found.stderr.lower() for words in _NOT_THERE):
            raise ConfigError(
                f"The container image {image} is not on this machine.",
                f"Build it (make images), fetch it ({self.name} pull {image}) or name another: "
                "--image REF",
            )
        lines = found.stderr.strip().splitlines() or ["no message"]
        raise ConfigError(
            f"{self.name} does not work: {lines[-1]}",
            f"Mend what `{self.name} info` shows, or use --runner local.",
        )

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the engine."""
        return subprocess.run([self.program, *arguments], capture_output=True, text=True)

    def remove_leftovers(self, pipeline: str) -> int:
        """Removes the containers of killed runs of a pipeline; returns how many there were."""
        listed = self.call("ps", "--all", "--quiet", "--filter", f"label={_LABEL}={pipeline}")
        ids = listed.stdout.split()
        if ids:
            self.call("rm", "--force", *ids)
        return len(ids)

    def command(
        self,
        name: str,
        pipeline: str,
        image_id: str,
        container: Container,
        mounts: list[Mount],
        network: str,
        inherited: list[str],
    ) -> list[str]:
        """The command line that runs a container and waits for it.

        Args:
            name: Of the container.
            pipeline: See `remove_leftovers`.
            image_id: In place of the container's image.
            container: Placeholders filled.
            mounts: What it sees of this machine.
            network: `none`, a network's name, or empty: the engine's own.
            inherited: Variables of this process that it gets; their values stay off the command
                line.
        """
        options = [
            "--name", name, "--label", f"{_LABEL}={pipeline}", "--rm", "--pull", "never",
            "--log-driver", "none", "--no-healthcheck", "--read-only", "--tmpfs", "/tmp",
            "--workdir", SCRATCH, "--cap-drop", "all", "--security-opt", "no-new-privileges",
            "--security-opt", "label=disable",  # SELinux would relabel the user's photos
            *self._user_options(),
        ]  # fmt: skip
        if network:
            options += ["--network", network]
        for mount in mounts:
            options += ["--mount", mount.option()]
        options += self._limits(container)
        for key, value in container.environment.items():
            options += ["--env", f"{key}={value}"]
        for key in inherited:
            options += ["--env", key]
        first, *rest = container.command
        return [self.program, "run", *options, "--entrypoint", first, image_id, *rest,
                *container.args]  # fmt: skip

    def _user_options(self) -> list[str]:
        uid, gid = container_user()
        is_rootless = self.name == "podman" and os.geteuid() != 0
        # Without it, the caller's files would be root's in the container.
        return [*(["--userns", "keep-id"] if is_rootless else []), "--user", f"{uid}:{gid}"]

    def _limits(self, container: Container) -> list[str]:
        limits: list[str] = []
        if container.cpus is not None:
            limits += ["--cpus", f"{container.cpus:g}"]
        if container.memory_bytes is not None:
            limits += ["--memory", str(container.memory_bytes)]
        if container.gpus:
            podman = ["--device", "nvidia.com/gpu=all"]
            limits += podman if self.name == "podman" else ["--gpus", str(container.gpus)]
        return limits


def container_user() -> tuple[int, int]:
    """(uid, gid) of the processes in containers: the caller's; for root an unprivileged one."""
    uid = os.geteuid()
    return (uid, os.getegid()) if uid != 0 else (UNPRIVILEGED_UID, 0)


def lend(folder: Path) -> None:
    """Gives a folder, and what is in it, to the containers' user, where root calls."""
    if os.geteuid() == 0:
        _chown(folder, *container_user())


def take_back(folder: Path) -> None:
    """Makes a folder, and what is in it, the caller's again."""
    if os.geteuid() == 0:
        _chown(folder, 0, 0)


def _chown(folder: Path, uid: int, gid: int) -> None:
    for parent, _, names in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            os.chown(path, uid, gid, follow_symlinks=False)
