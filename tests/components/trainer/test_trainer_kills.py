"""A training that is killed, again and again, ends with the weights of one that is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components import contracts, files

SCRIPT = Path(__file__).with_name("killing.py")
NUM_STEPS = 12
SETTINGS = {
    "deterministic": True,
    "max_number_of_steps": NUM_STEPS,
    "batch_size": 16,
    "save_interval_secs": 0,  # a checkpoint each step: most of the time one is being written
    "log_every_n_steps": 1,
}
TIMES = {"seconds", "images_per_second"}


def _values(prefix: str) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(prefix)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def _lines(folder: Path) -> list[dict[str, Any]]:
    lines = files.read_jsonl(folder / contracts.METRICS_FILE)
    return [{key: line[key] for key in line if key not in TIMES} for line in lines]


def _assert_equal_bits(folder: Path, pattern: str) -> None:
    whole, killed = (next((folder / name).glob(pattern)) for name in ("whole", "killed"))
    expected, actual = (_values(str(path).removesuffix(".index")) for path in (whole, killed))
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].tobytes() == value.tobytes(), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "num_repairs"),
    [
        ({"optimizer": "momentum", "learning_rate": 0.01, "moving_average_decay": 0.9}, 0),
        ({"optimizer": "adam", "learning_rate": 0.002, "augmentation": {"mixup_alpha": 0.2}}, 0),
        ({"optimizer": "sgd", "learning_rate": 0.3}, 2),
    ],
    ids=["momentum and averages", "adam", "rate too high"],
)
def test_kills_change_no_bit(
    tiny_examples: Path,
    tmp_path: Path,
    settings: dict[str, Any],
    num_repairs: int,
    request: pytest.FixtureRequest,
) -> None:
    """The net has dropout; slots and averages are compared too."""
    job = {
        "tiny": str(tiny_examples),
        "folder": str(tmp_path),
        "settings": {**SETTINGS, **settings},
        "num_kills": 8,
        "seed": len(request.node.name),
    }
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    kills = json.loads(done.stdout.splitlines()[-1])["kills"]
    assert len(kills) >= 4
    assert len({kill["step"] for kill in kills}) > 2, "they came at different steps"
    _assert_equal_bits(tmp_path, f"{contracts.CHECKPOINTS_FOLDER}/model.ckpt-*.index")
    for name in ("whole", "killed"):
        (tmp_path / name / "work").symlink_to(tmp_path / f"{name}.work")
    _assert_equal_bits(tmp_path, f"work/model.ckpt-*-{NUM_STEPS}.index")
    assert _lines(tmp_path / "killed") == _lines(tmp_path / "whole")
    facts = [
        files.read_json(tmp_path / name / contracts.MODEL_FACTS_FILE)
        for name in ("whole", "killed")
    ]
    assert facts[1]["best_step"] == facts[0]["best_step"]
    assert [each["watchdog"]["num_repairs"] for each in facts] == [num_repairs] * 2
    assert facts[1]["determinism"]["level"] == ("seeded" if num_repairs else "bit-equal")
