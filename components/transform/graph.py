"""Building the transform graph with TensorFlow Transform, in its standard folder layout."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io
from tfx_bsl.tfxio import tf_example_record

from slimworks.components import beam_options, files
from slimworks.components.transform import preprocessing_fn
from slimworks.components.transform.config import SETTINGS_FILE, TransformSettings


def pipeline_options(beam_pipeline_args: Sequence[str]) -> PipelineOptions:
    """Beam options with the local in-process runner as default."""
    return PipelineOptions(beam_options.with_default_runner(beam_pipeline_args))


def build_graph(
    graph_dir: str | Path, settings: TransformSettings, beam_pipeline_args: Sequence[str] = ()
) -> None:
    """Traces preprocessing_fn and writes it as a transform graph.

    It has no analyzer, so TensorFlow Transform needs no example: nothing is read or decoded.

    Args:
        graph_dir: Receives transform_fn/, transformed_metadata/ and metadata/, readable by
            tft.TFTransformOutput, and SETTINGS_FILE.
        settings: Family, size and channels of the stored images.
        beam_pipeline_args: Beam's own flags.
    """
    metadata = dataset_metadata.DatasetMetadata.from_feature_spec(preprocessing_fn.RAW_FEATURE_SPEC)
    source = tf_example_record.TFExampleBeamRecord(
        physical_format="inmemory", schema=metadata.schema, telemetry_descriptors=["slimworks"]
    )
    function = functools.partial(preprocessing_fn.preprocessing_fn, settings=settings)
    with (
        tempfile.TemporaryDirectory(prefix="slimworks-transform-") as temporary,
        beam.Pipeline(options=pipeline_options(beam_pipeline_args)) as pipeline,
        tft_beam.Context(temp_dir=temporary),
    ):
        no_examples = pipeline | "NoExamples" >> beam.Create([])
        transform_fn = (no_examples, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(
            function
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(graph_dir))
    raw_metadata = Path(graph_dir) / tft.TFTransformOutput.RAW_METADATA_DIR
    metadata_io.write_metadata(metadata, str(raw_metadata))
    files.write_json(Path(graph_dir) / SETTINGS_FILE, settings.model_dump(mode="json"))
