"""Which columns of a manifest hold what: as configured, else by the usual names."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from slimworks.components.errors import ConfigError, nearest
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.sources.classes import named
from slimworks.components.ingest.sources.items import display_name
from slimworks.components.ingest.sources.names import printable

# Lower case, blanks and dashes as "_". "fold" is left out: its values are numbers of folds.
USUAL_NAMES = {
    "path": (
        "path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path",
        "image_file", "image_filename", "image_name", "img", "img_path", "uri", "url", "image_uri",
        "image_url",
    ),
    "class": ("class", "label", "class_name", "label_name", "class_label", "category"),
    "split": ("split", "set", "subset", "data_split", "dataset_split"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of the columns; None where a manifest has none for it."""

    path: str
    class_name: str
    split: str | None
    group: str | None
    slices: tuple[str, ...]

    def all(self) -> list[str]:
        """Every column that is read."""
        found = (self.path, self.class_name, self.split, self.group, *self.slices)
        return list(dict.fromkeys(name for name in found if name))


def choose_columns(columns: Sequence[str], config: DataConfig, manifest: str) -> Columns:
    """Finds the columns of a manifest.

    Args:
        columns: Names that the manifest has.
        config: Names the columns where the usual names do not fit; "" for split and group means
            that there is none.
        manifest: Its path, for messages.

    Raises:
        ConfigError: A column is missing, or two could be meant.
    """
    chooser = _Chooser(columns, display_name(manifest))
    return Columns(
        path=chooser.required("path", config.path_column),
        class_name=chooser.required("class", config.class_column),
        split=chooser.find("split", config.split_column),
        group=chooser.find("group", config.group_column),
        slices=tuple(chooser.known("slice_columns", name) for name in config.slice_columns),
    )


@dataclasses.dataclass(frozen=True)
class _Chooser:
    columns: Sequence[str]
    manifest: str

    def known(self, key: str, name: str) -> str:
        """A column that the config names."""
        if name not in self.columns:
            raise ConfigError(
                f"data.{key} names {name!r}, which is no column of {self.manifest}."
                f"{nearest(name, self._shown())}",
                f"Its columns: {named(self._shown())}.",
            )
        if self.columns.count(name) > 1:
            raise ConfigError(
                f"{self.manifest} has {self.columns.count(name)} columns named {name!r}.",
                "Give each column a name of its own in the first line.",
            )
        return name

    def find(self, role: str, configured: str | None) -> str | None:
        """The column of one role, or None."""
        key = f"{role}_column"
        if configured is not None:
            return self.known(key, configured) if configured else None
        found = [name for name in self.columns if _folded(name) in USUAL_NAMES[role]]
        if len(set(found)) > 1:
            raise ConfigError(
                f"{self.manifest} has {len(found)} columns that could hold the {role}: "
                f"{named(found)}.",
                f"Say which: --set data.{key}={found[0]}",
            )
        return self.known(key, found[0]) if found else None

    def required(self, role: str, configured: str | None) -> str:
        """The column of a role that every manifest has."""
        found = self.find(role, configured)
        if found:
            return found
        raise ConfigError(
            f"{self.manifest} has no column for the {role}: its first line names "
            f"{named(self._shown())}.",
            f"Say which: --set data.{role}_column=NAME, or name the columns in the first line, "
            "such as path,class.",
        )

    def _shown(self) -> list[str]:
        return [printable(name)[:60] for name in self.columns]


def _folded(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
