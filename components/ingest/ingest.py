"""Labelled images in; checked, split and sharded examples, label map and report out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.contracts import LabelMap
from slimworks.components.ingest import evidence, spans, summary
from slimworks.components.ingest.catalogue import Catalogue, open_catalogue
from slimworks.components.ingest.changes import (
    listed_units,
    next_source_state,
    remembered,
    take_units,
)
from slimworks.components.ingest.checking import absorb_leftovers, check_all, check_settings
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.listing import (
    label_map_of,
    list_items,
    require_usable_listing,
)
from slimworks.components.ingest.planning import (
    Planned,
    newest_span,
    plan_images,
    split_settings,
)
from slimworks.components.ingest.selection import select_images
from slimworks.components.ingest.sharding import NewShard, choose_images, write_shards
from slimworks.components.ingest.sources.detect import open_source
from slimworks.components.ingest.sources.items import Source
from slimworks.components.ingest.storage import access
from slimworks.components.ingest.summary import IngestSummary

_LOGGER = logging.getLogger(__name__)
_WORK_FOLDER = "work"
_SETTINGS_FILE = "settings.json"


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
    state: str,
    beam_pipeline_args: Sequence[str] = (),
    *,
    source_state: str | None = None,
) -> IngestSummary:
    """Checks new and changed images of `source` and writes examples, label map and report.

    summary.json is written last: without it the outputs are not complete. The user's files are
    only read.

    Args:
        source: As `data.source`.
        outputs: Where to write. Earlier outputs of ingest in these folders are replaced.
        config: The `data` section.
        state: Folder that keeps the catalogue, the shards and the label map for the next ingest.
        beam_pipeline_args: Beam flags; by default everything runs in this process.
        source_state: What `changes.describe_source` said when it was decided to ingest.

    Raises:
        ConfigError: The source does not exist, or the settings do not fit it.
        DataError: The data cannot be used; the message says why and what to do.
    """
    start = time.monotonic()
    access.configure(beam_pipeline_args)
    opened = open_source(source, config, (*dataclasses.astuple(outputs), state))
    with open_catalogue(state) as catalogue:
        return _Ingest(opened, outputs, config, catalogue, beam_pipeline_args, source_state).run(
            start
        )


class _Ingest:
    """One ingest: what its steps share."""

    def __init__(
        self,
        source: Source,
        outputs: IngestOutputs,
        config: DataConfig,
        catalogue: Catalogue,
        beam_pipeline_args: Sequence[str],
        source_state: str | None,
    ) -> None:
        self.source = source
        self.outputs = outputs
        self.config = config
        self.catalogue = catalogue
        self.beam_pipeline_args = beam_pipeline_args
        self.source_state = source_state
        self.warnings: list[str] = []

    def run(self, start: float) -> IngestSummary:
        """Runs all steps; returns the summary that it wrote."""
        catalogue, config = self.catalogue, self.config
        checked = check_settings(config) | {"place": [self.source.location, config.image_root]}
        with _work_folder(catalogue, checked) as work:
            previous = spans.previous_label_map(catalogue)
            sizes, digest = self._list(previous)
            label_map = label_map_of(
                self.source, sizes, config, previous, catalogue.get("span", 0) + 1
            )
            require_usable_listing(self.source, sizes, config, label_map)
            self._check(work, checked)
            class_names = {name: label_map.class_name_of(name) for name in sizes}
            self.warnings += select_images(catalogue, class_names, config)
            evidence.require_usable_classes(
                catalogue, class_names.values(), config.min_images_per_class, self.source.location
            )
            spans.forget_shards(catalogue, spans.missing_shards(catalogue))
            last_span = catalogue.get("span", 0)
            planned = plan_images(catalogue, label_map, config, last_span + 1)
            evidence.require_splits(catalogue, planned, config)
            new_shards = self._write_shards(work)
            # Files that changed meanwhile are out.
            evidence.require_few_rejects(catalogue, config)
            evidence.require_splits(catalogue, planned, config)
            facts = summary.group_facts(catalogue, planned)
            evidence.require_no_leak(facts)
            changes = summary.count_changes(catalogue, planned, last_span)
            span = newest_span(catalogue)
            self._commit(planned, label_map, new_shards, digest, span, changes)
            self.warnings += evidence.weak_points(
                catalogue, label_map, class_names.values(), planned
            )
            self.warnings += evidence.moves(changes)
            result = self._publish(planned, label_map, facts | changes, digest, span, new_shards,
                                   start)  # fmt: skip
            with catalogue.transaction():
                catalogue.set(summary.UNREPORTED, None)
        _log_end(result, self.outputs)
        return result

    def _list(self, previous: LabelMap) -> tuple[Counter[str], str]:
        sizes: Counter[str] = Counter()
        self.catalogue.replace_listing(list_items(self.source, self.config, sizes, previous))
        digest = take_units(self.catalogue, listed_units(self.catalogue, self.source))
        self.warnings += self.source.notes.warnings
        self.warnings += evidence.other_source(self.catalogue, self.source.location)
        _LOGGER.info("ingest: %d images in %d classes", sizes.total(), len(sizes))
        return sizes, digest

    def _check(self, work: Path, checked: dict[str, Any]) -> None:
        catalogue, settings = self.catalogue, check_settings(self.config)
        if catalogue.get("check_settings", settings) != settings:
            catalogue.forget_outcomes()
        if catalogue.get("place", checked["place"]) != checked["place"]:
            catalogue.forget_versions()
        with catalogue.transaction():
            catalogue.set("check_settings", settings)
            catalogue.set("place", checked["place"])
        absorb_leftovers(catalogue, work)
        num_checked = check_all(catalogue, self.config, work, self.beam_pipeline_args)
        _LOGGER.info("ingest: %d new or changed images checked", num_checked)
        evidence.require_few_rejects(catalogue, self.config)

    def _write_shards(self, work: Path) -> list[NewShard]:
        """Second pass; again without the old shards that turn out to be damaged."""
        while True:
            choose_images(self.catalogue, self.config)
            new_shards, damaged = write_shards(
                self.catalogue, self.config, work, self.beam_pipeline_args
            )
            if not damaged:
                return new_shards
            spans.forget_shards(self.catalogue, damaged)

    def _commit(
        self,
        planned: Planned,
        label_map: LabelMap,
        new_shards: Sequence[NewShard],
        digest: str,
        span: int,
        changes: dict[str, int],
    ) -> None:
        source_state = self.source_state or next_source_state(self.catalogue, digest)
        spans.commit(
            self.catalogue,
            new_shards,
            {
                "span": span,
                "source": self.source.location,
                "generation": self.catalogue.get("generation", 0) + 1,
                "source_state": source_state,
                "split_settings": split_settings(self.config),
                spans.LABEL_MAP: label_map.to_json(),
                summary.UNREPORTED: changes,
                **remembered(self.catalogue, self.source, self.config),
            },
            is_anew=planned.is_anew,
        )
        label_map.write(self.catalogue.folder)  # for whoever loses the catalogue

    def _publish(
        self,
        planned: Planned,
        label_map: LabelMap,
        facts: dict[str, Any],
        digest: str,
        span: int,
        new_shards: Sequence[NewShard],
        start: float,
    ) -> IngestSummary:
        _clear(self.outputs)
        num_shards = spans.publish(self.catalogue, self.outputs.examples)
        label_map.write(self.outputs.label_map)
        report = Path(self.outputs.report)
        columns = summary.read_columns(self.catalogue)
        details = summary.write_details(report, self.catalogue, columns, planned, self.config)
        num_files = self.catalogue.count("SELECT COUNT(*) FROM listed")
        values = facts | details | summary.content_facts(self.catalogue, columns, label_map)
        values |= summary.reject_facts(self.catalogue, num_files)
        num_old = num_files - facts["num_new_files"] - facts["num_changed_files"]
        result = IngestSummary(
            state_id=self.catalogue.get("state_id"),
            source=self.source.location,
            format=self.source.format,
            source_digest=digest,
            span=span,
            window=self.config.window,
            num_files=num_files,
            num_unchanged_files=max(0, num_old),
            num_new_images=self.catalogue.count(
                "SELECT COUNT(*) FROM planned WHERE is_live AND span > ?", (facts["previous_span"],)
            ),
            max_rejected_fraction=self.config.max_rejected_fraction,
            num_ignored=self.source.notes.num_ignored,
            ignored=tuple(self.source.notes.ignored),
            num_shards=num_shards,
            num_shards_written=len(new_shards),
            warnings=tuple(self.warnings),
            seconds=round(time.monotonic() - start, 3),
            **{key: value for key, value in values.items() if key != "num_anew"},
        )
        files.write_json(report / contracts.SUMMARY_FILE, dataclasses.asdict(result))
        return result


@contextlib.contextmanager
def _work_folder(catalogue: Catalogue, settings: dict[str, object]) -> Iterator[Path]:
    """Yields the folder of work files. A killed or failed ingest leaves it for the next one."""
    work = catalogue.folder / _WORK_FOLDER
    marker = work / _SETTINGS_FILE
    if not marker.exists() or files.read_json(marker) != json.loads(json.dumps(settings)):
        shutil.rmtree(work, ignore_errors=True)
        files.write_json(marker, settings)
    yield work
    shutil.rmtree(work)


def _clear(outputs: IngestOutputs) -> None:
    """Removes earlier outputs: from here until the end they are not complete."""
    for folder in dataclasses.astuple(outputs):
        os.makedirs(folder, exist_ok=True)
    (Path(outputs.report) / contracts.SUMMARY_FILE).unlink(missing_ok=True)
    folders = [contracts.split_folder(outputs.examples, split) for split in contracts.SPLITS]
    for folder in (*folders, Path(outputs.report) / contracts.THUMBNAILS_FOLDER):
        if folder.exists():
            shutil.rmtree(folder)


def _log_end(result: IngestSummary, outputs: IngestOutputs) -> None:
    sizes = {split: sum(counts.values()) for split, counts in result.images_by_split.items()}
    reasons = result.rejected_by_reason.items()
    _LOGGER.info(
        "ingest: span %d: %d images (%s), %d new, %d removed; %d duplicates, %d near-duplicates, "
        "%d rejected%s; images that changed split: %d; %d of %d shards written; %.1f s; %s",
        result.span,
        result.num_images,
        ", ".join(f"{split} {count}" for split, count in sizes.items()),
        result.num_new_images,
        result.num_removed_images,
        result.num_duplicates,
        result.num_near_duplicates,
        result.num_rejected,
        f" ({', '.join(f'{count} {reason}' for reason, count in reasons)})" if reasons else "",
        result.num_changed_split,
        result.num_shards_written,
        result.num_shards,
        result.seconds,
        outputs.examples,
    )
    for warning in result.warnings:
        _LOGGER.warning("ingest: %s", warning)
