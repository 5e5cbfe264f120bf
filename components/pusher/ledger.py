"""The promotion ledger: one JSON object a line, appended, never rewritten.

`<base_path>/.slimworks/ledger.jsonl` says which model became which version, when and why.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError

LEDGER_FORMAT = 1

PUSHED, ROLLED_BACK = "pushed", "rolled_back"
RECOVERED = "recovered"  # found on disk without a line: its publisher was killed, or it is foreign
REMOVED = "removed"  # made room for newer versions
EVENTS = (PUSHED, ROLLED_BACK, RECOVERED, REMOVED)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One event of one version.

    Attributes:
        event: "pushed", "rolled_back", "recovered" or "removed".
        version: Version that came or went.
        time: Seconds since the epoch.
        digest: `files.sha256_of_tree` of the version's folder.
        facts: Why the model went into production: run_id, verdict, metrics, ...
        reason: The operator's or SlimWorks' own words.
        from_version: rolled_back: the version that was live.
        to_version: rolled_back: the version whose content is served again.
    """

    event: str
    version: int
    time: float
    digest: str | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    reason: str | None = None
    from_version: int | None = None
    to_version: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry's line."""
        value = {"format": LEDGER_FORMAT, **dataclasses.asdict(self)}
        value["from"], value["to"] = value.pop("from_version"), value.pop("to_version")
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Entry:
        """Reads a line of this format or an older one; unknown keys are left out.

        Raises:
            ValueError: A key is missing or of another type.
        """
        version, seconds, facts = value.get("version"), value.get("time"), value.get("facts")
        if not isinstance(version, int) or not isinstance(seconds, int | float):
            raise ValueError("no version or no time")
        return cls(
            event=str(value.get("event")),
            version=version,
            time=float(seconds),
            digest=value.get("digest"),
            facts=facts if isinstance(facts, dict) else {},
            reason=value.get("reason"),
            from_version=value.get("from"),
            to_version=value.get("to"),
        )


def now() -> float:
    """Time of an entry that is made now."""
    return round(time.time(), 3)


def state_folder(base_path: str | os.PathLike[str]) -> Path:
    """Folder of the ledger and of unfinished work; TF Serving ignores it: it is no integer."""
    return Path(base_path) / contracts.LEDGER_FOLDER


def ledger_file(base_path: str | os.PathLike[str]) -> Path:
    """The ledger's path."""
    return state_folder(base_path) / contracts.LEDGER_FILE


def history(base_path: str | os.PathLike[str]) -> list[Entry]:
    """All events, oldest first; empty where nothing was pushed. A torn last line is left out.

    Raises:
        ConfigError: The ledger is damaged, or was written by a newer SlimWorks.
    """
    path = ledger_file(base_path)
    return _parse(path.read_bytes(), path)[0] if path.is_file() else []


def why(base_path: str | os.PathLike[str], version: int) -> Entry:
    """The event that put a version into production.

    Raises:
        ConfigError: No such version; the known ones are named.
    """
    made = made_by(history(base_path))
    if version not in made:
        raise ConfigError(
            f"{base_path} never had a version {version}. It has had: {named(made)}.",
            "Give one of these; `slimworks history` lists them.",
        )
    return made[version]


def made_by(entries: Iterable[Entry]) -> dict[int, Entry]:
    """By version, the event that made it: pushed, rolled_back or recovered, the last one."""
    return {entry.version: entry for entry in entries if entry.event != REMOVED}


def current(entries: Iterable[Entry]) -> dict[int, Entry]:
    """As `made_by`, without the versions that were removed since."""
    found: dict[int, Entry] = {}
    for entry in entries:
        if entry.event == REMOVED:
            found.pop(entry.version, None)
        else:
            found[entry.version] = entry
    return found


def rolled_back_by(digest: str, entries: Iterable[Entry]) -> Entry | None:
    """The rollback away from a model, unless the model was put into production again since."""
    left: Entry | None = None
    versions: dict[int, str | None] = {}
    for entry in entries:
        if entry.event == REMOVED:
            continue
        versions[entry.version] = entry.digest
        if entry.digest == digest:
            left = None
        elif entry.from_version is not None and versions.get(entry.from_version) == digest:
            left = entry
    return left


def named(versions: Iterable[int]) -> str:
    """Version numbers for a message."""
    return ", ".join(str(version) for version in sorted(versions)) or "none"


def append(base_path: str | os.PathLike[str], entries: Iterable[Entry]) -> None:
    """Adds events, durably; a torn last line of an earlier, killed writer is cut off first.

    The caller holds the publishing lock.

    Raises:
        ConfigError: The ledger is damaged, or was written by a newer SlimWorks.
        OSError: There is no room; the ledger is as before.
    """
    path = ledger_file(base_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    added = b"".join(_line(entry) for entry in entries)
    with open(path, "a+b", buffering=0) as stream:
        stream.seek(0)
        content = stream.readall()
        sound = content[: _parse(content, path)[1]]
        stream.truncate(len(sound))
        if sound and not sound.endswith(b"\n"):
            added = b"\n" + added
        try:
            _write_fully(stream.fileno(), added)
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(len(sound))
            raise
    files.fsync_folder(path.parent)


def _write_fully(descriptor: int, content: bytes) -> None:
    while content:  # a full disk takes a part first and fails at the next call
        content = content[os.write(descriptor, content) :]


def _line(entry: Entry) -> bytes:
    text = json.dumps(entry.to_json(), ensure_ascii=False, sort_keys=True, allow_nan=False)
    return text.encode("utf-8", "surrogateescape") + b"\n"


def _parse(content: bytes, path: Path) -> tuple[list[Entry], int]:
    """Entries, and the length of the sound part of `content`."""
    entries: list[Entry] = []
    sound = position = 0
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        position += len(line)
        if not line.strip():
            continue
        try:
            entries.append(_entry(line, number, path))
        except ValueError as error:
            if content[position:].strip():
                raise ConfigError(
                    f"{path} is damaged in line {number}: {error}.",
                    "Restore the file from a backup, or delete that line.",
                ) from error
            break
        sound = position
    return entries, sound


def _entry(line: bytes, number: int, path: Path) -> Entry:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    if value.get("format", 0) > LEDGER_FORMAT:
        raise ConfigError(
            f"{path} has format {value['format']} in line {number}, this SlimWorks reads "
            f"{LEDGER_FORMAT}.",
            "Upgrade SlimWorks, or give another base path.",
        )
    return Entry.from_json(value)
