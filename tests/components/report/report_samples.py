"""A finished run on disk: ten images in three awkwardly named classes, some predicted wrong."""

import dataclasses
import io
import json

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from slimworks.components import contracts, files
from slimworks.components.examples import encoding, tfrecord
from slimworks.components.report.report import ReportInputs

CLASS_NAMES = ("<b>rose</b>", "gänse & blümchen", "郁金香")
NUM_IMAGES = 10
WRONG = {1: 0.9, 4: 0.6, 7: 0.99}  # image number -> probability of the wrong class
SCRIPT = "<script>alert('x')</script>"


def jpeg(colour, size=(300, 200), **options):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "JPEG", **options)
    return stream.getvalue()


def record(index):
    class_index = index % 3
    return encoding.ImageRecord(
        encoded=jpeg((20 * index, 80, 160)),
        format="jpeg",
        original_format="jpeg",
        class_index=class_index,
        class_name=CLASS_NAMES[class_index],
        filename=f"{CLASS_NAMES[class_index]}/{index} {SCRIPT}.jpg",
        height=200,
        width=300,
        colorspace="RGB",
        channels=3,
        image_id=f"{index:064x}",
        group="",
        brightness=0.5,
        sharpness=0.1,
        span=1,
    )


def write_examples(folder):
    split = contracts.split_folder(folder, "test")
    split.mkdir(parents=True)
    with open(split / "data_tfrecord-00000-of-00001", "wb") as stream:
        for index in range(NUM_IMAGES):
            tfrecord.write_record(stream, encoding.encode_example(record(index)))


def probabilities_of(index):
    true, wrong = index % 3, (index + 1) % 3
    row = np.full(3, 0.05)
    row[wrong if index in WRONG else true] = WRONG.get(index, 0.9)
    return row / row.sum()


def prediction_rows():
    for index in range(NUM_IMAGES):
        probabilities = probabilities_of(index)
        yield {
            "image_id": f"{index:064x}",
            "filename": record(index).filename,
            "group": "",
            "class_index": index % 3,
            "predicted_index": int(probabilities.argmax()),
            "probabilities": probabilities.tolist(),
            "logits": np.log(probabilities).tolist(),
        }


def metrics(num_classes=3):
    matrix = np.diag([4, 3, 3]) if num_classes == 3 else np.eye(num_classes, dtype=int)
    matrix[1, 0] += 1
    names = CLASS_NAMES if num_classes == 3 else [f"class {i}" for i in range(num_classes)]
    return {
        "format": 1, "split": "test", "confidence": 0.95, "num_images": 10, "num_nan": 1,
        "num_classes": num_classes, "accuracy": 0.7, "accuracy_interval": [0.4, 0.89],
        "top5_accuracy": None, "top5_accuracy_interval": None, "majority_class_rate": 0.4,
        "macro_f1": 0.69, "log_loss": None,
        "classes": [
            {
                "class_index": index, "class_name": name, "support": 4, "num_predicted": 3,
                "precision": None if index == 2 else 0.75,
                "precision_interval": None if index == 2 else [0.3, 0.95],
                "recall": 0.5 + 0.1 * (index == 1), "recall_interval": [0.15, 0.85], "f1": 0.6,
            }
            for index, name in enumerate(names)
        ],
        "confusion_matrix": matrix.tolist(),
        "baseline": None,
    }  # fmt: skip


def bound(name, verdict, threshold=0.9, reason="because"):
    return {
        "name": name, "value": 0.7, "low": 0.4, "high": 0.89, "threshold": threshold,
        "verdict": verdict, "reason": f"{name}: {reason}",
    }  # fmt: skip


def decision(verdict="fail", on_inconclusive="refuse", blessed=False):
    return {
        "format": 1, "verdict": verdict, "blessed": blessed, "on_inconclusive": on_inconclusive,
        "reasons": [f"Reason {index} of {SCRIPT}." for index in range(6)],
        "bounds": [
            bound("class_recall/<b>rose</b>", "pass"),
            bound("accuracy", verdict),
            bound("accuracy_change", "inconclusive", -0.02),
            {**bound("finite_probabilities", "pass", None), "low": None, "high": None},
        ],
        "candidate": {},
        "baseline": {"num_images": 10, "fixed": 1, "broken": 3},
    }  # fmt: skip


def summary():
    return {
        "source": "/photos/<i>mine</i>", "num_files": 15, "num_images": 10,
        "class_names": list(CLASS_NAMES),
        "images_by_split": {
            split: dict.fromkeys(CLASS_NAMES, 1234) for split in contracts.SPLITS
        },
        "images_by_format": {"jpeg": 10}, "num_rejected": 45, "num_duplicates": 1,
        "sizes": {"height": {"median": 200}, "width": {"median": 300}, "bytes": {}},
        "warnings": [f"Few images of {SCRIPT}."],
    }  # fmt: skip


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def curve_rows():
    for step in range(1, 21):
        for split in ("train", "eval"):
            yield {
                "step": step, "epoch": step / 2, "split": split, "loss": 2.0 / step,
                "accuracy": 1 - 0.5 / step,
            }  # fmt: skip


def finished_run(folder, **changes):
    """Writes everything that a run leaves behind, and says where."""
    write_examples(folder / "examples")
    ingest, model, evaluation = folder / "ingest", folder / "model", folder / "evaluation"
    files.write_json(ingest / contracts.SUMMARY_FILE, summary())
    rejects = [{"file": f"{i} {SCRIPT}", "reason": "truncated", "detail": "d"} for i in range(44)]
    rejects.append({"file": "note.txt", "reason": "not_an_image", "detail": ""})
    write_jsonl(ingest / contracts.REJECTS_FILE, rejects)
    duplicates = [
        {"image_id": "0", "kept": "a.jpg", "duplicates": ["b.jpg"], "conflict": False},
        {"image_id": "1", "kept": None, "duplicates": ["c.jpg", "d.jpg"], "conflict": True},
    ]
    write_jsonl(ingest / contracts.DUPLICATES_FILE, duplicates)
    contracts.LabelMap(CLASS_NAMES).write(folder / "labels")
    write_jsonl(model / contracts.METRICS_FILE, curve_rows())
    files.write_json(model / contracts.MODEL_FACTS_FILE, {"net": "lenet", "best_step": 16})
    files.write_json(evaluation / contracts.EVALUATION_METRICS_FILE, metrics())
    parquet.write_table(
        pa.Table.from_pylist(list(prediction_rows())), evaluation / contracts.PREDICTIONS_FILE
    )
    files.write_json(folder / "gate" / contracts.DECISION_FILE, decision())
    files.write_json(folder / contracts.REPLAY_FILE, {"num_images": 64, "passed": True, "more": []})
    inputs = ReportInputs(
        run_id="run-1",
        name="flowers",
        title=f"flowers {SCRIPT}",
        ingest_report_dir=str(ingest),
        label_map_dir=str(folder / "labels"),
        model_dir=str(model),
        evaluation_dir=str(evaluation),
        examples_dir=str(folder / "examples"),
        decision_path=str(folder / "gate" / contracts.DECISION_FILE),
        replay_path=str(folder / contracts.REPLAY_FILE),
        steps=[
            {"name": "ingest", "seconds": 3.2, "cached": True, "reason": "same", "state": "reused"},
            {"name": "trainer", "seconds": 75, "cached": False, "reason": SCRIPT, "state": "ran"},
        ],
        config_yaml=f"name: {SCRIPT}\n",
        command="slimworks run --data 'my photos'",
    )
    return dataclasses.replace(inputs, **changes)
