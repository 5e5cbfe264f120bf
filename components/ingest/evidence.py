"""Is there enough usable data to train, choose and decide with? Raises what the user must know."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from slimworks.components import contracts
from slimworks.components.errors import DataError
from slimworks.components.ingest.catalogue import Catalogue
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.planning import Planned, newest_span
from slimworks.components.ingest.selection import shown
from slimworks.components.ingest.splits import other_seed

_NAMES_TO_SHOW = 5
FEW_TEST_IMAGES = 30  # an accuracy of 0.9 on 30 images means 0.74 to 0.97
_REJECTS_TO_LOG = 200  # more than anybody repairs by hand

_LOGGER = logging.getLogger(__name__)
_REJECTED = "FROM listed l JOIN outcomes o USING (name) WHERE o.reason IS NOT NULL"


def require_class_sizes(sizes: Mapping[str, int], minimum: int, source: str) -> None:
    """Raises DataError where a class has fewer than `minimum` images; names the smallest."""
    small = sorted((count, name) for name, count in sizes.items() if count < minimum)
    if not small:
        return
    count, name = small[0]
    more = len(small) - 1
    others = f" (so have {more} more)" if more else ""
    raise DataError(
        f"The class {name!r} has {_images(count, 'usable ')}, fewer than "
        f"data.min_images_per_class = {minimum}{others}.",
        f"Add {minimum - count} or more photos to '{os.path.join(source, name)}', or leave the "
        f"class out: --set 'data.exclude_classes=[\"{name}\"]'",
    )


def count_rejected(catalogue: Catalogue) -> tuple[int, int]:
    """Number of files that cannot be used, and of all."""
    num_rejected = catalogue.count(f"SELECT COUNT(*) {_REJECTED}")
    return num_rejected, catalogue.count("SELECT COUNT(*) FROM listed")


def require_few_rejects(catalogue: Catalogue, config: DataConfig) -> None:
    """Raises DataError with counts by reason where too many files cannot be used."""
    num_rejected, num_files = count_rejected(catalogue)
    fraction = num_rejected / max(1, num_files)
    if fraction <= config.max_rejected_fraction:
        return
    # The run stops here and its outputs with it: the log keeps what has to be repaired.
    first = catalogue.connection.execute(
        f"SELECT name, o.detail {_REJECTED} ORDER BY name LIMIT {_REJECTS_TO_LOG}"
    ).fetchall()
    for name, detail in first:
        _LOGGER.warning("set aside: %s: %s", shown(name), detail)
    if num_rejected > _REJECTS_TO_LOG:
        _LOGGER.warning("set aside: %d more files", num_rejected - _REJECTS_TO_LOG)
    counts = catalogue.connection.execute(
        f"SELECT COUNT(*), o.reason {_REJECTED} GROUP BY o.reason ORDER BY COUNT(*) DESC, o.reason"
    )
    reasons = ", ".join(f"{count} {reason}" for count, reason in counts)
    name, detail = first[0]
    raise DataError(
        f"{num_rejected} of {num_files} files ({fraction:.1%}) cannot be used: {reasons}. "
        f"The first is {shown(name)} ({detail}); "
        f"data.max_rejected_fraction is {config.max_rejected_fraction:g}.",
        f"Repair or delete them (listed above), or accept it: "
        f"--set data.max_rejected_fraction={math.ceil(fraction * 100) / 100:g}",
    )


def require_usable_classes(
    catalogue: Catalogue, class_names: Iterable[str], minimum: int, source: str
) -> None:
    """Raises DataError where no image of a class can be used, or too few different ones."""
    sizes = Counter(dict.fromkeys(class_names, 0))
    found = catalogue.connection.execute(
        "SELECT class_name, COUNT(*) FROM usable GROUP BY class_name"
    )
    sizes.update(dict(found.fetchall()))
    for name in sorted(name for name, count in sizes.items() if not count):
        raise DataError(
            f"No image of the class {name!r} can be used: {_reasons_of(catalogue, name)}.",
            f"Put readable images into '{os.path.join(source, name)}', or leave the class "
            f"out: --set 'data.exclude_classes=[\"{name}\"]'",
        )
    require_class_sizes(sizes, minimum, source)


def _reasons_of(catalogue: Catalogue, class_name: str) -> str:
    rows = catalogue.connection.execute(
        "SELECT COUNT(*), COALESCE(s.reason, o.reason) AS why FROM listed l "
        "JOIN class_map c ON c.source_name = l.class_name JOIN outcomes o USING (name) "
        "LEFT JOIN set_aside s USING (name) WHERE c.class_name = ? AND why IS NOT NULL "
        "GROUP BY why ORDER BY why",
        (class_name,),
    )
    return ", ".join(f"{count} {reason}" for count, reason in rows)


def require_splits(catalogue: Catalogue, planned: Planned, config: DataConfig) -> None:
    """Raises DataError where a split is empty, or a class has nothing to train on."""
    rows = catalogue.connection.execute(
        "SELECT split, class_name, COUNT(*) FROM planned WHERE is_live GROUP BY split, class_name"
    ).fetchall()
    _require_window(catalogue, {name for _, name, _ in rows}, config)
    sizes: Counter[str] = Counter()
    for split, _, count in rows:
        sizes[split] += count
    total = sizes.total()
    trained = {name for split, name, _ in rows if split == "train"}
    untrained = sorted({name for _, name, _ in rows} - trained)
    empty = [split for split in contracts.SPLITS if not sizes[split]]
    if not empty and not untrained:
        return
    if empty:
        cause = f"None of the {total} images falls into the {empty[0]} split."
        smallest = min(config.eval_fraction, config.test_fraction)
        missing = max(1, math.ceil(2 / smallest) - total)  # two groups' worth
    else:
        name = untrained[0]
        missing = sum(count for _, found, count in rows if found == name)
        cause = f"The class {name!r} has no image in the train split, of {_images(missing)}."
    raise DataError(cause, f"Add about {missing} more photos{_other_seed(planned, config)}")


def _require_window(catalogue: Catalogue, found: set[str], config: DataConfig) -> None:
    """Raises DataError where the window leaves a class nothing."""
    oldest = catalogue.connection.execute(
        "SELECT class_name, MAX(span) FROM planned GROUP BY class_name ORDER BY class_name"
    ).fetchall()
    lost = {name: span for name, span in oldest if name not in found}
    if not lost:
        return
    name, window = min(lost), newest_span(catalogue) + 1 - min(lost.values())
    raise DataError(
        f"data.window = {config.window} leaves no image of the class {name!r}: its newest is of "
        f"span {lost[name]}.",
        f"Widen it (--set data.window={window}), or leave the class out: "
        f"--set 'data.exclude_classes=[\"{name}\"]'",
    )


def _other_seed(planned: Planned, config: DataConfig) -> str:
    """Returns ", or ..." with a seed that works, where one is found soon."""
    fractions = (config.eval_fraction, config.test_fraction)
    ties = np.concatenate([planned.pairs, planned.ties])
    seed = other_seed(planned.table, ties, *fractions, besides=config.split_seed)
    if seed is not None:
        return f", or make all splits anew: --set data.split_seed={seed}"
    return ", or use finer groups in data.group_regex" if config.group_regex else ""


def require_no_leak(facts: Mapping[str, int]) -> None:
    """Raises RuntimeError, a fault of ours, before a plan that leaks becomes the state."""
    if facts["groups_in_several_splits"]:
        raise RuntimeError(f"{facts['groups_in_several_splits']} groups are in several splits")


def moves(changes: Mapping[str, int]) -> list[str]:
    """A warning where images changed their split."""
    if not changes["num_changed_split"]:
        return []
    why = "the settings of the splits changed"
    if not changes["num_anew"]:
        why = "the source puts them elsewhere"
    warning = f"{_images(changes['num_changed_split'])} changed split: {why}."
    if changes["num_moved_to_test"]:
        warning += (
            f" {changes['num_moved_to_test']} of them are in the test split now; older models may "
            "have trained on them."
        )
    return [warning]


def other_source(catalogue: Catalogue, location: str) -> list[str]:
    """A warning where no file is known although many were: the wrong source, most likely."""
    old = catalogue.get("source", location)
    num_known = catalogue.count("SELECT COUNT(*) FROM committed_files")
    num_common = catalogue.count("SELECT COUNT(*) FROM listed JOIN committed_files USING (name)")
    if old == location or num_common or not num_known:
        return []
    return [
        f"{location} has none of the {num_known} files that were ingested here before, from {old}: "
        "they all leave. Was another output meant?"
    ]


def weak_points(
    catalogue: Catalogue,
    label_map: contracts.LabelMap,
    class_names: Iterable[str],
    planned: Planned,
) -> list[str]:
    """Warnings about what the numbers of the summary mean for training and judging."""
    return [
        *_lost_classes(label_map, set(class_names)),
        *_leaks(catalogue),
        *_few_tests(catalogue, set(class_names), planned),
    ]


def _lost_classes(label_map: contracts.LabelMap, present: set[str]) -> list[str]:
    merged = label_map.merged_since(0)
    return [
        f"The class {name!r} of an earlier run has no images any more; it keeps its index {index}. "
        "Was it renamed? Then say so: data.rename_classes."
        for index, name in enumerate(label_map.class_names)
        if name not in present and index not in merged
    ]


def _leaks(catalogue: Catalogue) -> list[str]:
    """Warnings about the user's own splits."""
    num_identical = catalogue.count(
        "SELECT COUNT(*) FROM (SELECT 1 FROM accepted JOIN usable USING (image_id) "
        "GROUP BY image_id HAVING COUNT(DISTINCT accepted.rank) > 1)"
    )
    num_related = catalogue.count("SELECT COUNT(*) FROM set_aside WHERE reason = 'split_leak'")
    warnings = []
    if num_identical:
        warnings.append(
            f"Your splits leak: {_are(num_identical)} in several of them; each is used in one "
            "only (test before eval before train)."
        )
    if num_related:
        warnings.append(
            f"Your splits leak: {_are(num_related)} left out, belonging together with images "
            "of another split (split_leak in rejects.jsonl)."
        )
    return warnings


def _are(count: int) -> str:
    return "1 image is" if count == 1 else f"{count} images are"


def _images(count: int, which: str = "") -> str:
    return f"{count} {which}image{'s' * (count != 1)}"


def _few_tests(catalogue: Catalogue, present: set[str], planned: Planned) -> list[str]:
    rows = catalogue.connection.execute(
        "SELECT class_name, COUNT(*) FROM planned WHERE is_live AND split = 'test' "
        "GROUP BY class_name"
    )
    sizes: Counter[str] = Counter(dict(rows.fetchall()))
    warnings = []
    untested = sorted(name for name in present if not sizes[name])
    if untested:
        names = ", ".join(repr(name) for name in untested[:_NAMES_TO_SHOW])
        more = f" and {len(untested) - _NAMES_TO_SHOW} more" * (len(untested) > _NAMES_TO_SHOW)
        warnings.append(f"No test image shows {names}{more}: the gate cannot judge that.")
    if sizes.total() < FEW_TEST_IMAGES:
        is_given = bool((planned.table.user_split >= 0).all())
        advice = "photos to it" if is_given else "photos, or raise data.test_fraction"
        warnings.append(
            f"The test split has {_images(sizes.total())} only: the gate will hardly be able to "
            f"decide. Add {advice}."
        )
    return warnings
