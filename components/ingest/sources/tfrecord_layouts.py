"""What one tf.train.Example says about its image, in TF-Slim's layout and in TFDS's."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from slimworks.components import contracts
from slimworks.components.ingest.sources import names


@dataclasses.dataclass(frozen=True)
class Layout:
    """Feature keys. `text`: the class name, where records have it."""

    image: str
    class_index: str
    text: str | None = None


SLIM = Layout(contracts.IMAGE_ENCODED, contracts.CLASS_INDEX, contracts.CLASS_NAME)
TFDS = Layout("image", "label")


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What a record says about its image. One of class_index and text is there at least."""

    class_index: int | None
    text: str | None
    group: str | None
    slices: Mapping[str, str]

    def named(self, text: str) -> Labelled:
        """The same under another class name."""
        return dataclasses.replace(self, text=text)


class UnusableRecordError(Exception):
    """Says why a record cannot be used, in a few words that follow "record 3 has"."""


def layout_of(keys: Collection[str]) -> Layout | None:
    """Layout that the feature keys of a record fit; None for neither."""
    return next((layout for layout in (SLIM, TFDS) if layout.image in keys), None)


def labelled(features: Mapping[str, Any], layout: Layout) -> Labelled:
    """Reads the label, the group and the slices of one record.

    Args:
        features: Feature messages by key.
        layout: Of the whole source.

    Raises:
        UnusableRecordError: The record has no image, no label, or several.
    """
    if layout.image not in features or not features[layout.image].bytes_list.value:
        raise UnusableRecordError(f"no {layout.image}")
    index, text = _label(features, layout.class_index)
    if layout.text and (found := _text(features, layout.text)):
        text = found
    if index is None and text is None:
        raise UnusableRecordError("no label")
    if text is not None and names.has_control_character(text):
        raise UnusableRecordError(f"the class {text!r} with a control character")
    return Labelled(index, text, _group(features), _slices(features))


def _label(features: Mapping[str, Any], key: str) -> tuple[int | None, str | None]:
    """Index or text under the key of the label: TFDS has both kinds."""
    if key not in features:
        return None, None
    values = features[key].int64_list.value
    if len(values) > 1:
        raise UnusableRecordError(f"{len(values)} labels")
    return (int(values[0]), None) if values else (None, _text(features, key))


def _text(features: Mapping[str, Any], key: str) -> str | None:
    values = features[key].bytes_list.value if key in features else ()
    if not values:
        return None
    return names.class_name_of(values[0].decode("utf-8", "surrogateescape").strip()) or None


def _group(features: Mapping[str, Any]) -> str | None:
    group = _text(features, contracts.IMAGE_GROUP)
    # Our own examples say the image's id where there is no group.
    return None if group == _text(features, contracts.IMAGE_ID) else group


def _slices(features: Mapping[str, Any]) -> dict[str, str]:
    prefix = contracts.SLICE_PREFIX
    found = {key: _text(features, key) for key in features if key.startswith(prefix)}
    return {key.removeprefix(prefix): text for key, text in found.items() if text}
