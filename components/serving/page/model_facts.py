"""What is known of a served version, from files any of which may be missing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from slimworks.components import contracts

MAX_FILE_BYTES = 4 << 20  # of thousands of classes; more is no file of ours

_TEXTS = ("net", "run_id", "slimworks")
_COUNTS = ("image_size", "num_train_images", contracts.LABEL_MAP_VERSION)
_FIGURES = ("time", "best_eval_accuracy")
_METRICS = ("num_images", "accuracy", "macro_f1")


@dataclasses.dataclass(frozen=True)
class VersionFacts:
    """What the files of a version say.

    Attributes:
        facts: See `known_facts`.
        card: The model card in Markdown; empty where there is none.
        faults: A sentence for each file that is there and cannot be used.
    """

    facts: Mapping[str, Any]
    card: str
    faults: Sequence[str]


def read_facts(folder: Path, version: int) -> VersionFacts:
    """Reads the facts and the card of the version in `folder`, which lies in the base path."""
    faults: list[str] = []
    extra = folder / contracts.EXTRA_ASSETS_FOLDER
    model = _read_object(extra / contracts.MODEL_FACTS_FILE, faults)
    if "class_names" not in model:  # an exported checkpoint's are in its label map only
        label_map = _read_object(extra / contracts.LABEL_MAP_FILE, faults)
        model["class_names"] = label_map.get("class_names")
    published = _read_object(extra / contracts.PUBLISHED_FACTS_FILE, faults)
    card = _read_text(extra / contracts.MODEL_CARD_ASSET, faults)
    if card is None:
        cards = folder.parent / contracts.LEDGER_FOLDER / contracts.CARDS_FOLDER
        card = _read_text(cards / str(version) / contracts.MODEL_CARD_FILE, faults)
    return VersionFacts(known_facts(model, published), card or "", faults)


def known_facts(model: Mapping[str, Any], published: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that the page shows, where they have the type that they should have.

    Args:
        model: What the training wrote: model.json.
        published: What the publisher wrote; it wins.

    Returns:
        Of `net`, `run_id`, `slimworks`, `image_size`, `num_train_images`, `label_map_version`,
        `time` (seconds since the epoch), `best_eval_accuracy` and `checkpoint` those that are
        known, and always `metrics` and `classes` (name and number of images, None if unknown).
    """
    given = {**model, **published}
    facts: dict[str, Any] = {
        **{key: given[key] for key in _TEXTS if isinstance(given.get(key), str)},
        **{key: given[key] for key in _COUNTS if type(given.get(key)) is int},
        **{key: given[key] for key in _FIGURES if _is_number(given.get(key))},
        "metrics": _metrics(given.get("metrics")),
        "classes": _classes(given.get("class_names"), given.get("class_counts")),
    }
    checkpoint = given.get("checkpoint_path")
    if isinstance(checkpoint, str) and checkpoint:
        facts["checkpoint"] = PurePosixPath(checkpoint).name  # its folder is nobody's business
    return facts


def _metrics(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    found = {key: value[key] for key in _METRICS if _is_number(value.get(key))}
    interval = value.get("accuracy_interval")
    if isinstance(interval, list) and len(interval) == 2 and all(map(_is_number, interval)):
        found["accuracy_interval"] = interval
    return found


def _classes(names: Any, counts: Any) -> list[dict[str, Any]]:
    if not isinstance(names, list):
        return []
    counts = counts if isinstance(counts, dict) else {}
    return [
        {"name": name, "num_images": counts[name] if type(counts.get(name)) is int else None}
        for name in names
        if isinstance(name, str)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_object(path: Path, faults: list[str]) -> dict[str, Any]:
    text = _read_text(path, faults)
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        faults.append(f"{path.name} of this version is no JSON object.")
        return {}
    return value


def _read_text(path: Path, faults: list[str]) -> str | None:
    """A file's text; None where there is none, or none that can be used."""
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) <= MAX_FILE_BYTES:
            return content.decode("utf-8")
        faults.append(f"{path.name} of this version is larger than {MAX_FILE_BYTES >> 20} MiB.")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        faults.append(f"{path.name} of this version cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        faults.append(f"{path.name} of this version is no UTF-8 text.")
    return None
