"""Slices: images that share a value, of their metadata or of what they look like.

Dimensions are the metadata columns of the examples, and three that every image has:

    size         by the short edge, upright: small < 256 <= medium < 1024 <= large (pixels)
    brightness   by the mean luma: dark < 0.25 <= medium <= 0.75 < bright
    class        the true class

A metadata column of one of these names takes its place. An image without a value in a dimension
is in no slice of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from slimworks.components.contracts import SLICE_PREFIX
from slimworks.components.errors import ConfigError, nearest

SIZE, BRIGHTNESS, CLASS = "size", "brightness", "class"
SIZES, SIZE_EDGES = ("small", "medium", "large"), (256, 1024)
BRIGHTNESSES, DARK, BRIGHT = ("dark", "medium", "bright"), 0.25, 0.75
# A column with more values (a time, a serial number) is not sliced unless it is declared.
MAX_DEFAULT_VALUES = 50

# Columns of a predictions file that `find` reads, beside the metadata columns.
COLUMNS = ("class_index", "width", "height", "brightness")


@dataclasses.dataclass(frozen=True, eq=False)
class Slice:
    """Images that share the value of one or more dimensions.

    Attributes:
        values: Value by dimension, in the order declared.
        rows: [N] bool over the rows of the predictions file.
    """

    values: dict[str, str]
    rows: np.ndarray

    @property
    def name(self) -> str:
        """As people read it: "camera=old, size=small"."""
        return ", ".join(f"{dimension}={value}" for dimension, value in self.values.items())

    def __len__(self) -> int:
        return int(self.rows.sum())


def find(
    columns: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    declared: Sequence[Sequence[str]] | None = None,
) -> list[Slice]:
    """The slices that have images, in the order declared, then by value.

    Args:
        columns: Of a predictions file, as `predictions_file.read_columns` gives them: COLUMNS
            (older files lack some) and `slice/<name>` [N] texts or None.
        class_names: By class index.
        declared: Dimensions to cross: [["camera"], ["camera", "class"]]. None: every metadata
            column of at most MAX_DEFAULT_VALUES values, size and brightness, each alone.

    Raises:
        ConfigError: A declared dimension does not exist.
    """
    known = _dimensions(columns, class_names)
    if declared is None:
        declared = default_dimensions(columns, class_names)
    found = []
    for names in declared:
        found += _crossed({name: _known(known, name) for name in names})
    return found


def rows_of(
    columns: Mapping[str, np.ndarray], class_names: Sequence[str], values: Mapping[str, str]
) -> np.ndarray:
    """[N] bool: the images that have all of these values; none is no error.

    Raises:
        ConfigError: A dimension does not exist.
    """
    known = _dimensions(columns, class_names)
    rows = np.ones(len(columns["class_index"]), bool)
    for name, value in values.items():
        codes, names = _known(known, name)
        rows &= codes == (names.index(value) if value in names else len(names))
    return rows


def default_dimensions(
    columns: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> list[tuple[str]]:
    """What is sliced where nothing is declared: one dimension a slice, metadata first."""
    known = _dimensions(columns, class_names)
    return [
        (name,)
        for name, (_, values) in known.items()
        if name in (SIZE, BRIGHTNESS) or (name != CLASS and len(values) <= MAX_DEFAULT_VALUES)
    ]


# A dimension: [N] codes into its values, -1 where an image has none; values in order.
_Dimension = tuple[np.ndarray, list[str]]


def _dimensions(
    columns: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> dict[str, _Dimension]:
    found: dict[str, _Dimension] = {
        key.removeprefix(SLICE_PREFIX): _texts(values)
        for key, values in columns.items()
        if key.startswith(SLICE_PREFIX)
    }
    own: dict[str, _Dimension] = {}
    if "width" in columns and "height" in columns:
        own[SIZE] = _sizes(columns["width"], columns["height"])
    if "brightness" in columns:
        own[BRIGHTNESS] = _brightnesses(columns["brightness"])
    class_index = columns["class_index"]
    known = (class_index >= 0) & (class_index < len(class_names))
    own[CLASS] = np.where(known, class_index, -1), list(class_names)
    return {**found, **{name: value for name, value in own.items() if name not in found}}


def _texts(values: np.ndarray) -> _Dimension:
    names = sorted({text for text in values if text is not None})
    code = {text: index for index, text in enumerate(names)} | {None: -1}
    return np.array([code[text] for text in values], np.int64), names


def _sizes(width: np.ndarray, height: np.ndarray) -> _Dimension:
    short_edge = np.minimum(width, height)
    codes = np.digitize(short_edge, SIZE_EDGES)
    return np.where(short_edge > 0, codes, -1), list(SIZES)


def _brightnesses(brightness: np.ndarray) -> _Dimension:
    codes = np.where(brightness < DARK, 0, np.where(brightness > BRIGHT, 2, 1))
    return np.where(np.isfinite(brightness), codes, -1), list(BRIGHTNESSES)


def _known(dimensions: Mapping[str, _Dimension], name: str) -> _Dimension:
    if name not in dimensions:
        raise ConfigError(
            f"There is no dimension {name!r} to slice the images by."
            f"{nearest(name, dimensions)} Known: {', '.join(dimensions)}.",
            "Name known ones, or ingest the column with data.slice_columns.",
        )
    return dimensions[name]


def _crossed(dimensions: Mapping[str, _Dimension]) -> list[Slice]:
    codes = np.stack([codes for codes, _ in dimensions.values()], axis=1)
    is_complete = (codes >= 0).all(axis=1)
    found, inverse = np.unique(codes[is_complete], axis=0, return_inverse=True)
    numbers = np.full(len(codes), -1)
    numbers[is_complete] = inverse.ravel()
    return [
        Slice(
            {name: dimensions[name][1][code] for name, code in zip(dimensions, row, strict=True)},
            numbers == number,
        )
        for number, row in enumerate(found)
    ]
