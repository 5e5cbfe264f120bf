"""Examples to transformed examples: the component's work as one function of paths and settings."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam

from slimworks.components import contracts, files
from slimworks.components.errors import ERRORS, SlimWorksError
from slimworks.components.transform import graph
from slimworks.components.transform.config import TransformSettings
from slimworks.components.transform.materialize import load_example_transform, transform_shard

logger = logging.getLogger(__name__)

# Training reads these two; tests are evaluated on the original bytes, through the exported model.
TRANSFORMED_SPLITS = ("train", "eval")


@dataclasses.dataclass(frozen=True)
class TransformOutputs:
    """Folders that `transform` fills.

    Attributes:
        graph_dir: The transform graph, readable by tft.TFTransformOutput.
        examples_dir: Transformed examples, `Split-<name>/` each: contracts.IMAGE_PIXELS,
            CLASS_INDEX and IMAGE_ID.
    """

    graph_dir: str | Path
    examples_dir: str | Path


def transform(
    examples_dir: str | Path,
    outputs: TransformOutputs,
    settings: TransformSettings,
    splits: Sequence[str] = TRANSFORMED_SPLITS,
    beam_pipeline_args: Sequence[str] = (),
) -> dict[str, int]:
    """Builds the transform graph and applies it to examples.

    Every input shard becomes one output shard of the same name with the same order of examples, so
    that the same input gives the same bytes.

    Args:
        examples_dir: Examples artifact written by ingest.
        outputs: Folders to fill. A split's folder must not exist yet; it appears when complete.
        settings: Family, size and channels of the stored images.
        splits: Splits to transform.
        beam_pipeline_args: Beam's own flags; by default it runs in this process.

    Returns:
        Number of examples by split.

    Raises:
        DataError: A split has no shard, an example cannot be decoded, or a shard is damaged.
        FileExistsError: A split's folder exists already.
    """
    start = time.monotonic()
    logger.info("transform: %s with %s", examples_dir, settings.canonical_json())
    shards = {split: contracts.split_files(examples_dir, split) for split in splits}
    folders = {split: contracts.split_folder(outputs.examples_dir, split) for split in splits}
    for folder in folders.values():
        if folder.exists():  # said now, not after all the work
            raise FileExistsError(f"{folder} exists")
    graph.build_graph(outputs.graph_dir, settings, beam_pipeline_args)
    with contextlib.ExitStack() as stack:
        jobs = []
        for split in splits:
            partial = stack.enter_context(files.new_folder(folders[split]))
            jobs += [(split, shard, str(partial / Path(shard).name)) for shard in shards[split]]
        num_examples = _run(jobs, str(outputs.graph_dir), beam_pipeline_args)
    counts = {split: num_examples.get(split, 0) for split in splits}
    seconds = time.monotonic() - start
    logger.info("transform: %s examples in %.1f s -> %s", counts, seconds, outputs.examples_dir)
    return counts


class _TransformShard(beam.DoFn):
    """Transforms whole shards; examples are Beam counters, a bad one is noted and fails the run."""

    def __init__(self, graph_dir: str, failures_dir: str) -> None:
        self._graph_dir = graph_dir
        self._failures_dir = failures_dir

    def setup(self) -> None:
        self._transform = load_example_transform(self._graph_dir)

    def process(self, job: tuple[str, str, str]) -> Iterator[None]:
        split, source, target = job
        try:
            num_examples = transform_shard(source, target, self._transform)
        except SlimWorksError as error:
            # Beam turns exceptions into text: the cause and the fix travel in a file.
            value = {"type": type(error).__name__, "cause": error.cause, "fix": error.fix}
            files.write_json(Path(self._failures_dir) / f"{split}-{Path(source).name}", value)
            return
        beam.metrics.Metrics.counter(__name__, split).inc(num_examples)
        yield from ()


def _run(
    jobs: Sequence[tuple[str, str, str]], graph_dir: str, beam_pipeline_args: Sequence[str]
) -> dict[str, int]:
    """Transforms all shards in one Beam job. Returns the number of examples by split."""
    with tempfile.TemporaryDirectory(prefix="slimworks-transform-") as failures_dir:
        pipeline = beam.Pipeline(options=graph.pipeline_options(beam_pipeline_args))
        _ = (
            pipeline
            | "Shards" >> beam.Create(list(jobs))
            | "Spread" >> beam.Reshuffle()
            | "Transform" >> beam.ParDo(_TransformShard(graph_dir, failures_dir))
        )
        result = pipeline.run()
        result.wait_until_finish()
        for failure in sorted(Path(failures_dir).iterdir()):
            value = files.read_json(failure)
            raise ERRORS[value["type"]](value["cause"], value["fix"])
        counters = result.metrics().query()["counters"]
    return {counter.key.metric.name: counter.committed for counter in counters}
