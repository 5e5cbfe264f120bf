"""Which components run, in what order, with which settings: the one TFX pipeline.

```
ingest -> statistics -> schema -> validation
   |                                  |
   +------> transform <- data.retrain_* reached?
   |            |                     |
   |         trainer <----------------+
   |            |
   |            +----> baseline (resolver: last blessed model other than this one)
   |            |           |
   +------> evaluator <-----+
                |
              gate -- blessed? --> replay -> pusher
```
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimworks.components.ingest.sources.detect import canonical_source
from slimworks.components.preprocessing import geometry
from slimworks.components.statistics.config import DriftConfig
from slimworks.components.trainer.config import ExportConfig
from slimworks.pipeline.config import PipelineConfig
from slimworks.pipeline.paths import PipelinePaths

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

# Names as people see them, in topological order. The resolver is part of the evaluation.
NODES = (
    "ingest", "statistics", "schema", "validation", "transform", "trainer", "baseline",
    "evaluator", "gate", "replay", "pusher",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Locations:
    """What depends on where a pipeline runs, as text: local folders or mounted volumes."""

    source: str
    pipeline_root: str
    work: str
    state: str
    base_path: str

    @classmethod
    def local(cls, config: PipelineConfig, paths: PipelinePaths) -> Locations:
        """Locations below a local run root."""
        above = config.push.base_path or str(paths.serving)
        base_path = above.rstrip("/") if "://" in above else str(Path(above).resolve())
        return cls(
            source=canonical_source(str(config.data.source), config.data),
            pipeline_root=str(paths.artifacts),
            work=str(paths.work),
            state=str(paths.state),
            base_path=f"{base_path}/{config.serving.model_name or paths.name}",
        )


def build_pipeline(config: PipelineConfig, name: str, locations: Locations, force: str = "") -> Any:
    """Returns the `tfx.dsl.Pipeline` of a configuration.

    Args:
        config: The resolved configuration.
        name: Pipeline name: the scope of caching and of the baseline.
        locations: Folders.
        force: JSON of {"by", "reason"} of `run --force`, or empty.
    """
    from tfx.dsl.experimental.conditionals import conditional
    from tfx.orchestration import pipeline as tfx_pipeline

    from slimworks.components.evaluator.component import Evaluator
    from slimworks.components.gate.component import Gate
    from slimworks.components.ingest.component import Ingest
    from slimworks.components.pusher.component import Pusher
    from slimworks.components.replay.component import Replay
    from slimworks.components.statistics.component import SchemaInference, Statistics, Validation
    from slimworks.components.trainer.component import Trainer
    from slimworks.components.transform.component import Transform
    from slimworks.pipeline.baseline import baseline_resolver

    ingest = Ingest(
        source=locations.source,
        config=config.data,
        state=locations.state,
    ).with_id("ingest")
    examples, label_map = ingest.outputs["examples"], ingest.outputs["label_map"]
    drift = drift_config(config)
    statistics = Statistics(
        examples=examples,
        ingest_report=ingest.outputs["report"],
        has_triggers=drift.has_triggers,
    ).with_id("statistics")
    schema = SchemaInference(
        statistics=statistics.outputs["statistics"], label_map=label_map
    ).with_id("schema")
    validation = Validation(
        statistics=statistics.outputs["statistics"],
        schema=schema.outputs["schema"],
        config=drift,
    ).with_id("validation")
    retrain = validation.outputs["anomalies"].future()[0].custom_property("retrain") == 1
    # Only the first step needs the condition: what a skipped step feeds is skipped (launcher.py).
    # Without triggers there is none, and transform need not wait for the validation.
    with conditional.Cond(retrain) if drift.has_triggers else contextlib.nullcontext():
        transform = Transform(
            examples=examples,
            settings=transform_settings(config),
        ).with_id("transform")
    trainer = Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        label_map=label_map,
        model=config.model,
        train=config.train,
        export=export_config(config),
        work=locations.work,
        checkpoint_state=checkpoint_state(config.train.checkpoint_path),
    ).with_id("trainer")
    # Bad data must stop the run before hours of training, not beside them.
    trainer.add_upstream_node(validation)
    baseline = baseline_resolver(trainer.outputs["model"]).with_id("baseline")
    evaluator = Evaluator(
        examples=examples,
        model=trainer.outputs["model"],
        label_map=label_map,
        baseline_model=baseline.outputs["model"],
        config=config.evaluate,
    ).with_id("evaluator")
    gate = Gate(
        evaluation=evaluator.outputs["evaluation"],
        model=trainer.outputs["model"],
        label_map=label_map,
        baseline_model=baseline.outputs["model"],
        examples=examples,
        config=config.gate,
        force=force,
    ).with_id("gate")
    nodes = [
        ingest, statistics, schema, validation, transform, trainer, baseline, evaluator, gate,
    ]  # fmt: skip
    blessing = gate.outputs["blessing"]
    with conditional.Cond(blessing.future()[0].custom_property("blessed") == 1):
        replay = Replay(
            examples=examples,
            model=trainer.outputs["model"],
            evaluation=evaluator.outputs["evaluation"],
            blessing=blessing,
            baseline_model=baseline.outputs["model"],
            config=config.serving,
        ).with_id("replay")
        pusher = Pusher(
            model=trainer.outputs["model"],
            blessing=blessing,
            replay=replay.outputs["replay"],
            evaluation=evaluator.outputs["evaluation"],
            config=config.push,
            base_path=locations.base_path,
        ).with_id("pusher")
    nodes += [replay, pusher]
    return tfx_pipeline.Pipeline(
        pipeline_name=name,
        pipeline_root=locations.pipeline_root,
        components=nodes,
        enable_cache=True,
    )


def checkpoint_state(checkpoint_path: str | None) -> str:
    """Names, sizes and times of a checkpoint's files; empty where they are not on this machine."""
    if checkpoint_path is None:
        return ""
    path = Path(checkpoint_path)
    found = path.iterdir() if path.is_dir() else path.parent.glob(glob.escape(path.name) + "*")
    states = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in found if p.is_file()]
    return json.dumps(sorted(states))


def drift_config(config: PipelineConfig) -> DriftConfig:
    """When drift stops a run and what triggers training: the part of `data` for validation."""
    return DriftConfig(
        stop_above_drift=config.data.stop_above_drift,
        retrain=config.retrain.with_shorthands(
            min_new_images=config.data.retrain_min_new_images,
            min_drift=config.data.retrain_min_drift,
        ),
    )


def export_config(config: PipelineConfig) -> ExportConfig:
    """What the exported model answers: the part of `serving` that the trainer needs."""
    return ExportConfig.model_validate(
        {name: getattr(config.serving, name) for name in ExportConfig.model_fields}
    )


def transform_settings(config: PipelineConfig) -> Any:
    """Resolves the size and channels of the stored images from the network."""
    from slimworks.components.transform.config import TransformSettings

    spec = config.model.spec
    family = config.transform.preprocessing_name or spec.preprocessing
    image_size = config.model.resolved_image_size
    grayscale = config.transform.use_grayscale
    is_grey = spec.num_channels == 1 if grayscale is None else grayscale
    stored_size = config.transform.stored_size or geometry.stored_size(family, image_size)
    return TransformSettings(
        family=family, stored_size=stored_size, num_channels=1 if is_grey else 3
    )


def compile_pipeline(pipeline: Any) -> pipeline_pb2.Pipeline:
    """Compiles to TFX's intermediate representation."""
    from tfx.dsl.compiler import compiler

    return compiler.Compiler().compile(pipeline)
