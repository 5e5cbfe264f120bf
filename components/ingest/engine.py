"""The Beam shell: runs a function over work items on whichever runner the arguments name.

An item is the path of a small task file, and what the function produces is a file too, written
under a temporary name and renamed. So no image ever passes through a Beam shuffle (the in-process
runner holds shuffled data in memory), and an item that a runner runs twice, or restarts after a
worker died, leaves the same files as one that ran once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

Counts = Mapping[str, int]

# Named because Beam's own default (DirectRunner) first tries to download and start the Prism
# binary, and only then falls back to this one. `--direct_num_workers` and
# `--direct_running_mode=multi_processing` apply to it.
DEFAULT_RUNNER = "--runner=FnApiRunner"


class _Work(beam.DoFn):
    """Calls the function and turns the counts that it returns into Beam counters."""

    def __init__(self, function: Callable[[str], Counts]) -> None:
        self._function = function

    def process(self, item: str) -> Iterator[str]:
        for name, count in self._function(item).items():
            beam.metrics.Metrics.counter("ingest", name).inc(count)
        yield item


def run_tasks(
    label: str,
    function: Callable[[str], Counts],
    items: Sequence[str],
    beam_pipeline_args: Sequence[str] = (),
) -> None:
    """Calls `function` once or more for each item.

    Args:
        label: Name of the step in the runner's own displays.
        function: Picklable and idempotent; returns counts by counter name.
        items: Paths of task files, readable by every worker.
        beam_pipeline_args: Beam flags, such as `--direct_num_workers=2`.
    """
    arguments = list(beam_pipeline_args)
    if not any(argument.startswith("--runner") for argument in arguments):
        arguments.append(DEFAULT_RUNNER)
    with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
        tasks = pipeline | f"{label}: tasks" >> beam.Create(list(items))
        # Without it, a runner fuses both steps and gives all items to one worker.
        tasks = tasks | f"{label}: spread" >> beam.Reshuffle()
        _ = tasks | label >> beam.ParDo(_Work(function))
