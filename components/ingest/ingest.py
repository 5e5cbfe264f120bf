"""From class folders to checked, split, sharded examples: two passes over the user's files.

Pass 1 reads, hashes and decodes each file once and keeps its facts. The facts decide what is used,
which split it belongs to and where it stands. Pass 2 reads the bytes again and writes each shard
from its own list. So the shards' content is decided before one is written, memory holds one image
a worker, and no image passes through a shuffle.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from slimworks.components import contracts
from slimworks.components.contracts import LabelMap
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.ingest import evidence
from slimworks.components.ingest.checking import (
    LABEL_CONFLICT,
    CheckedFile,
    RejectedFile,
    check_all,
)
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.duplicates import Identical, unique_images
from slimworks.components.ingest.sharding import PlannedImage, write_all
from slimworks.components.ingest.source import (
    SourceListing,
    display_name,
    list_source,
    require_class_sizes,
)
from slimworks.components.ingest.splits import group_of, split_of
from slimworks.components.ingest.summary import IngestSummary, summarize, write_report

_LOGGER = logging.getLogger(__name__)
_WORK_PREFIX = ".ingest-"


@dataclasses.dataclass(frozen=True)
class IngestOutputs:
    """Folders of the three artifacts; made where missing."""

    examples: str
    label_map: str
    report: str


def ingest(
    source: str,
    outputs: IngestOutputs,
    config: DataConfig,
    label_map: LabelMap,
    beam_pipeline_args: Sequence[str] = (),
    *,
    own_folders: Sequence[str] = (),
    expected_digest: str | None = None,
) -> IngestSummary:
    """Checks every image below `source` and writes examples, label map and report.

    summary.json is written last: without it the outputs are not complete. The user's files are
    only read.

    Args:
        source: Folder that holds one folder per class.
        outputs: Where to write. Earlier outputs of ingest in these folders are replaced.
        config: The `data` section.
        label_map: The previous map: its classes keep their index, new ones are appended.
        beam_pipeline_args: Beam flags; by default everything runs in this process.
        own_folders: Folders of SlimWorks inside the source, which are no classes.
        expected_digest: Digest of the listing that was the reason to run, where there was one.

    Raises:
        ConfigError: The source does not exist, or is an output folder.
        DataError: The data cannot be used; the message says why and what to do.
    """
    start = time.monotonic()
    source = os.path.abspath(source)
    _require_other_folder(source, outputs)
    listing = list_checked_source(
        source, config, (*dataclasses.astuple(outputs), *own_folders), expected_digest
    )
    _LOGGER.info("ingest: %d files in %d classes", len(listing.files), len(listing.class_names))
    with _work_folder(outputs) as work:
        accepted, rejected = check_all(source, listing, config, work, beam_pipeline_args)
        evidence.require_few_rejects(rejected, len(listing.files), config)
        unique, identical = unique_images(accepted)
        rejected = _with_conflicts(rejected, identical, config)
        minimum = config.min_images_per_class
        evidence.require_usable_classes(listing, unique, rejected, minimum, source)
        label_map = label_map.extended(listing.class_names)
        images, group_warnings = plan_images(unique, label_map, config)
        evidence.require_splits(images, config)
        weak_points = evidence.weak_points(images, label_map, listing.class_names)
        staged = work / "examples"
        num_shards = write_all(source, images, config, work, staged, beam_pipeline_args)
        _publish(staged, outputs)
    summary = summarize(
        source, listing, label_map.class_names, images, rejected, identical,
        max_rejected_fraction=config.max_rejected_fraction, num_shards=num_shards,
        warnings=(*listing.warnings, *group_warnings, *weak_points),
        seconds=time.monotonic() - start,
    )  # fmt: skip
    label_map.write(outputs.label_map)
    write_report(Path(outputs.report), summary, rejected, identical)
    _log_end(summary, outputs)
    return summary


def _require_other_folder(source: str, outputs: IngestOutputs) -> None:
    for folder in dataclasses.astuple(outputs):
        if os.path.realpath(folder) == os.path.realpath(source):
            raise ConfigError(
                f"The output folder {folder} is the data source.",
                "Give another one: nothing is ever written beside your photos.",
            )


def list_checked_source(
    source: str,
    config: DataConfig,
    own_folders: Sequence[str],
    expected_digest: str | None = None,
) -> SourceListing:
    """Lists the source and raises what can be known without opening a file."""
    listing = list_source(source, exclude_classes=config.exclude_classes, own_folders=own_folders)
    if expected_digest and listing.digest != expected_digest:
        raise DataError(
            f"Files below {source} changed between the start of the run and their ingestion.",
            "Wait until nothing writes to the data any more, then run again.",
        )
    require_class_sizes(listing.class_sizes, config.min_images_per_class, source)
    return listing


@contextlib.contextmanager
def _work_folder(outputs: IngestOutputs) -> Iterator[Path]:
    """Yields a hidden folder beside the shards-to-be, after removing what a kill left behind."""
    for folder in dataclasses.astuple(outputs):
        os.makedirs(folder, exist_ok=True)
    examples = Path(outputs.examples)
    # From here until the end the outputs are not complete.
    (Path(outputs.report) / contracts.SUMMARY_FILE).unlink(missing_ok=True)
    for split in contracts.SPLITS:
        shutil.rmtree(contracts.split_folder(examples, split), ignore_errors=True)
    for leftover in examples.glob(f"{_WORK_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=examples))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _with_conflicts(
    rejected: Sequence[RejectedFile], identical: Sequence[Identical], config: DataConfig
) -> list[RejectedFile]:
    conflicts = [same for same in identical if same.kept is None]
    if config.on_conflict == "error":
        evidence.require_no_conflict(conflicts)
    added = [row for same in conflicts for row in _conflict_rejects(same)]
    return sorted([*rejected, *added], key=lambda file: os.fsencode(file.path))


def _conflict_rejects(same: Identical) -> Iterator[RejectedFile]:
    for file in same.others:
        others = ", ".join(
            display_name(other.path) for other in same.others if other.class_name != file.class_name
        )
        yield RejectedFile(
            file.path, file.class_name, LABEL_CONFLICT, f"the same image is also {others}"
        )


def plan_images(
    unique: Sequence[CheckedFile], label_map: LabelMap, config: DataConfig
) -> tuple[list[PlannedImage], list[str]]:
    """Decides group, split and class index of each image; returns warnings with them."""
    pattern = re.compile(config.group_regex) if config.group_regex else None
    indices = {name: index for index, name in enumerate(label_map.class_names)}
    images = []
    num_ungrouped = 0
    for file in unique:
        found = group_of(display_name(file.path), pattern)
        num_ungrouped += found is None
        group = found or file.image_id
        split = split_of(group, config.eval_fraction, config.test_fraction, config.split_seed)
        images.append(PlannedImage(file, split, indices[file.class_name], group))
    if pattern is None or num_ungrouped == 0:
        return images, []
    if num_ungrouped == len(images):
        raise DataError(
            f"data.group_regex {config.group_regex!r} matches no path, such as "
            f"{display_name(unique[0].path)!r}.",
            "Correct it: it is searched in the path below the data folder.",
        )
    return images, [f"data.group_regex matches not {num_ungrouped} of {len(images)} paths."]


def _publish(staged: Path, outputs: IngestOutputs) -> None:
    for split in contracts.SPLITS:
        name = contracts.split_folder("", split).name
        os.rename(staged / name, contracts.split_folder(outputs.examples, split))


def _log_end(summary: IngestSummary, outputs: IngestOutputs) -> None:
    sizes = {split: sum(counts.values()) for split, counts in summary.images_by_split.items()}
    _LOGGER.info(
        "ingest: %d images (%s) in %d shards, %d duplicates, %d rejected %s; %.1f s; %s",
        summary.num_images,
        ", ".join(f"{split} {count}" for split, count in sizes.items()),
        summary.num_shards,
        summary.num_duplicates,
        summary.num_rejected,
        dict(collections.Counter(summary.rejected_by_reason)),
        summary.seconds,
        outputs.examples,
    )
    for warning in summary.warnings:
        _LOGGER.warning("ingest: %s", warning)
