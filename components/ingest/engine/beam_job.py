"""The Beam shell: one pipeline that calls a function for each item, on any runner.

An item is the path of a small task file, and what the function produces is a file too. So no image
ever passes through a Beam shuffle (the in-process runner holds shuffled data in memory), and an
item that a runner runs twice, or again after a worker died, leaves the same files as one that ran
once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from slimworks.components import beam_options
from slimworks.components.beam_options import RunnerFlags
from slimworks.components.errors import ConfigError, nearest
from slimworks.components.ingest.engine.workers import Workers

Counts = Mapping[str, int]

_WITHOUT_JOB_SERVER = ("DataflowRunner", beam_options.DEFAULT_RUNNER)

# Beam serializes a pipeline even where it runs it in this process: what cannot be serialized waits
# here, by a key that can.
_WORKERS: dict[str, Workers] = {}


def _count(counts: Counts) -> None:
    for name, number in counts.items():
        beam.metrics.Metrics.counter("ingest", name).inc(number)


class _Work(beam.DoFn):
    """Calls the function, and turns the counts that it returns into Beam counters."""

    def __init__(self, function: Callable[[str], Counts]) -> None:
        self._function = function

    def process(self, item: str) -> Iterator[str]:
        _count(self._function(item))
        yield item


class _HandOver(beam.DoFn):
    """Gives items to worker processes, and waits for all of them at the end of a bundle."""

    def __init__(self, key: str) -> None:
        self._key = key

    def process(self, item: str) -> None:
        _WORKERS[self._key].submit(item)

    def finish_bundle(self) -> None:
        for counts in _WORKERS[self._key].results():
            _count(counts)


def pipeline_options(arguments: Sequence[str]) -> PipelineOptions:
    """Reads all flags. Job servers have flags of their own, which Beam hands on unread.

    Raises:
        ConfigError: A value that does not fit, or a flag that neither Beam nor a job server knows.
    """
    options = PipelineOptions(list(arguments))
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            known = options.get_all_options()
            given = options.get_all_options(retain_unknown_options=True)
    except SystemExit:
        lines = complaints.getvalue().strip().splitlines() or ["it cannot be read"]
        cause = lines[-1].rpartition("error: ")[2]
        raise ConfigError(
            f"Wrong Beam flag: {cause}.", "Correct data.beam_pipeline_args: see docs/engines.md."
        ) from None
    unknown = sorted(set(given) - set(known))
    if unknown and known["runner"] in _WITHOUT_JOB_SERVER:
        raise ConfigError(
            f"--{unknown[0]} is no flag of {known['runner']}.{nearest(unknown[0], known, '--')}",
            "Correct data.beam_pipeline_args: see docs/engines.md.",
        )
    return options


def run_job(
    label: str, function: Callable[[str], Counts], items: Sequence[str], arguments: Sequence[str]
) -> None:
    """Calls `function` once or more for each item, where the arguments say.

    Args:
        label: Name of the step in the runner's own displays.
        function: Picklable and idempotent; returns counts by counter name.
        items: Paths of task files, readable by every worker.
        arguments: Beam flags; the runner is among them.
    """
    _run(label, _Work(function), items, arguments)


def run_job_in_processes(
    label: str, workers: Workers, items: Sequence[str], flags: RunnerFlags
) -> None:
    """Calls the workers' function once or more for each item; Beam itself runs in this process."""
    key = uuid.uuid4().hex
    _WORKERS[key] = workers
    try:
        in_memory = dataclasses.replace(flags, num_workers=1, running_mode=beam_options.IN_MEMORY)
        _run(label, _HandOver(key), items, in_memory.beam_flags())
    finally:
        del _WORKERS[key]


def _run(label: str, work: beam.DoFn, items: Sequence[str], arguments: Sequence[str]) -> None:
    with beam.Pipeline(options=pipeline_options(arguments)) as pipeline:
        tasks = pipeline | f"{label}: tasks" >> beam.Create(list(items))
        # Without it, a runner fuses both steps and gives all items to one worker.
        tasks = tasks | f"{label}: spread" >> beam.Reshuffle()
        _ = tasks | label >> beam.ParDo(work)
