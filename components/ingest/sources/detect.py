"""Which kind of source `--data` names; what could be two is an error that says how to choose.

A file goes by its suffix, else by its first bytes. A folder goes by what lies directly in it:
TFRecords, archives, a manifest (a table whose columns name paths and classes), split folders or
class folders. `docs/data.md` has the whole table.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from slimworks.components.errors import ConfigError, nearest
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources import classes, names
from slimworks.components.ingest.sources.archives import ArchiveSource
from slimworks.components.ingest.sources.classic import CLASSIC_SETS, open_classic
from slimworks.components.ingest.sources.contents import Contents, file_kind, look_into
from slimworks.components.ingest.sources.folders import FolderSource
from slimworks.components.ingest.sources.items import (
    REMOTE_SCHEMES,
    Source,
    display_name,
    is_uri,
)
from slimworks.components.ingest.sources.manifest import ManifestSource, is_usable
from slimworks.components.ingest.sources.tfrecords import TFRecordSource
from slimworks.components.ingest.storage import access

_ACCEPTED = (
    "Give a folder with one folder for each class, a manifest (.csv, .tsv, .jsonl, .parquet), "
    "TFRecords, or a zip or tar archive: --data PATH"
)

_SETTINGS_OF_FORMATS = {
    "path_column": ("manifest",),
    "class_column": ("manifest",),
    "split_column": ("manifest",),
    "group_column": ("manifest",),
    "image_root": ("manifest",),
    "slice_columns": ("manifest",),
    "labels_file": ("manifest", "tfrecord"),
}


def canonical_source(source: str, config: DataConfig) -> str:
    """What a run is recorded under: an absolute path, a URI, or the name of a classic set.

    Raises:
        ConfigError: Nothing is given, the URI's kind is unknown, or a name could be a folder or a
            classic set.
    """
    if not source.strip():  # of a shell's variable that is not set; as a path it is this folder
        raise ConfigError("The data source is empty: no path is given.", _ACCEPTED)
    if config.format == "classic":
        return source
    if source.startswith("file://"):
        return os.path.abspath(source.removeprefix("file://"))
    if is_uri(source):
        _require_known_scheme(source)
        return source.rstrip("/")
    if config.format == "auto" and source in CLASSIC_SETS:
        _require_no_such_path(source)
        return source
    if source.startswith("~") and not os.path.exists(source):
        source = os.path.expanduser(source)  # the shell does not inside YAML and --set
    return os.path.abspath(source)


def _require_known_scheme(source: str) -> None:
    scheme, _, rest = source.partition("://")
    if scheme not in REMOTE_SCHEMES:
        raise ConfigError(
            f"The data source {source} is no file system: known are gs://, s3:// and hdfs://.",
            "Download it, then give the file or folder: --data PATH",
        )
    if not rest.strip("/"):
        raise ConfigError(
            f"The data source {source} names no bucket or server.",
            f"Give it and the folder: --data {scheme}://BUCKET/FOLDER",
        )


def _require_no_such_path(name: str) -> None:
    if os.path.exists(name):
        raise ConfigError(
            f"{name!r} is both a path here and the name of a well-known set.",
            f"For the path type --data ./{name}, for the set --set data.format=classic",
        )


def open_source(source: str, config: DataConfig, own_folders: Sequence[str] = ()) -> Source:
    """Finds out what a source is; opens no image.

    Args:
        source: Path, URI or name, as the user gave it.
        config: The `data` section; `format` other than "auto" is taken at its word.
        own_folders: Folders that SlimWorks writes to: they are no data.

    Raises:
        ConfigError: There is no such source, it is none of the formats, it could be several, or a
            setting is set that says nothing about this format.
        DataError: It cannot be read.
    """
    opened = _open(source, config, own_folders)
    _require_settings_in_use(opened, config)
    return opened


def _require_settings_in_use(source: Source, config: DataConfig) -> None:
    """Images would be grouped, labelled or split in another way than the user believes."""
    for key, formats in _SETTINGS_OF_FORMATS.items():
        if getattr(config, key) and source.format not in formats:
            raise ConfigError(
                f"data.{key} is set, which tells how a {' or '.join(formats)} is read, and "
                f"{display_name(source.location)} is read as {source.format}.",
                f"Take data.{key} out, or give a {formats[0]}: docs/data.md",
            )


def _open(source: str, config: DataConfig, own_folders: Sequence[str]) -> Source:
    location = canonical_source(source, config)
    if config.format == "classic" or (config.format == "auto" and location in CLASSIC_SETS):
        return open_classic(location, config)
    if access.is_folder(location):
        contents = look_into(location, own_folders)
        kind = config.format if config.format != "auto" else _folder_kind(contents, config)
        return _FOLDER_OPENERS[kind](contents, config, own_folders)
    if not access.exists(location):
        raise _missing(source, location)
    return _open_file(location, config)


def _missing(source: str, location: str) -> ConfigError:
    siblings: list[str] = []
    if not is_uri(location):
        parent = Path(location).parent
        siblings = [path.name for path in parent.iterdir()] if parent.is_dir() else []
    # Many a folder's name is half like a set's.
    sets = difflib.get_close_matches(source.lower(), CLASSIC_SETS, n=1, cutoff=0.75)
    hint = nearest(sets[0], sets) if sets else nearest(location.rpartition("/")[2], siblings)
    return ConfigError(f"The data source {display_name(location)} does not exist.{hint}", _ACCEPTED)


# --- Files -----------------------------------------------------------------------------------


def _open_file(location: str, config: DataConfig) -> Source:
    if not is_uri(location) and not os.path.isfile(location):
        raise ConfigError(
            f"The data source {display_name(location)} is a pipe, a socket or a device.", _ACCEPTED
        )
    kind = file_kind(location)
    if config.format in ("folders", "split_folders"):
        raise ConfigError(
            f"The data source {location} is a file, not a folder, and data.format is "
            f"{config.format!r}.",
            "Give the folder that holds one folder per class, or --set data.format=auto",
        )
    if config.format != "auto":
        kind = config.format
    if kind == "manifest":
        return ManifestSource(location, config)
    if kind == "tfrecord":
        return TFRecordSource(location, [location], config)
    if kind == "archive":
        return ArchiveSource(location, [location], config)
    raise ConfigError(
        f"The data source {display_name(location)} is a file, but no manifest, TFRecord file or "
        f"archive{_what_it_is(kind)}.",
        _ACCEPTED,
    )


def _what_it_is(kind: str | None) -> str:
    return f": it is {kind}" if kind else ""


# --- Folders ---------------------------------------------------------------------------------


def _folder_kind(contents: Contents, config: DataConfig) -> str:
    """Value of `data.format` that fits a folder."""
    found = {
        "tfrecord": contents.tfrecords,
        "archive": contents.archives,
        "manifest": contents.manifests,
        "folders": contents.folders,
    }
    kinds = [kind for kind, files in found.items() if files]
    if len(kinds) > 1 and "manifest" in kinds:
        # A table of something else, such as the photographers, makes nothing ambiguous.
        found["manifest"] = [
            name for name in contents.manifests if is_usable(contents.path_of(name), config)
        ]
        kinds = [kind for kind, files in found.items() if files]
    if len(kinds) > 1:
        raise _ambiguous(contents.location, {kind: found[kind] for kind in kinds})
    if kinds in ([], ["folders"]):
        return _class_or_split_folders(contents)
    return kinds[0]


_WORDS = {
    "tfrecord": "TFRecords",
    "archive": "archives",
    "manifest": "a manifest",
    "folders": "class folders",
}


def _ambiguous(location: str, found: dict[str, list[str]]) -> ConfigError:
    what = " and ".join(
        f"{_WORDS[kind]} ({classes.named(map(display_name, files))})"
        for kind, files in found.items()
    )
    return ConfigError(
        f"{display_name(location)} holds {what}: it could be read in {len(found)} ways.",
        "Say which: " + " or ".join(f"--set data.format={kind}" for kind in found),
    )


def _class_or_split_folders(contents: Contents) -> str:
    words = [name for name in contents.folders if names.split_word(name)]
    if not words:
        return "folders"
    shown = classes.named(map(display_name, words))
    others = [name for name in contents.folders if name not in words]
    if others:
        raise ConfigError(
            f"{contents.location} holds {shown} beside {classes.named(map(display_name, others))}: "
            "they could be splits or classes.",
            "Take all for classes with --set data.format=folders, or move the others elsewhere "
            "and keep the splits.",
        )
    if not any(contents.has_folders(name) for name in words):
        raise ConfigError(
            f"{contents.location} holds {shown}, which hold no class folders: they could be splits "
            "or classes.",
            f"Put class folders into them, such as {contents.location}/{words[0]}/cats, or take "
            "them for classes: --set data.format=folders",
        )
    return "split_folders"


def _open_folders(contents: Contents, config: DataConfig, own_folders: Sequence[str]) -> Source:
    return FolderSource(contents.location, own_folders)


def _open_split_folders(
    contents: Contents, config: DataConfig, own_folders: Sequence[str]
) -> Source:
    return FolderSource(contents.location, own_folders, is_split=True)


def _open_manifest(contents: Contents, config: DataConfig, _: Sequence[str]) -> Source:
    manifests = contents.manifests
    if len(manifests) != 1:
        shown = f": {classes.named(map(display_name, manifests))}" if manifests else ""
        example = contents.path_of(manifests[0] if manifests else "labels.csv")
        raise ConfigError(
            f"{contents.location} holds {len(manifests)} manifests{shown}.",
            f"Give one: --data {example}. A column named split can say train, val or test.",
        )
    return ManifestSource(contents.path_of(manifests[0]), config)


def _open_tfrecords(contents: Contents, config: DataConfig, _: Sequence[str]) -> Source:
    return TFRecordSource(contents.location, _required(contents, contents.tfrecords), config)


def _open_archives(contents: Contents, config: DataConfig, _: Sequence[str]) -> Source:
    return ArchiveSource(contents.location, _required(contents, contents.archives), config)


def _required(contents: Contents, files: list[str]) -> list[str]:
    """Paths of the files that `data.format` asks for, sorted."""
    if not files:
        raise ConfigError(
            f"{contents.location} holds none of the files that data.format asks for.",
            "Give the folder that holds them, or let SlimWorks look: --set data.format=auto",
        )
    return [contents.path_of(name) for name in sorted(files, key=os.fsencode)]


_FOLDER_OPENERS: dict[str, Callable[[Contents, DataConfig, Sequence[str]], Source]] = {
    "folders": _open_folders,
    "split_folders": _open_split_folders,
    "manifest": _open_manifest,
    "tfrecord": _open_tfrecords,
    "archive": _open_archives,
}
