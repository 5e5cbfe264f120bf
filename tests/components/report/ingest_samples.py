"""What ingest leaves behind after a third span, with hostile names and a few pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from report_samples import CLASS_NAMES, SCRIPT, jpeg, summary, write_jsonl

from slimworks.components import contracts, files


def image_id(number: int) -> str:
    return f"{number:064x}"


def grown_summary(**changes: Any) -> dict[str, Any]:
    return {
        **summary(), "format": "folders", "span": 3, "previous_span": 2, "window": None,
        "num_new_images": 41, "num_new_files": 45, "num_changed_files": 2,
        "num_unchanged_files": 798, "num_removed_images": 7, "num_changed_split": 0,
        "num_near_duplicates": 14, "num_near_duplicate_groups": 6, "num_set_aside_for_splits": 4,
        "groups_in_several_splits": 0, "label_map_version": 5,
        "brightness": {"min": 0.04, "median": 0.41, "max": 0.93},
        "sharpness": {"min": 0.504, "median": 1036.378, "max": 5625.441},
        "sizes": {
            "height": {"min": 180, "median": 333, "max": 1024},
            "width": {"min": 160, "median": 500, "max": 1200},
            "bytes": {"min": 9_000, "median": 101_000, "max": 1_204_000},
        },
        "imbalance": {"largest": [CLASS_NAMES[0], 1011], "smallest": ["few", 71], "ratio": 14.24},
        "num_outliers": 9,
        **changes,
    }  # fmt: skip


def duplicate(kind: str, numbers: list[int], names: list[str], **changes: Any) -> dict[str, Any]:
    kept = changes.get("kept") or names[0]
    return {
        "kind": kind, "image_id": image_id(numbers[0]), "kept": None, "duplicates": names,
        "image_ids": [image_id(number) for number in numbers],
        "classes": sorted({name.partition("/")[0] for name in [*names, kept]}),
        "conflict": False, **changes,
    }  # fmt: skip


DUPLICATES = [
    duplicate("identical", [1], ["roses/copy.jpg"], kept="roses/1.jpg"),
    duplicate("near", [7, 8], ["roses/8.jpg"], kept="roses/7.jpg"),
    duplicate("near", [2, 3], ["tulips/3.jpg"], kept=f"roses/{SCRIPT}.jpg", conflict=True),
    duplicate("identical", [4], ["roses/4.jpg", "tulips/4.jpg"], conflict=True),
]


def outlier(number: int, kind: str) -> dict[str, Any]:
    return {
        "file": f"{kind}/{number} {SCRIPT}.jpg", "image_id": image_id(number), "kind": kind,
        "value": 0.031, "typical": 0.412,
    }  # fmt: skip


OUTLIERS = [outlier(5, "blurred"), outlier(6, "dark")]


def drift(**changes: Any) -> dict[str, Any]:
    return {
        "span": 3, "previous_span": 2, "num_images": 41, "num_previous_images": 400,
        "distances": {
            "image/class/text": {"distance": 0.11, "measure": "l_infinity"},
            "image/brightness": {"distance": 0.48, "measure": "jensen_shannon"},
        },
        "largest": {"feature": "image/brightness", "distance": 0.48}, "is_enough_data": True,
        "since_trained": None, "retrain": True, "reasons": [f"Why: {SCRIPT}."], **changes,
    }  # fmt: skip


def grown_report(folder: Path, **changes: Any) -> Path:
    """Writes the report; pictures exist of the images 1 to 5."""
    files.write_json(folder / contracts.SUMMARY_FILE, grown_summary(**changes))
    write_jsonl(folder / contracts.DUPLICATES_FILE, DUPLICATES)
    write_jsonl(folder / contracts.OUTLIERS_FILE, OUTLIERS)
    row = {"file": f"{SCRIPT}.jpg", "reason": "truncated", "detail": SCRIPT}
    (folder / contracts.REJECTS_FILE).write_text(json.dumps(row) + "\n", "utf-8")
    for number in range(1, 6):
        path = folder / contracts.THUMBNAILS_FOLDER / f"{image_id(number)}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg((40 * number, 80, 160), (96, 64)))
    return folder
