"""One small real run without a fault: photos, examples, a trained model, and who judges it."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from slimworks.components import contracts
from slimworks.components.errors import SlimWorksError
from slimworks.components.evaluator.config import EvaluateConfig
from slimworks.components.evaluator.evaluate import evaluate
from slimworks.components.gate.blessing import bless
from slimworks.components.gate.config import GateConfig
from slimworks.components.gate.decision import Decision
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.ingest import IngestOutputs, ingest
from slimworks.components.replay.replay import replay
from slimworks.components.serving.config import ServingConfig
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.train import TrainInputs, train
from slimworks.components.transform.config import TransformSettings
from slimworks.components.transform.transform import TransformOutputs, transform

SIZE = 32
CLASS_NAMES = ("blue", "green", "grey", "red")
_COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "grey": (120, 120, 120),
            "red": (200, 60, 40)}  # fmt: skip
NUM_PER_CLASS = 120
EVALUATE = EvaluateConfig(tfma=False)


@dataclasses.dataclass(frozen=True)
class Healthy:
    """Artifacts of the run, by folder."""

    folder: Path

    @property
    def examples(self) -> Path:
        """Original bytes by split."""
        return self.folder / "examples"

    @property
    def graph(self) -> Path:
        """The transform graph."""
        return self.folder / "graph"

    @property
    def model(self) -> Path:
        """The trained model: the candidate, and its own baseline."""
        return self.folder / "model"

    @property
    def early_model(self) -> Path:
        """The same training after a few steps."""
        return self.folder / "early"

    @property
    def label_map(self) -> contracts.LabelMap:
        """Classes by index."""
        return contracts.LabelMap.read(self.folder / "label_map")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a candidate.

    Attributes:
        caught_by: "evaluator", "gate: NAMES of the bounds that did not pass", "replay"; empty
            where nobody objected.
        verdict: "pass", "fail", "inconclusive", "refused" or "repaired".
        reason: The first sentence that a user reads.
    """

    caught_by: str
    verdict: str
    reason: str


def make(folder: Path) -> Healthy:
    """Writes photos, ingests, transforms and trains twice: to the end, and a few steps."""
    healthy = Healthy(folder)
    manifest = write_photos(folder / "photos")
    ingest_into(folder, manifest)
    transform(
        str(healthy.examples),
        TransformOutputs(str(healthy.graph), str(folder / "stored")),
        TransformSettings(family="inception", stored_size=SIZE, num_channels=3),
    )
    train_into(healthy, healthy.model, epochs=12)
    train_into(healthy, healthy.early_model, epochs=0.3)
    return healthy


def write_photos(folder: Path, num_per_class: int = NUM_PER_CLASS) -> Path:
    """Noise with a bar in the class's colour, from two cameras; returns the manifest."""
    rng = np.random.default_rng(11)
    folder.mkdir(parents=True)
    rows = []
    for class_name in CLASS_NAMES:
        for number in range(num_per_class):
            pixels = rng.integers(0, 110, (SIZE, SIZE, 3))
            start = int(rng.integers(2, 18))
            colour = np.array(_COLOURS[class_name]) + rng.integers(-25, 25, 3)
            pixels[:, start : start + 12] = colour + rng.integers(-20, 20, (SIZE, 12, 3))
            name = f"{class_name}-{number:03d}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
            rows.append((name, class_name, "old" if number % 3 == 0 else "new"))
    path = folder / "photos.csv"
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "class", "camera"), *rows])
    return path


def ingest_into(folder: Path, manifest: Path, **settings: Any) -> Any:
    """Ingests a manifest into examples/, label_map/ and report/; returns the summary."""
    config = DataConfig(slice_columns=("camera",), test_fraction=0.4, **settings)
    outputs = IngestOutputs(*(str(folder / name) for name in ("examples", "label_map", "report")))
    return ingest(str(manifest), outputs, config, str(folder / "state"))


def train_into(healthy: Healthy, output: Path, epochs: float) -> None:
    """Trains mobilenet_v1_025 from scratch."""
    folder = healthy.folder
    train(
        TrainInputs(str(folder / "stored"), str(healthy.graph), str(folder / "label_map")),
        str(output),
        str(folder / f"work-{output.name}"),
        ModelConfig(net="mobilenet_v1_025", image_size=SIZE),
        TrainConfig(epochs=epochs, batch_size=16, optimizer="adam", learning_rate=0.003),
        ExportConfig(),
    )


def copy_model(healthy: Healthy, output: Path) -> Path:
    """A copy to be damaged."""
    shutil.copytree(healthy.model, output)
    return output


def judge(
    healthy: Healthy,
    model: Path,
    work: Path,
    *,
    examples: Path | None = None,
    label_map: contracts.LabelMap | None = None,
    with_replay: bool = False,
) -> Outcome:
    """Evaluates, decides against the healthy model, and replays what was blessed."""
    examples, label_map = examples or healthy.examples, label_map or healthy.label_map
    evaluation = work / "evaluation"
    try:
        evaluate(model, examples, label_map, evaluation, EVALUATE, healthy.model)
    except SlimWorksError as error:
        return Outcome("evaluator", "refused", error.cause)
    decided = bless(
        evaluation, model, label_map, work / "blessing", GateConfig(), healthy.model, examples
    )
    if not decided.blessed or not with_replay:
        return of_decision(decided)
    saved_model = model / contracts.SAVED_MODEL_FOLDER
    predictions = evaluation / contracts.PREDICTIONS_FILE
    settings = ServingConfig(replay_num_images=24)
    try:
        replay(saved_model, examples, "test", predictions, work / "replay", settings)
    except SlimWorksError as error:
        return Outcome("replay", "refused", error.cause)
    return of_decision(decided)


def of_decision(decided: Decision) -> Outcome:
    """The gate's word."""
    names = [bound.name for bound in decided.bounds if bound.verdict != "pass"]
    caught_by = f"gate: {', '.join(names[:3])}" if names else ""
    return Outcome(caught_by, decided.verdict, decided.reasons[0])
