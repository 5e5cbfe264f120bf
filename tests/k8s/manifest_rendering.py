"""Manifests of a kustomization, as the cluster would get them."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
KUSTOMIZE = ROOT / ".engines/kustomize-v5.8.1"
OVERLAYS = tuple(sorted(path.parent for path in K8S.glob("overlays/*/kustomization.yaml")))


def render(folder: Path, command: Sequence[str] = (str(KUSTOMIZE), "build")) -> list[Manifest]:
    """Runs kustomize.

    Args:
        folder: Holds a kustomization.yaml.
        command: The program; `kubectl kustomize` does too.

    Raises:
        ValueError: It refuses the folder; with what it says.
    """
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{shlex.join(command)} {folder}: {done.stderr.strip()}")
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def title(manifest: Manifest) -> str:
    """Such as "Deployment/serving"."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    """Those of some kinds."""
    return [manifest for manifest in manifests if manifest["kind"] in kinds]
