"""Is there enough usable data to train, choose and decide with? Raises what the user must know."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from slimworks.components import contracts
from slimworks.components.errors import DataError
from slimworks.components.ingest.checking import CheckedFile, RejectedFile
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.duplicates import Identical
from slimworks.components.ingest.sharding import PlannedImage
from slimworks.components.ingest.source import SourceListing, display_name, require_class_sizes
from slimworks.components.ingest.splits import split_of

_SEEDS_TO_TRY = 1_000
_NAMES_TO_SHOW = 5
FEW_TEST_IMAGES = 30  # an accuracy of 0.9 on 30 images means 0.74 to 0.97
_REJECTS_TO_LOG = 200  # more than anybody repairs by hand

_LOGGER = logging.getLogger(__name__)


def require_few_rejects(
    rejected: Sequence[RejectedFile], num_files: int, config: DataConfig
) -> None:
    """Raises DataError with counts by reason where too many files cannot be used."""
    fraction = len(rejected) / max(1, num_files)
    if fraction <= config.max_rejected_fraction:
        return
    # The run stops here and its outputs with it: the log keeps what has to be repaired.
    for file in rejected[:_REJECTS_TO_LOG]:
        _LOGGER.warning("set aside: %s: %s", display_name(file.path), file.detail)
    if len(rejected) > _REJECTS_TO_LOG:
        _LOGGER.warning("set aside: %d more files", len(rejected) - _REJECTS_TO_LOG)
    counts = Counter(file.reason for file in rejected).most_common()
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
    first = rejected[0]
    raise DataError(
        f"{len(rejected)} of {num_files} files ({fraction:.1%}) cannot be used: {reasons}. "
        f"The first is {display_name(first.path)} ({first.detail}); "
        f"data.max_rejected_fraction is {config.max_rejected_fraction:g}.",
        f"Repair or delete them (listed above), or accept it: "
        f"--set data.max_rejected_fraction={math.ceil(fraction * 100) / 100:g}",
    )


def weak_points(
    images: Iterable[PlannedImage], label_map: contracts.LabelMap, class_names: Iterable[str]
) -> list[str]:
    """Warnings about classes that are gone or cannot be judged, for the summary."""
    test_sizes = Counter(image.file.class_name for image in images if image.split == "test")
    present = set(class_names)
    warnings = [
        f"The class {name!r} of an earlier run has no images any more; it keeps its index {index}."
        for index, name in enumerate(label_map.class_names)
        if name not in present
    ]
    untested = [name for name in label_map.class_names if name in present and not test_sizes[name]]
    if untested:
        names = ", ".join(repr(name) for name in untested[:_NAMES_TO_SHOW])
        more = f" and {len(untested) - _NAMES_TO_SHOW} more" * (len(untested) > _NAMES_TO_SHOW)
        warnings.append(f"No test image shows {names}{more}: the gate cannot judge that.")
    num_test = sum(test_sizes.values())
    if num_test < FEW_TEST_IMAGES:
        warnings.append(
            f"Only {num_test} test images: the gate will hardly be able to decide. Add photos, or "
            "raise data.test_fraction."
        )
    return warnings


def require_usable_classes(
    listing: SourceListing,
    accepted: Iterable[CheckedFile],
    rejected: Iterable[RejectedFile],
    minimum: int,
    source: str,
) -> None:
    """Raises DataError where no image of a class can be used, or too few different ones."""
    sizes = Counter(dict.fromkeys(listing.class_names, 0))
    sizes.update(file.class_name for file in accepted)
    reasons = Counter((file.class_name, file.reason) for file in rejected)
    for name in listing.class_names:
        if sizes[name] == 0:
            found = [f"{n} {reason}" for (owner, reason), n in reasons.items() if owner == name]
            raise DataError(
                f"No image of the class {name!r} can be used: {', '.join(sorted(found))}.",
                f"Put readable images into '{os.path.join(source, name)}', or leave the class "
                f"out: --set 'data.exclude_classes=[\"{name}\"]'",
            )
    require_class_sizes(sizes, minimum, source)


def require_no_conflict(conflicts: Sequence[Identical]) -> None:
    """Raises DataError for the first image that stands under two classes."""
    if conflicts:
        names = " and ".join(display_name(file.path) for file in conflicts[0].others)
        raise DataError(
            f"{len(conflicts)} images stand under several classes: {names} are identical.",
            "Delete the wrong ones, or let them be set aside: --set data.on_conflict=set_aside",
        )


def require_splits(images: Sequence[PlannedImage], config: DataConfig) -> None:
    """Raises DataError where a split is empty, or a class has nothing to train on."""
    if _is_sufficient(images, lambda image: image.split):
        return
    counts = Counter(image.split for image in images)
    empty = [split for split in contracts.SPLITS if not counts[split]]
    if empty:
        cause = f"None of the {len(images)} images falls into the {empty[0]} split."
        smallest = min(config.eval_fraction, config.test_fraction)
        # So many images leave a split empty once in a hundred.
        wanted = math.ceil(math.log(0.01) / math.log(1 - smallest))
        missing = max(1, wanted - len(images))
    else:
        trained = {image.file.class_name for image in images if image.split == "train"}
        name = min({image.file.class_name for image in images} - trained)
        size = sum(image.file.class_name == name for image in images)
        cause = f"None of the {size} images of the class {name!r} falls into the train split."
        missing = size
    raise DataError(cause, f"Add about {missing} more photos{_other_seed(images, config)}")


def _is_sufficient(
    images: Iterable[PlannedImage], split_of_image: Callable[[PlannedImage], str]
) -> bool:
    places = {(image.file.class_name, split_of_image(image)) for image in images}
    classes = {name for name, _ in places}
    is_complete = {split for _, split in places} == set(contracts.SPLITS)
    return is_complete and all((name, "train") in places for name in classes)


def _other_seed(images: Sequence[PlannedImage], config: DataConfig) -> str:
    """Returns ", or ..." with a seed that works, where one of the first thousand does."""
    fractions = (config.eval_fraction, config.test_fraction)
    for seed in range(_SEEDS_TO_TRY):
        splits = {image.group: split_of(image.group, *fractions, seed) for image in images}
        if _is_sufficient(images, lambda image, splits=splits: splits[image.group]):  # type: ignore[misc]
            return f", or split differently: --set data.split_seed={seed}"
    return ", or use finer groups in data.group_regex" if config.group_regex else ""
