"""What a version consists of: its files with their digests, kept beside the versions.

`<base_path>/.slimworks/manifests/<version>.json`; servers ignore it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files

MANIFEST_FORMAT = 1
MANIFESTS_FOLDER = "manifests"
SAVED_MODEL_FILE = "saved_model.pb"
# Added by the publisher, hence no part of what makes two models the same.
FACTS_FILE = f"{contracts.EXTRA_ASSETS_FOLDER}/{contracts.PUBLISHED_FACTS_FILE}"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The files of one version.

    Attributes:
        sha256: Hex digest by relative name, "/" between parts.
        num_bytes: Size by relative name.
    """

    sha256: Mapping[str, str]
    num_bytes: Mapping[str, int]

    @property
    def digest(self) -> str:
        """`files.sha256_of_tree` of the model, without what its publisher added."""
        return files.sha256_of_digests(
            {name: digest for name, digest in self.sha256.items() if name != FACTS_FILE}
        )

    def to_json(self, version: int) -> dict[str, Any]:
        """The manifest's file."""
        return {
            "format": MANIFEST_FORMAT,
            "version": version,
            "digest": self.digest,
            "files": {
                name: {"sha256": self.sha256[name], "bytes": self.num_bytes[name]}
                for name in sorted(self.sha256)
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Manifest:
        """Reads what `to_json` wrote."""
        found = value["files"]
        return cls(
            {name: facts["sha256"] for name, facts in found.items()},
            {name: facts["bytes"] for name, facts in found.items()},
        )


def manifest_of(folder: str | os.PathLike[str]) -> Manifest:
    """Reads every file of a version's folder."""
    sha256 = files.sha256_by_name(folder)
    return Manifest(sha256, {name: (Path(folder) / name).stat().st_size for name in sha256})


def digest_of(folder: str | os.PathLike[str]) -> str:
    """What the ledger calls a model's digest, of the files as they are now."""
    return manifest_of(folder).digest


def encoded(value: Mapping[str, Any]) -> bytes:
    """JSON as it stands in the files of `.slimworks/`; ValueError where it holds NaN."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(
        "utf-8", "surrogateescape"
    )
