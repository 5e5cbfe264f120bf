"""What a model was made from, and what it became, as one list from the photos to the version."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from slimworks.components.report import wording

_SHOWN_OF_A_DIGEST = 16


@dataclasses.dataclass(frozen=True)
class Ancestor:
    """One thing in the line: what it is, its figures, its digest, where it lies."""

    what: str
    facts: str
    digest: str = ""
    place: str = ""


def lineage(manifest: Mapping[str, Any] | None, pushed: Mapping[str, Any] | None) -> list[Ancestor]:
    """The line of a model, oldest first; empty where the run trained nothing.

    Args:
        manifest: Content of the run's manifest.json.
        pushed: {"version", "base_path", "pushed_to"} when a version was pushed.
    """
    if not manifest or "result" not in manifest:
        return []
    source = manifest.get("source") or {}
    found = [
        _photos(source),
        _examples(manifest, source),
        *_start(manifest),
        *_code(manifest),
        _model(manifest),
    ]
    if pushed is not None:
        place = str(pushed.get("pushed_to") or "")
        found.append(Ancestor("Version", str(pushed["version"]), place=place))
    return found


def short(digest: Any) -> str:
    """The first digits of a digest: enough to tell two apart."""
    return str(digest or "")[:_SHOWN_OF_A_DIGEST]


def _photos(source: Mapping[str, Any]) -> Ancestor:
    number = source.get("num_images")
    facts = "" if number is None else f"{wording.count(number)} images, span {source.get('span')}"
    place, digest = str(source.get("source") or ""), short(source.get("source_digest"))
    return Ancestor("Photos", facts, digest, place)


def _examples(manifest: Mapping[str, Any], source: Mapping[str, Any]) -> Ancestor:
    by_split = source.get("images_by_split") or {}
    facts = ", ".join(f"{split} {wording.count(number)}" for split, number in by_split.items())
    if source.get("label_map_version") is not None:
        facts += f"; label map version {source['label_map_version']}"
    digest = short((manifest.get("data") or {}).get("stored_examples_digest"))
    return Ancestor("Examples", facts.lstrip("; "), digest, str(source.get("examples") or ""))


def _start(manifest: Mapping[str, Any]) -> list[Ancestor]:
    checkpoint = manifest.get("checkpoint") or {}
    if not checkpoint.get("path"):
        return [Ancestor("Starting weights", "drawn anew, from the seed")]
    digest = short(checkpoint.get("weights_digest"))
    return [Ancestor("Starting weights", "a checkpoint", digest, str(checkpoint["path"]))]


def _code(manifest: Mapping[str, Any]) -> list[Ancestor]:
    code = manifest.get("code") or {}
    if not code:
        return []
    git = code.get("git") or {}
    commit = f", commit {short(git.get('commit'))}" if git else ""
    changed = ", with changes that are not committed" if git.get("is_changed") else ""
    facts = f"SlimWorks {code.get('version', '?')}{commit}{changed}"
    return [Ancestor("Code", facts, short(code.get("digest")))]


def _model(manifest: Mapping[str, Any]) -> Ancestor:
    result = manifest["result"]
    return Ancestor(
        "Model", "", short(result.get("weights_digest")), str(manifest.get("model") or "")
    )
