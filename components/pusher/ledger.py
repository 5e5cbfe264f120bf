"""The promotion ledger: which model became which version, when and why; and who is `stable`.

Below a folder it is `<base_path>/.slimworks/ledger.jsonl`: one JSON object a line, appended, never
rewritten. On an object store each entry is an object of its own (`object_ledger`).
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

LEDGER_FORMAT = 2  # 2 has labels; lines of format 1 are read as well

PUSHED, ROLLED_BACK = "pushed", "rolled_back"
RECOVERED = "recovered"  # found on disk without a line: its publisher was killed, or it is foreign
REMOVED = "removed"  # made room for newer versions
LABELLED = "labelled"  # a server confirmed it, and its label moved
PROMOTED = "promoted"  # an operator moved the label
UNCONFIRMED = "unconfirmed"  # no server could load it in time: no label moved
EVENTS = (PUSHED, ROLLED_BACK, RECOVERED, REMOVED, LABELLED, PROMOTED, UNCONFIRMED)
_END_OF_TIME = 1e11  # seconds: the year 5138
MAKING = (PUSHED, ROLLED_BACK, RECOVERED)  # events that bring a version
_OPTIONAL_KEYS = {"digest": str, "reason": str, "label": str, "from": int, "to": int}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One event of one version.

    Attributes:
        event: One of EVENTS.
        version: Version that came, went, or is spoken of.
        time: Seconds since the epoch.
        digest: `files.sha256_of_tree` of the version's folder.
        facts: Why the model went into production: run_id, verdict, metrics, ...
        reason: The operator's or SlimWorks' own words.
        from_version: rolled_back: the version that was live.
        to_version: rolled_back: the version whose content is served again.
        label: "stable" or "canary", where the event gave it to the version.
    """

    event: str
    version: int
    time: float
    digest: str | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    reason: str | None = None
    from_version: int | None = None
    to_version: int | None = None
    label: str | None = None

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
        if not abs(seconds) < _END_OF_TIME:  # NaN, too
            raise ValueError("its time is none")
        for key, kind in _OPTIONAL_KEYS.items():
            if not isinstance(value.get(key), kind | None):
                raise ValueError(f"its {key} is {value[key]!r:.60}")
        return cls(
            event=str(value.get("event")),
            version=version,
            time=float(seconds),
            digest=value.get("digest"),
            facts=facts if isinstance(facts, dict) else {},
            reason=value.get("reason"),
            from_version=value.get("from"),
            to_version=value.get("to"),
            label=value.get("label"),
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
    """The event that put a version into production, of a folder's ledger. Raises as `reason_of`."""
    return reason_of(history(base_path), version, str(base_path))


def reason_of(entries: Iterable[Entry], version: int, base_path: str) -> Entry:
    """The event that put a version into production.

    Raises:
        ConfigError: No such version; the known ones are named.
    """
    made = made_by(entries)
    if version not in made:
        raise ConfigError(
            f"{base_path} never had a version {version}. It has had: {named(made)}.",
            "Give one of these; `slimworks history` lists them.",
        )
    return made[version]


def made_by(entries: Iterable[Entry]) -> dict[int, Entry]:
    """By version, the event that made it: pushed, rolled_back or recovered, the last one."""
    return {entry.version: entry for entry in entries if entry.event in MAKING}


def current(entries: Iterable[Entry]) -> dict[int, Entry]:
    """As `made_by`, without the versions that were removed since."""
    found: dict[int, Entry] = {}
    for entry in entries:
        if entry.event in MAKING:
            found[entry.version] = entry
        elif entry.event == REMOVED:
            found.pop(entry.version, None)
    return found


def rolled_back_by(digest: str, entries: Iterable[Entry]) -> Entry | None:
    """The rollback away from a model, unless the model was put into production again since."""
    left: Entry | None = None
    versions: dict[int, str | None] = {}
    for entry in entries:
        if entry.event not in MAKING:
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
    added = b"".join(line_of(entry) for entry in entries)
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


def line_of(entry: Entry) -> bytes:
    """The entry as a line of JSON; ValueError where it holds NaN."""
    return _encoded(entry.to_json()) + b"\n"


def _encoded(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    return text.encode("utf-8", "surrogateescape")


def _parse(content: bytes, path: Path) -> tuple[list[Entry], int]:
    """Entries, and the length of the sound part of `content`."""
    entries: list[Entry] = []
    sound = position = 0
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        position += len(line)
        if not line.strip():
            continue
        try:
            entries.append(entry_of(line, path, f" in line {number}"))
        except ValueError as error:
            if content[position:].strip():
                raise ConfigError(
                    f"{path} is damaged in line {number}: {error}.",
                    "Restore the file from a backup, or delete that line.",
                ) from error
            break
        sound = position
    return entries, sound


def entry_of(line: bytes, path: str | os.PathLike[str], where: str = "") -> Entry:
    """Reads what `line_of` wrote.

    Args:
        line: The line.
        path: Its file, for a message.
        where: Its place there, for a message.

    Raises:
        ValueError: It is damaged.
        ConfigError: It was written by a newer SlimWorks.
    """
    value = files.parse_json(line)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    number = value.get("format", 0)
    if not isinstance(number, int):
        raise ValueError(f"its format is {number!r:.60}")
    if number > LEDGER_FORMAT:
        raise ConfigError(
            f"{path} has format {number}{where}, this SlimWorks reads {LEDGER_FORMAT}.",
            "Upgrade SlimWorks, or give another base path.",
        )
    _encoded(value)  # ValueError: a number or a character that is none, which nobody can show
    return Entry.from_json(value)
