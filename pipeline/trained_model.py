"""A trained model in this process: predictions, its evaluation, its report."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.serving import image_bytes
from slimworks.components.serving.image_sources import (
    MAX_IMAGE_BYTES,
    ImageContent,
    ImageFile,
    ImageSource,
)
from slimworks.pipeline import image_arguments

if TYPE_CHECKING:
    from slimworks.pipeline.api import Run

Image = str | os.PathLike[str] | bytes

BATCH_SIZE = 32
_SAVED_MODEL_FILE = "saved_model.pb"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Answer for one image; classes by falling probability.

    Attributes:
        path: The file; None for an image that was given as bytes.
        class_names: The best classes, as many as the model answers.
        probabilities: Theirs, in [0, 1].
        is_known: Whether the answer is to be relied on (docs/calibration.md).
    """

    path: Path | None
    class_names: tuple[str, ...]
    probabilities: tuple[float, ...]
    is_known: bool

    @property
    def class_name(self) -> str:
        """The best class."""
        return self.class_names[0]

    @property
    def probability(self) -> float:
        """Of the best class."""
        return self.probabilities[0]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How good a model is on one split.

    Attributes:
        split: "train", "eval" or "test".
        num_images: Images of the split.
        accuracy: Share that is classified right.
        accuracy_interval: Lowest and highest plausible value, at `metrics["confidence"]`.
        macro_f1: Mean of the classes' F1.
        metrics: All of metrics.json (docs/evaluation.md).
    """

    split: str
    num_images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    metrics: Mapping[str, Any]


class TrainedModel:
    """A SavedModel made by SlimWorks, and what is known about it.

    Attributes:
        saved_model: Its folder.
        facts: Of its model.json: net, image_size, class_names, ...; empty where it has none.
        folder: The Model artifact (`slimworks train`'s output); None for a bare SavedModel.
    """

    def __init__(
        self, saved_model: Path, *, folder: Path | None = None, run: Path | None = None
    ) -> None:
        self.saved_model = saved_model
        self.folder = folder
        self._run = run
        self._signature: Any = None
        places = [saved_model / contracts.EXTRA_ASSETS_FOLDER, *([folder] if folder else [])]
        found = [place / contracts.MODEL_FACTS_FILE for place in places]
        self.facts: dict[str, Any] = next((files.read_json(p) for p in found if p.is_file()), {})

    def __repr__(self) -> str:
        return f"TrainedModel({str(self.saved_model)!r})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes by index."""
        return tuple(self.facts.get("class_names", ()))

    def predict(
        self, images: Image | Sequence[Image], *, batch_size: int = BATCH_SIZE
    ) -> list[Prediction]:
        """Classifies images in this process; the answers are those of the served model.

        Args:
            images: Files, folders (all images below, sorted), encoded bytes, or several of them.
            batch_size: Images that are decoded at once.

        Raises:
            ConfigError: A folder holds no image.
            DataError: A file is missing, or no image; it is named.
        """
        given = [images] if isinstance(images, str | os.PathLike | bytes) else list(images)
        found: list[Prediction] = []
        batch: list[tuple[Path | None, bytes]] = []
        for one in _read(given):
            batch.append(one)
            if len(batch) == batch_size:
                found += self._answers(batch)
                batch = []
        return found + self._answers(batch) if batch else found

    def evaluate(
        self,
        examples: str | os.PathLike[str] | None = None,
        *,
        split: str = "test",
        settings: Mapping[str, Any] | None = None,
    ) -> Evaluation:
        """Runs the model over a split again; takes memory for one batch.

        Args:
            examples: Output of `slimworks ingest`; None: what the model was trained with.
            split: Which of its splits.
            settings: Of the section `evaluate`: `{"batch_size": 8}`.

        Raises:
            ConfigError: It is not known what the model was trained with.
            DataError: Other classes than the model's, or the examples are gone.
        """
        from slimworks.components.evaluator.config import EvaluateConfig
        from slimworks.components.evaluator.evaluate import evaluate
        from slimworks.pipeline import tfx_import

        if self.folder is None:
            raise ConfigError(
                f"{self.saved_model} is a bare SavedModel: its evaluation needs model.json.",
                "Load the run, or the folder that `slimworks train` wrote.",
            )
        examples_folder, label_map = self._data(examples)
        config = EvaluateConfig.model_validate({"split": split, **(settings or {})})
        tfx_import.prepare()
        with tempfile.TemporaryDirectory(prefix="slimworks-evaluate-") as folder:
            value = evaluate(
                str(self.folder),
                str(examples_folder),
                contracts.LabelMap.read(label_map),
                folder,
                config,
            )
        low, high = value["accuracy_interval"]
        return Evaluation(
            split, value["num_images"], value["accuracy"], (low, high), value["macro_f1"], value
        )

    def report(self) -> Path:
        """The HTML report of the run that made the model.

        Raises:
            ConfigError: No run is known, or it has none.
        """
        report = None if self._run is None else self._run / "report.html"
        if report is None or not report.is_file():
            raise ConfigError(
                f"No report is known of {self.saved_model}.",
                "Load the run: slimworks.load(RUN).report(); list them with `slimworks runs`.",
            )
        return report

    def _data(self, examples: str | os.PathLike[str] | None) -> tuple[Path, Path]:
        """Folders of examples and label map."""
        if examples is not None:
            place = Path(examples)
            if not (place / "label_map").is_dir():
                raise DataError(
                    f"{place} holds no label_map.", "Give an output of `slimworks ingest`."
                )
            return place / "examples", place / "label_map"
        assert self.folder is not None
        # A run's manifest knows what lies before the training; so does that of `slimworks train`.
        manifest = (self._run or self.folder) / contracts.MANIFEST_FILE
        source = files.read_json(manifest).get("source", {}) if manifest.is_file() else {}
        folders = [Path(source[name]) for name in ("examples", "label_map") if source.get(name)]
        if len(folders) < 2 or not all(folder.is_dir() for folder in folders):
            raise DataError(
                f"What {self.folder} was trained with is not known, or is gone.",
                "Give the output of `slimworks ingest`: evaluate(examples=...).",
            )
        return folders[0], folders[1]

    def _answers(self, batch: Sequence[tuple[Path | None, bytes]]) -> list[Prediction]:
        import tensorflow as tf

        signature = self._loaded()
        try:
            outputs = signature(images=tf.constant([image for _, image in batch]))
        except tf.errors.InvalidArgumentError as error:
            if len(batch) > 1:  # which one it was
                return [answer for one in batch for answer in self._answers([one])]
            raise DataError(
                f"The model cannot read {batch[0][0] or 'the image'}: {str(error).splitlines()[0]}",
                "Leave the file out, or re-export it as JPEG or PNG.",
            ) from error
        classes, probabilities = outputs["classes"].numpy(), outputs["probabilities"].numpy()
        is_known = outputs["is_known"].numpy().reshape(-1)
        return [
            Prediction(
                path,
                tuple(name.decode("utf-8", "replace") for name in classes[row]),
                tuple(float(value) for value in probabilities[row]),
                bool(is_known[row]),
            )
            for row, (path, _) in enumerate(batch)
        ]

    def _loaded(self) -> Any:
        if self._signature is None:
            from slimworks.pipeline import tfx_import

            tfx_import.prepare()
            import tensorflow as tf

            loaded = tf.saved_model.load(str(self.saved_model))
            # The signature goes with the object that it was loaded from.
            self._signature = loaded.signatures[contracts.SIGNATURE_SERVE]
            self._kept = loaded
        return self._signature


def find_model(source: Run | str | os.PathLike[str], version: int | None) -> TrainedModel:
    """The model of a run, a Model folder, a SavedModel, or a version below a base path.

    Raises:
        ConfigError: There is none.
    """
    from slimworks.pipeline.api import Run

    if isinstance(source, Run):
        if source.model is None:
            raise ConfigError(
                f"Run {source.run_id} has no model: {_state(source)}",
                "Load another run; `slimworks runs` lists them.",
            )
        return TrainedModel(
            source.model / contracts.SAVED_MODEL_FOLDER, folder=source.model, run=source.folder
        )
    path = Path(source)
    if (path / contracts.SAVED_MODEL_FOLDER / _SAVED_MODEL_FILE).is_file():
        return TrainedModel(path / contracts.SAVED_MODEL_FOLDER, folder=path)
    if (path / _SAVED_MODEL_FILE).is_file():
        return _pushed(path)
    versions = contracts.version_folders(path)
    if not versions:
        raise ConfigError(
            f"{path} holds no model.",
            "Give a run's id, a folder of `slimworks train`, or one that a model server watches.",
        )
    if version is not None and version not in versions:
        raise ConfigError(
            f"{path} has no version {version}.",
            f"On disk are: {', '.join(str(number) for number in sorted(versions))}.",
        )
    return _pushed(versions[max(versions) if version is None else version])


def _state(run: Run) -> str:
    failed = [step.name for step in run.steps if step.state == "failed"]
    return f"{failed[0]} failed." if failed else "; ".join(run.reasons) or "it did not train."


def _pushed(saved_model: Path) -> TrainedModel:
    """A version; with the run that made it, where it lies in a run root."""
    from slimworks.components.pusher import ledger

    base_path = saved_model.parent
    known = ledger.made_by(ledger.history(base_path)) if saved_model.name.isdecimal() else {}
    entry = known.get(int(saved_model.name)) if known else None
    run_id = entry.facts.get("run_id") if entry else None
    runs = base_path.resolve().parent.parent / "runs"  # <root>/<name>/serving/<name>/<version>
    record = runs / str(run_id) / "run.json"
    if not run_id or not record.is_file():
        return TrainedModel(saved_model)
    model = files.read_json(record).get("model")
    folder = Path(model) if model and Path(model).is_dir() else None
    return TrainedModel(saved_model, folder=folder, run=record.parent)


def _read(images: Sequence[Image]) -> Iterator[tuple[Path | None, bytes]]:
    """(file, bytes as the model decodes them), one after the other."""
    for image in images:
        for source in _sources(image):
            path = Path(source.name) if isinstance(source, ImageFile) else None
            content = source.read(MAX_IMAGE_BYTES)
            yield path, image_bytes.servable(content, source.name)


def _sources(image: Image) -> Iterator[ImageSource]:
    if isinstance(image, bytes):
        return iter([ImageContent("the image", image)])
    return image_arguments.images_at(os.fspath(image))
