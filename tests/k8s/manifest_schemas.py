"""Strict schemas: Kubernetes' own from `make engines`, three custom resources from schemas/."""

from __future__ import annotations

import functools
import json
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from manifest_rendering import ROOT, Manifest, title
from referencing import Registry, Resource

SCHEMAS = ROOT / ".engines/kubernetes-schemas-1.37.0"
# The oldest that has every field used here without a feature gate, and the newest known.
VERSIONS = ("1.31", "1.37")
_CUSTOM = ROOT / "tests/k8s/schemas"


def schema_errors(manifest: Manifest, version: str) -> list[str]:
    """What a Kubernetes of that version would not take.

    Args:
        manifest: Any kind.
        version: Such as "1.31".
    """
    validator = _validator(manifest["apiVersion"], manifest["kind"], version)
    if validator is None:
        return [f"{title(manifest)}: no schema of {manifest['apiVersion']} {manifest['kind']}"]
    errors = sorted(validator.iter_errors(manifest), key=lambda error: list(map(str, error.path)))
    return [
        f"{title(manifest)}: {'.'.join(map(str, error.path)) or '(top)'}: {error.message}"
        for error in errors
    ]


@functools.cache
def _validator(api_version: str, kind: str, version: str) -> Any:
    folder = SCHEMAS / f"v{version}.0-local-strict"
    group, _, number = api_version.rpartition("/")
    # The files' names: deployment-apps-v1, networkpolicy-networking-v1, service-v1.
    name = "-".join(part for part in (kind.lower(), group.partition(".")[0], number) if part)
    custom, own = _CUSTOM / f"{name}.yaml", folder / f"{name}.json"
    if custom.exists():
        schema = yaml.safe_load(custom.read_text(encoding="utf-8"))
    elif own.exists():
        schema = json.loads(own.read_bytes())
    else:
        return None
    registry: Any = Registry().with_resources([_definitions(version)])
    return Draft202012Validator(schema, registry=registry)


@functools.cache
def _definitions(version: str) -> Any:
    content = json.loads((SCHEMAS / f"v{version}.0-local-strict/_definitions.json").read_bytes())
    return content["$id"], Resource.from_contents(content)
