"""Renders kustomizations and holds them to schemas and rules: `make check-k8s`.

python tests/k8s/check_manifests.py [FOLDER ...] [--with "kubectl kustomize"] [--digests]
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from manifest_rendering import KUSTOMIZE, OVERLAYS, Manifest, render
from manifest_rules import problems
from manifest_schemas import VERSIONS, schema_errors
from pod_rules import images_without_digest


def check(manifests: Sequence[Manifest], has_digests: bool = False) -> list[str]:
    """What is wrong with a rendering; nothing where it may go to a cluster.

    Args:
        manifests: From `render`.
        has_digests: Images need a digest; a tag is not enough.
    """
    found = [
        f"Kubernetes {version}: {error}"
        for version in VERSIONS
        for manifest in manifests
        for error in schema_errors(manifest, version)
    ]
    found += problems(manifests)
    if has_digests:
        found += [f"image {image} has no digest" for image in images_without_digest(manifests)]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line a folder, and each problem; returns 1 where there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=OVERLAYS)
    parser.add_argument("--with", dest="command", default=f"{shlex.quote(str(KUSTOMIZE))} build")
    parser.add_argument("--digests", action="store_true", help="images need a digest")
    arguments = parser.parse_args(argv)
    failed = False
    for folder in arguments.folders:
        try:
            manifests = render(folder, shlex.split(arguments.command))
            found = check(manifests, arguments.digests)
        except ValueError as error:
            manifests, found = [], [str(error)]
        print(f"{folder}: {len(manifests)} manifests, {len(found)} problems")
        for problem in found:
            print(f"  {problem}", file=sys.stderr)
        failed = failed or bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
