"""What components agree on: artifact files, feature keys, the label map. No heavy imports.

Components meet here and through artifacts on disk, never through each other's Python.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from slimworks.components import files
from slimworks.components.errors import DataError

# --- Examples ------------------------------------------------------------------------------
SPLITS = ("train", "eval", "test")

# TF-Slim's feature keys, so that its readers work.
IMAGE_ENCODED = "image/encoded"  # bytes as they were in the user's file
IMAGE_FORMAT = "image/format"  # "jpeg", "png", "gif" or "bmp": what TensorFlow can decode
CLASS_INDEX = "image/class/label"  # int64
CLASS_NAME = "image/class/text"
IMAGE_FILENAME = "image/filename"  # relative to the data source, "/" between parts
IMAGE_HEIGHT = "image/height"  # upright, after the EXIF orientation
IMAGE_WIDTH = "image/width"
IMAGE_COLORSPACE = "image/colorspace"  # "RGB" or "Grayscale"
IMAGE_CHANNELS = "image/channels"  # of the stored file: 1, 2, 3 or 4
# Ours.
IMAGE_ID = "image/id"  # sha256 of the user's file, hex
IMAGE_GROUP = "image/group"  # images of one group share a split; the id where there is no group
IMAGE_BRIGHTNESS = "image/brightness"  # float, mean luma in [0, 1]
IMAGE_ORIGINAL_FORMAT = "image/original_format"  # of the user's file: also "webp", "tiff", ...
SLICE_PREFIX = "slice/"

METADATA_FEATURES = (
    IMAGE_FORMAT, IMAGE_ORIGINAL_FORMAT, CLASS_INDEX, CLASS_NAME, IMAGE_HEIGHT, IMAGE_WIDTH,
    IMAGE_COLORSPACE, IMAGE_CHANNELS, IMAGE_BRIGHTNESS,
)  # fmt: skip  # what statistics look at: never the encoded bytes

# Transformed examples: the image as the transform graph leaves it.
IMAGE_PIXELS = "image/pixels"  # serialized uint8 tensor [S, S, C]

EXAMPLES_FILE_PATTERN = "data_tfrecord-{shard:05d}-of-{num_shards:05d}"


def split_folder(examples: str | os.PathLike[str], split: str) -> Path:
    """Folder of one split inside an Examples artifact."""
    return Path(examples) / f"Split-{split}"


def split_files(examples: str | os.PathLike[str], split: str) -> list[str]:
    """TFRecord shards of one split, in order.

    Raises:
        DataError: The split has no shard.
    """
    folder = split_folder(examples, split)
    shards = sorted(
        str(path) for path in folder.glob("*") if path.is_file() and not path.name.startswith(".")
    )
    if not shards:
        raise DataError(
            f"{folder} holds no TFRecord shard.",
            f"Give a folder written by `slimworks ingest` that has the split {split!r}.",
        )
    return shards


# --- LabelMap ------------------------------------------------------------------------------
LABELS_FILE = "labels.txt"  # TF-Slim's format: one index:name a line
LABEL_MAP_FILE = "label_map.json"
LABEL_MAP_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """Class names by class index. Append-only: an index never changes its meaning."""

    class_names: tuple[str, ...] = ()

    def extended(self, class_names: Iterable[str]) -> LabelMap:
        """Returns this map with the unknown names appended in sorted order."""
        known = set(self.class_names)
        return LabelMap(self.class_names + tuple(sorted(set(class_names) - known)))

    @property
    def num_classes(self) -> int:
        """Number of classes, which is the size of the network's head."""
        return len(self.class_names)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Writes labels.txt and label_map.json into `folder`."""
        lines = [f"{index}:{name}\n" for index, name in enumerate(self.class_names)]
        files.write_text(Path(folder) / LABELS_FILE, "".join(lines))
        files.write_json(
            Path(folder) / LABEL_MAP_FILE,
            {"format": LABEL_MAP_FORMAT, "class_names": list(self.class_names)},
        )

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> LabelMap:
        """Reads label_map.json from `folder`.

        Raises:
            DataError: The file was written by a newer SlimWorks.
        """
        path = Path(folder) / LABEL_MAP_FILE
        value = files.read_json(path)
        if value["format"] > LABEL_MAP_FORMAT:
            raise DataError(
                f"{path} has format {value['format']}, this SlimWorks reads {LABEL_MAP_FORMAT}.",
                "Upgrade SlimWorks, or use another --root.",
            )
        return cls(tuple(value["class_names"]))


# --- IngestReport --------------------------------------------------------------------------
REJECTS_FILE = "rejects.jsonl"  # {"file", "reason", "detail"}
DUPLICATES_FILE = "duplicates.jsonl"  # {"image_id", "kept", "duplicates": [...], "conflict": bool}
SUMMARY_FILE = "summary.json"

# --- Statistics, Schema, Anomalies (TFX's own file names) -------------------------------------
STATISTICS_FILE = "FeatureStats.pb"
SCHEMA_FILE = "schema.pbtxt"
ANOMALIES_FILE = "SchemaDiff.pb"

# --- Model ---------------------------------------------------------------------------------
SAVED_MODEL_FOLDER = "saved_model"
CHECKPOINTS_FOLDER = "checkpoints"  # TF1 names, loadable by TF-Slim
METRICS_FILE = "metrics.jsonl"  # {"step", "epoch", "split", "loss", "accuracy", ...}
LOGS_FOLDER = "logs"  # TensorBoard
# In a work folder whose result is written: it can go as soon as the result is published.
FINISHED_FILE = "finished"
MODEL_FACTS_FILE = "model.json"  # net, image size, classes, steps, digests


def read_class_names(model: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names of a Model artifact, by class index.

    Raises:
        DataError: The folder has no model.json with "class_names".
    """
    path = Path(model) / MODEL_FACTS_FILE
    names = files.read_json(path).get("class_names") if path.is_file() else None
    if not names:
        raise DataError(
            f"{path} is missing or names no classes.",
            "Give a model folder written by `slimworks train`.",
        )
    return tuple(names)


# Assets inside the SavedModel (`assets.extra/`, where TF Serving looks for its own extras).
EXTRA_ASSETS_FOLDER = "assets.extra"

SIGNATURE_SERVE = "serving_default"  # images -> classes, probabilities, class_index, is_known
SIGNATURE_PIXELS = "predict_pixels"
SIGNATURE_CLASSIFY = "classify"
SIGNATURE_EMBED = "embed"
SIGNATURE_EVALUATE = "evaluate"  # images -> logits, probabilities by class index (offline use)

# --- Evaluation ----------------------------------------------------------------------------
PREDICTIONS_FILE = "predictions.parquet"
BASELINE_PREDICTIONS_FILE = "baseline_predictions.parquet"
EVALUATION_METRICS_FILE = "metrics.json"
TFMA_FOLDER = "tfma"
PREDICTION_COLUMNS = (
    "image_id",  # string
    "filename",  # string
    "group",  # string
    "class_index",  # int64, the true one
    "predicted_index",  # int64
    "probabilities",  # list<float32>, by class index
    "logits",  # list<float32>, by class index
)

# --- Blessing ------------------------------------------------------------------------------
DECISION_FILE = "decision.json"
PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"

# --- Replay --------------------------------------------------------------------------------
REPLAY_FILE = "replay.json"

# --- PushedModel ---------------------------------------------------------------------------
LEDGER_FOLDER = ".slimworks"
LEDGER_FILE = "ledger.jsonl"
PUSHED_FILE = "pushed.json"  # {"version", "base_path", "pushed_to"}


def version_folders(base_path: str | os.PathLike[str]) -> dict[int, Path]:
    """Published versions below `base_path`: folders whose whole name is an integer."""
    base = Path(base_path)
    if not base.is_dir():
        return {}
    return {int(p.name): p for p in base.iterdir() if p.name.isdecimal() and p.is_dir()}
