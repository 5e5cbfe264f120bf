"""What components agree on: artifact files, feature keys, the label map. No heavy imports.

Components meet here and through artifacts on disk, never through each other's Python.
"""

from __future__ import annotations

import os
from pathlib import Path

from slimworks.components import files
from slimworks.components.errors import DataError
from slimworks.components.labels.label_map import LABEL_MAP_FILE as LABEL_MAP_FILE
from slimworks.components.labels.label_map import LABELS_FILE as LABELS_FILE
from slimworks.components.labels.label_map import LabelMap as LabelMap

# --- Examples ------------------------------------------------------------------------------
SPLITS = ("train", "eval", "test")

# TF-Slim's feature keys, so that its readers work.
IMAGE_ENCODED = "image/encoded"  # bytes as they were in the user's file
IMAGE_FORMAT = "image/format"  # "jpeg", "png", "gif" or "bmp": what TensorFlow can decode
CLASS_INDEX = "image/class/label"  # int64
CLASS_NAME = "image/class/text"  # UTF-8
IMAGE_FILENAME = "image/filename"  # relative to the data source, "/" between parts
IMAGE_HEIGHT = "image/height"  # upright, after the EXIF orientation
IMAGE_WIDTH = "image/width"  # the same
IMAGE_COLORSPACE = "image/colorspace"  # "RGB" or "Grayscale"
IMAGE_CHANNELS = "image/channels"  # of the stored file: 1, 2, 3 or 4
# Ours.
IMAGE_ID = "image/id"  # sha256 of the user's file, hex
IMAGE_GROUP = "image/group"  # images of one group share a split; the id where there is no group
IMAGE_BRIGHTNESS = "image/brightness"  # float, mean luma in [0, 1]
IMAGE_SHARPNESS = "image/sharpness"  # float >= 0, low where the picture is blurred
IMAGE_ORIGINAL_FORMAT = "image/original_format"  # of the user's file: also "webp", "tiff", ...
IMAGE_SPAN = "image/span"  # int64 from 1: the ingest that first found it, which windows go by
SLICE_PREFIX = "slice/"

METADATA_FEATURES = (
    IMAGE_FORMAT, IMAGE_ORIGINAL_FORMAT, CLASS_INDEX, CLASS_NAME, IMAGE_HEIGHT, IMAGE_WIDTH,
    IMAGE_COLORSPACE, IMAGE_CHANNELS, IMAGE_BRIGHTNESS, IMAGE_SHARPNESS, IMAGE_SPAN,
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
# labels/label_map.py: labels.txt (TF-Slim's format) and label_map.json; `LABELS_FILE`,
# `LABEL_MAP_FILE` and `LabelMap` are offered here as well.

# --- IngestReport --------------------------------------------------------------------------
REJECTS_FILE = "rejects.jsonl"  # {"file", "reason", "detail"}
# {"kind": "identical" or "near", "image_id", "kept", "duplicates": [...], "image_ids": [...],
#  "classes": [...], "conflict": bool}
DUPLICATES_FILE = "duplicates.jsonl"
SUMMARY_FILE = "summary.json"  # counts, warnings, the proof that no group leaks
OUTLIERS_FILE = "outliers.jsonl"  # {"file", "image_id", "kind", "value", "typical"}
THUMBNAILS_FOLDER = "thumbnails"  # <image_id>.jpg of what the report shows

# --- Statistics, Schema, Anomalies (TFX's own file names) -------------------------------------
STATISTICS_FILE = "FeatureStats.pb"  # TFDV's DatasetFeatureStatisticsList
SCHEMA_FILE = "schema.pbtxt"  # TFDV's Schema; the classes are those of the label map
ANOMALIES_FILE = "SchemaDiff.pb"  # TFDV's Anomalies, by split
DRIFT_FILE = "drift.json"  # beside the anomalies: the newest span against the one before it

# --- Model ---------------------------------------------------------------------------------
SAVED_MODEL_FOLDER = "saved_model"  # what is served: decodes, prepares, classifies
CHECKPOINTS_FOLDER = "checkpoints"  # TF1 names, loadable by TF-Slim
METRICS_FILE = "metrics.jsonl"  # {"step", "epoch", "split", "loss", "accuracy", ...}
NAN_BATCHES_FILE = "nan_batches.jsonl"  # {"step", "what", "learning_rate", "ids", ...}
LOGS_FOLDER = "logs"  # TensorBoard
# In a work folder whose result is written: it can go as soon as the result is published.
FINISHED_FILE = "finished"
MODEL_FACTS_FILE = "model.json"  # net, image size, classes, steps, digests
# Probabilities of some eval images as training computed them (trainer/trained_answers.py).
TRAINED_ANSWERS_FILE = "trained_answers.json"
MANIFEST_FORMAT = 1
MANIFEST_FILE = "manifest.json"  # what it was made from, with digests (trainer/manifest.py)
LABEL_MAP_VERSION = "label_map_version"  # its keys: which label map the model was trained with
LABEL_MAP_DIGEST = "label_map_digest"


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


def read_label_map_version(model: str | os.PathLike[str]) -> int:
    """Version of the label map that a Model artifact was trained with; 0 where it says none."""
    path = Path(model) / MODEL_FACTS_FILE
    return int(files.read_json(path).get(LABEL_MAP_VERSION, 0)) if path.is_file() else 0


# Assets inside the SavedModel (`assets.extra/`, where TF Serving looks for its own extras).
EXTRA_ASSETS_FOLDER = "assets.extra"
WARMUP_FILE = "tf_serving_warmup_requests"  # PredictionLogs in a TFRecord
# What only the publisher knows, shown by the server's page: run_id, time (seconds since the epoch),
# metrics (as in the ledger). model.json has the rest.
PUBLISHED_FACTS_FILE = "slimworks.json"
MODEL_CARD_ASSET = "model_card.md"  # inside a SavedModel, shown by the server's page
# Cards are written after the push, beside the version: <base_path>/.slimworks/cards/<version>/.
CARDS_FOLDER = "cards"
MODEL_CARD_FILE = "model-card.md"  # in that folder, beside data-card.md

SIGNATURE_SERVE = "serving_default"  # images -> classes, probabilities, class_index, is_known
SIGNATURE_PIXELS = "predict_pixels"  # prepared pixels, float32 [N, S, S, C] -> the same
SIGNATURE_CLASSIFY = "classify"  # tf.Examples with image/encoded -> classes, scores
SIGNATURE_EMBED = "embed"  # images -> embedding: the layer before the head
SIGNATURE_EVALUATE = "evaluate"  # images -> logits, probabilities, embedding (offline use)

# --- Evaluation ----------------------------------------------------------------------------
PREDICTIONS_FILE = "predictions.parquet"  # one row an image; every metric comes from it
BASELINE_PREDICTIONS_FILE = "baseline_predictions.parquet"  # the baseline's, of the same images
EVALUATION_METRICS_FILE = "metrics.json"  # docs/reference/metrics.md
TFMA_FOLDER = "tfma"  # for tfma.load_eval_result
PREDICTION_COLUMNS = (
    "image_id",  # string
    "filename",  # string
    "group",  # string
    "class_index",  # int64, the true one
    "predicted_index",  # int64
    "probabilities",  # list<float32>, by class index
    "logits",  # list<float32>, by class index, before any calibration
)  # in every file; since format 2 also width, height (int32, upright), brightness, sharpness
# (float32), slice/<name> (string or null) by metadata column, and embedding (list<float32>) where
# asked for (evaluator/predictions_file.py)

# --- Blessing ------------------------------------------------------------------------------
DECISION_FILE = "decision.json"  # the verdict, and every bound with its value and reason
PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"

# --- Replay --------------------------------------------------------------------------------
REPLAY_FILE = "replay.json"  # what the loaded candidate answered and what it cost

# --- Shadow --------------------------------------------------------------------------------
SHADOW_FILE = "shadow.json"  # two models on the same real requests (shadow/tally.py)
SHADOW_PAGE = "shadow.html"  # the same for people

# --- PushedModel ---------------------------------------------------------------------------
LEDGER_FOLDER = ".slimworks"  # below the base path; servers ignore it
LEDGER_FILE = "ledger.jsonl"  # every event with its reasons
PUSHED_FILE = "pushed.json"  # {"version", "base_path", "pushed_to"}


def version_folders(base_path: str | os.PathLike[str]) -> dict[int, Path]:
    """Published versions below `base_path`: folders whose whole name is an integer."""
    base = Path(base_path)
    if not base.is_dir():
        return {}
    return {int(p.name): p for p in base.iterdir() if p.name.isdecimal() and p.is_dir()}
