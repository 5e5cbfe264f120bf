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
from slimworks.components.report.facts import ReportInputs

CLASS_NAMES = ("<b>rose</b>", "gänse & blümchen", "郁金香")
NUM_IMAGES = 10
WRONG = {1: 0.9, 4: 0.6, 7: 0.99}  # image number -> probability of the wrong class
# Of these the candidate fixes 2 and 3, and breaks 4 and 7.
BASELINE_WRONG = {1: 0.5, 2: 0.8, 3: 0.9}
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


def probabilities_of(index, wrong=WRONG):
    true, other = index % 3, (index + 1) % 3
    row = np.full(3, 0.05)
    row[other if index in wrong else true] = wrong.get(index, 0.9)
    return row / row.sum()


def write_predictions(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(list(rows)), path)


def prediction_rows(wrong=WRONG):
    for index in range(NUM_IMAGES):
        probabilities = probabilities_of(index, wrong)
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
    if num_classes == 3:
        matrix[1, 2] = 2  # as `WRONG` has it
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


def full_metrics():
    """As `metrics`, with all that newer evaluations measure."""
    value = metrics()
    for entry in value["classes"]:
        entry |= {"f1_interval": [0.4, 0.7], "ap": 0.81, "ap_interval": [0.7, 0.9]}
    bins = [
        {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
        {"low": 0.5, "high": 0.75, "count": 4, "confidence": 0.6, "accuracy": 0.5},
        {"low": 0.75, "high": 1.0, "count": 6, "confidence": 0.9, "accuracy": 1.0},
    ]
    slices = [
        {
            "slice": {"camera": f"{SCRIPT}", "size": "small"}, "num_images": 4, "accuracy": 0.25,
            "accuracy_interval": [0.05, 0.6], "macro_f1": 0.2, "log_loss": 1.7, "ece": 0.3,
        },
        {
            "slice": {"size": "large"}, "num_images": 6, "accuracy": 1.0,
            "accuracy_interval": [0.6, 1.0], "macro_f1": 1.0, "log_loss": None, "ece": None,
        },
    ]  # fmt: skip
    return {
        **value, "macro_f1_interval": [0.5, 0.8], "brier": 0.31, "brier_interval": [0.2, 0.4],
        "ece": 0.08, "ece_interval": [0.05, 0.12], "reliability": {"bins": bins},
        "reliability_before": {"bins": bins[1:]}, "slices": slices,
        "baseline": {**metrics(), "accuracy": 0.8, "class_names": list(CLASS_NAMES)},
    }  # fmt: skip


def manifest():
    return {
        "model": f"/runs/{SCRIPT}/model",
        "source": {
            "source": "/photos", "source_digest": "a1b2c3d4e5f6a7b8c9", "num_images": 1234,
            "span": 3, "images_by_split": {"train": 1000, "test": 234}, "label_map_version": 2,
        },
        "data": {"stored_examples_digest": "d" * 64},
        "checkpoint": {"path": "/nets/model.ckpt", "weights_digest": "c" * 64},
        "code": {"version": "0.1", "digest": "e" * 64, "git": None},
        "result": {"weights_digest": "f" * 64},
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
                "accuracy": 1 - 0.5 / step, "learning_rate": 0.01 / step,
            }  # fmt: skip


def step(name, seconds, state, reason, cpu_seconds, peak_memory_bytes):
    return {
        "name": name, "seconds": seconds, "cached": state == "reused", "state": state,
        "reason": reason, "cpu_seconds": cpu_seconds, "peak_memory_bytes": peak_memory_bytes,
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
    phases = [{"name": "head", "first_step": 0}, {"name": "all", "first_step": 6}]
    facts = {"net": "lenet", "best_step": 16, "phases": phases}
    facts["determinism"] = {"level": "bit-equal"}
    facts |= {"num_steps": 100, "batch_size": 32, "train_seconds": 64.0}
    facts["calibration"] = {
        "temperature": 1.4, "log_loss_before": 0.9, "log_loss_after": 0.7, "split": "eval",
    }  # fmt: skip
    files.write_json(model / contracts.MODEL_FACTS_FILE, facts)
    files.write_json(evaluation / contracts.EVALUATION_METRICS_FILE, full_metrics())
    files.write_json(folder / contracts.MANIFEST_FILE, manifest())
    write_predictions(evaluation / contracts.PREDICTIONS_FILE, prediction_rows())
    write_predictions(
        evaluation / contracts.BASELINE_PREDICTIONS_FILE, prediction_rows(BASELINE_WRONG)
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
        manifest_path=str(folder / contracts.MANIFEST_FILE),
        steps=[
            step("ingest", 3.2, "reused", "same", 0.4, 300e6),
            step("trainer", 75, "ran", SCRIPT, 119.6, 1.9e9),
            step("evaluator", 4.0, "ran", "", 10.0, 900e6),
        ],
        config_yaml=f"name: {SCRIPT}\n# {'wide ' * 60}\n",
        command="slimworks run --data 'my photos'",
    )
    return dataclasses.replace(inputs, **changes)
