"""Too little memory: fewer images at a time, the same batch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from slimworks.components import contracts, files
from slimworks.components.errors import TrainingError
from slimworks.components.trainer.state import Progress, TrainingState
from slimworks.components.trainer.watchdog import halve_micro_batch

TRAIN = """
import sys
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.train import TrainInputs, train

tiny, folder, net, image_size, batch_size = sys.argv[1:]
train(
    TrainInputs(*(f"{tiny}/{part}" for part in ("stored", "graph", "label_map"))),
    f"{folder}/model",
    f"{folder}/work",
    ModelConfig(net=net, image_size=int(image_size)),
    TrainConfig(
        max_number_of_steps=2, batch_size=int(batch_size), optimizer="sgd", learning_rate=0.01
    ),
    ExportConfig(),
)
"""


def _train(
    tiny: Path, folder: Path, net: str, image_size: int, batch_size: int, megabytes: int
) -> str:
    """Trains with so much memory for tensors; returns what it says."""
    environment = {
        **os.environ,
        "TF_CPU_ALLOCATOR_USE_BFC": "true",
        "TF_CPU_BFC_MEM_LIMIT_IN_MB": str(megabytes),
        # oneDNN's kernels crash where an allocation fails (TensorFlow 2.16, mkl_util.h).
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    settings = [net, str(image_size), str(batch_size)]
    command = [sys.executable, "-c", TRAIN, str(tiny), str(folder), *settings]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stderr


def _sizes(said: str) -> list[int]:
    return [int(size) for size in re.findall(r"back to step \d+, (\d+) images at a time", said)]


@pytest.mark.slow
def test_a_training_that_finds_too_little_memory_ends_with_fewer_images_at_a_time(
    tiny_examples: Path, tmp_path: Path
) -> None:
    """64 images at 128 px need more than 200 MB, 16 less than 100."""
    said = _train(tiny_examples, tmp_path, "mobilenet_v1_025", 128, 64, megabytes=130)
    model = tmp_path / "model"
    assert (model / contracts.MODEL_FACTS_FILE).exists(), said[-3000:]
    facts = files.read_json(model / contracts.MODEL_FACTS_FILE)
    size = facts["watchdog"]["micro_batch_size"]
    assert size in (32, 16, 8), said[-3000:]
    assert _sizes(said) == [s for s in (32, 16, 8) if s >= size]
    assert facts["watchdog"]["num_repairs"] == len(_sizes(said))
    assert (facts["num_steps"], facts["batch_size"]) == (2, 64)
    assert (model / contracts.SAVED_MODEL_FOLDER / "saved_model.pb").exists()


@pytest.mark.slow
@pytest.mark.big
def test_a_single_image_that_is_too_many_ends_it(tiny_examples: Path, tmp_path: Path) -> None:
    """The workspace of a convolution's gradient is as large for one image as for 19."""
    said = _train(tiny_examples, tmp_path, "cifarnet", 28, 80, megabytes=60)
    assert "TrainingError: Out of memory at step 0 with one image at a time." in said
    assert _sizes(said) == [40, 20, 10, 5, 3, 2, 1]
    state = files.read_json(tmp_path / "work" / "state.json")
    assert state["micro_batch_size"] == 1, "outlives the process"
    assert (state["step"], state["rate_scale"]) == (0, 1.0)


def _state(folder: Path) -> TrainingState:
    state = TrainingState(str(folder))
    state.track({"weights": tf.Variable([1.0])})
    state.save(Progress(step=3, phase="all"))
    return state


def test_images_at_a_time_are_halved_down_to_one(tmp_path: Path) -> None:
    state, progress = _state(tmp_path), Progress(step=5, phase="all")
    sizes = []
    for _ in range(4):
        halve_micro_batch(state, progress, batch_size=12, can_split=True)
        sizes.append(progress.micro_batch_size)
    assert sizes == [6, 3, 2, 1]
    assert progress.step == 3, "back to the checkpoint"
    with pytest.raises(TrainingError) as caught:
        halve_micro_batch(state, progress, batch_size=12, can_split=True)
    assert caught.value.cause == "Out of memory at step 3 with one image at a time."
    assert caught.value.fix == (
        "Lower model.image_size, take a smaller net (`slimworks nets`), or give the process more "
        "memory; then run again: it goes on from its checkpoint."
    )
    assert caught.value.exit_code == 4


def test_several_processes_ask_for_a_smaller_batch(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        halve_micro_batch(_state(tmp_path), Progress(step=5), batch_size=16, can_split=False)
    assert caught.value.cause == "Out of memory at step 5 with 16 images at a time."
    assert caught.value.fix.startswith("Lower train.batch_size or model.image_size, ")
