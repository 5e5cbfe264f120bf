"""Class names by class index, with every change since the first ingest."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import files
from slimworks.components.errors import DataError
from slimworks.components.labels.declarations import Declarations, composed
from slimworks.components.labels.history import (
    MERGED,
    RENAMED,
    LabelChange,
    Meanings,
    require_sound,
)
from slimworks.components.labels.updates import Update

LABELS_FILE = "labels.txt"  # TF-Slim's format: one index:name a line
LABEL_MAP_FILE = "label_map.json"
LABEL_MAP_FORMAT = 2  # 1 had no history


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """Class names by class index. Append-only: an index never changes its meaning.

    Attributes:
        class_names: Current names. A class that was merged keeps its index and its name, but no
            image gets it any more.
        history: All changes, oldest first; empty where the map comes from elsewhere.
    """

    class_names: tuple[str, ...] = ()
    history: tuple[LabelChange, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes, which is the size of the network's head."""
        return len(self.class_names)

    @property
    def version(self) -> int:
        """Number of the last change: 0 without a class, 1 after the first ingest."""
        return self.history[-1].version if self.history else int(bool(self.class_names))

    @property
    def digest(self) -> str:
        """Sha256 over what each index means; equal for maps that got there in different ways."""
        meaning = [self.class_names, sorted(self.merged_since(0).items())]
        text = json.dumps(meaning, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def updated(
        self,
        names_in_data: Iterable[str],
        declared_order: Sequence[str] = (),
        renames: Mapping[str, str] | None = None,
        merges: Mapping[str, str] | None = None,
        span: int | None = None,
    ) -> LabelMap:
        """Returns the map that fits the data, or this one where nothing is new.

        Args:
            names_in_data: Class names as the source spells them, old or new ones.
            declared_order: Classes that the source numbers itself, in that order: an empty map
                takes the numbers over. Other new names are appended in sorted order.
            renames: `data.rename_classes`: old name -> new one; the index stays.
            merges: `data.merge_classes`: name -> the class that takes its images; the index of
                the merged class stays reserved.
            span: Noted in the history of what changes.

        Raises:
            ConfigError: A declared change names no class, or contradicts another or the history.
            DataError: A class name does not fit on a line of labels.txt.
        """
        update = Update(
            Meanings(self.class_names, self.history),
            Declarations.of(renames or {}, merges or {}),
            names_in_data,
            declared_order,
            version=self.version + 1,
            span=span,
        )
        update.run()
        if not update.changes:
            return self
        return LabelMap(tuple(update.meanings.class_names), (*self.history, *update.changes))

    def index_of(self, name: str) -> int:
        """Index that images of a class get which the source calls `name`.

        Raises:
            KeyError: The name is neither a class nor a former or merged one.
        """
        index = self._meanings.index_of(composed(name))
        if index is None:
            raise KeyError(name)
        return index

    def class_name_of(self, name: str) -> str:
        """Class that images get which the source calls `name`; raises as `index_of`."""
        return self.class_names[self.index_of(name)]

    def has_meant(self, class_index: int, name: str) -> bool:
        """Whether `name` is this class's name, or was it before a declared rename."""
        is_current = self.class_names[class_index : class_index + 1] == (name,)
        return is_current or name in self._former_names.get(class_index, ())

    def merged_since(self, version: int) -> dict[int, int]:
        """Classes merged after `version`: their index, and the index that their images get."""
        return {
            change.class_index: self._meanings.final(change.class_index)
            for change in self.history
            if change.kind == MERGED and change.class_index is not None
            if change.version > version
        }

    @functools.cached_property
    def _meanings(self) -> Meanings:
        return Meanings(self.class_names, self.history)

    @functools.cached_property
    def _former_names(self) -> dict[int, set[str]]:
        former: dict[int, set[str]] = {}
        for change in self.history:
            if change.kind == RENAMED and change.class_index is not None and change.previous_name:
                former.setdefault(change.class_index, set()).add(change.previous_name)
        return former

    def to_json(self) -> dict[str, Any]:
        """Content of label_map.json."""
        return {
            "format": LABEL_MAP_FORMAT,
            "version": self.version,
            "class_names": list(self.class_names),
            "history": [change.to_json() for change in self.history],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LabelMap:
        """Reads what `to_json` wrote, or a map of format 1.

        Raises:
            ValueError: A class name is none, or an entry of the history is damaged.
        """
        class_names = value["class_names"]
        if not isinstance(class_names, list) or not all(isinstance(n, str) for n in class_names):
            raise ValueError("class_names is no list of names")
        history = tuple(LabelChange.from_json(entry) for entry in value.get("history", ()))
        # Without a history it comes from a published labels file; ImageNet's has two cranes.
        if history and len(set(class_names)) < len(class_names):
            raise ValueError("a class name is there twice")
        require_sound(history, len(class_names))
        return cls(tuple(class_names), history)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Writes labels.txt and label_map.json into `folder`."""
        lines = [f"{index}:{name}\n" for index, name in enumerate(self.class_names)]
        files.write_text(Path(folder) / LABELS_FILE, "".join(lines))
        files.write_json(Path(folder) / LABEL_MAP_FILE, self.to_json())

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> LabelMap:
        """Reads label_map.json from `folder`.

        Raises:
            DataError: The file is damaged, or was written by a newer SlimWorks.
        """
        path = Path(folder) / LABEL_MAP_FILE
        try:
            value = files.read_json(path)
            if not isinstance(value["format"], int):
                raise ValueError("its format is no whole number")
            if value["format"] <= LABEL_MAP_FORMAT:
                return cls.from_json(value)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is damaged: {error!r}.",
                "Restore it from the label_map of an earlier run: class indices depend on it.",
            ) from error
        raise DataError(
            f"{path} has format {value['format']}, this SlimWorks reads {LABEL_MAP_FORMAT}.",
            "Upgrade SlimWorks, or use another --root.",
        )
