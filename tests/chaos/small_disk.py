"""A disk that can be full and folders that cannot be written, for root as well."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

LARGE = "3g"
_PAGE_BYTES = 4096


class SmallDisk:
    """A file system in memory, seen by this mount namespace only (`make test-chaos`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._protected: list[Path] = []
        folder.mkdir()
        _run("mount", "-t", "tmpfs", "-o", f"size={LARGE}", "chaos", str(folder))

    def fill(self, free_bytes: int) -> None:
        """Leaves so much room; a write beyond it ends in ENOSPC."""
        used = _used_bytes(self.folder)
        size = used + free_bytes // _PAGE_BYTES * _PAGE_BYTES
        # Whoever writes meanwhile may already use more: then it is full at that.
        while not _succeeds("mount", "-o", f"remount,size={size}", str(self.folder)):
            size += 64 * _PAGE_BYTES

    def protect(self, folder: Path) -> None:
        """Makes a folder read-only for whoever opens something in it from now on (EROFS)."""
        _run("mount", "--bind", str(folder), str(folder))
        _run("mount", "-o", "remount,bind,ro", str(folder))
        self._protected.append(folder)

    def mend(self) -> None:
        """Room for everybody, and every folder can be written."""
        for folder in reversed(self._protected):
            _run("umount", "--lazy", str(folder))
        self._protected.clear()
        _run("mount", "-o", f"remount,size={LARGE}", str(self.folder))

    def close(self) -> None:
        """Takes it away."""
        _run("umount", "--lazy", str(self.folder))


def _used_bytes(folder: Path) -> int:
    facts = os.statvfs(folder)
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr} (see `make test-chaos`)"
