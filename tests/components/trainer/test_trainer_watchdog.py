"""Losses that are no number, a full disk: back to the last good checkpoint, and what is told."""

from __future__ import annotations

import dataclasses
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components import contracts, files
from slimworks.components.errors import TrainingError
from slimworks.components.examples.reading import iterate_examples
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.state import Progress, TrainingState
from slimworks.components.trainer.train import TrainInputs, train
from slimworks.components.trainer.watchdog import (
    RATE_FACTOR,
    NotFiniteError,
    Watchdog,
    disk_full_error,
    lower_rate,
)

RATE = 0.3


def _train(tiny: Path, folder: Path, **settings: Any) -> dict[str, Any]:
    inputs = TrainInputs(*(str(tiny / part) for part in ("stored", "graph", "label_map")))
    return train(
        inputs,
        str(folder / "model"),
        str(folder / "work"),
        ModelConfig(net="lenet"),
        TrainConfig.model_validate({"optimizer": "sgd", "batch_size": 16, **settings}),
        ExportConfig(),
    )


def _events(folder: Path) -> list[dict[str, Any]]:
    return list(files.read_jsonl(folder / contracts.NAN_BATCHES_FILE))


def test_a_loss_is_looked_at_one_step_late_with_its_own_images() -> None:
    watchdog = Watchdog()
    watchdog.watch(1, tf.constant(["a"]), tf.constant(0.5))
    watchdog.watch(2, tf.constant(["b", "c"]), tf.constant(np.nan))
    with pytest.raises(NotFiniteError) as caught:
        watchdog.watch(3, tf.constant(["d"]), tf.constant(np.nan))
    assert (caught.value.step, caught.value.image_ids) == (2, ["b", "c"])
    assert caught.value.what == "loss is nan"


def test_the_newest_loss_is_looked_at_before_it_is_too_late() -> None:
    watchdog = Watchdog()
    watchdog.watch(1, tf.constant(["a"]), tf.constant(np.inf))
    with pytest.raises(NotFiniteError, match="loss is inf"):
        watchdog.check()
    watchdog.check()  # once is enough


def test_a_training_recovers_with_a_lower_rate(
    tiny_examples: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rate is ten times what this net bears."""
    facts = _train(
        tiny_examples,
        tmp_path,
        learning_rate=RATE,
        epochs=4,
        log_every_n_steps=1,
        save_interval_secs=1_000,  # back to the start, however slow the machine is
    )
    assert facts["best_eval_accuracy"] > 0.6
    assert facts["watchdog"]["num_repairs"] in (1, 2)
    scale = RATE_FACTOR ** facts["watchdog"]["num_repairs"]
    assert facts["watchdog"]["rate_scale"] == scale
    assert facts["determinism"]["level"] == "seeded"
    known = {
        example[contracts.IMAGE_ID].decode()
        for example in iterate_examples(str(tiny_examples / "examples"), "train")
    }
    events = _events(tmp_path / "model")
    assert len(events) == facts["watchdog"]["num_repairs"]
    for event in events:
        assert len(event["ids"]) == 16
        assert set(event["ids"]) <= known
        assert event["returned_to_step"] < event["step"]
    lines = list(files.read_jsonl(tmp_path / "model" / contracts.METRICS_FILE))
    steps = [line["step"] for line in lines if line["split"] == "train"]
    assert steps == list(range(1, facts["num_steps"] + 1)), "none doubled, none lost"
    assert max(line["learning_rate"] for line in lines) <= RATE * scale * (1 + 1e-6)
    assert "learning rate times 0." in caplog.text


@pytest.fixture(scope="module")
def given_up(
    tiny_examples: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainingError]:
    folder = tmp_path_factory.mktemp("given_up")
    with pytest.raises(TrainingError) as caught:
        _train(tiny_examples, folder, learning_rate=1e30, epochs=1)
    return folder, caught.value


def test_the_third_fault_ends_it_with_cause_and_fix(given_up: tuple[Path, TrainingError]) -> None:
    folder, error = given_up
    path = folder / "work" / contracts.NAN_BATCHES_FILE
    pattern = r"The loss is (nan|inf) at step \d+ \(learning rate \d.*e\+\d+\): the third fault .*"
    assert re.fullmatch(pattern, error.cause)
    assert error.fix == (
        "Lower the rate: --set train.learning_rate=1e+29, or look at the images of these steps: "
        f"{path}"
    )
    assert error.exit_code == 4
    assert len(_events(folder / "work")) == 3
    assert not (folder / "model" / contracts.MODEL_FACTS_FILE).exists()


def test_the_lower_rate_outlives_the_process(given_up: tuple[Path, TrainingError]) -> None:
    state = TrainingState(str(given_up[0] / "work"))
    progress = state.read()
    assert progress is not None
    assert progress.rate_scale == RATE_FACTOR**3
    assert progress.num_repairs == 3
    assert progress.num_faults == 0, "whoever runs again has three more tries"


def _state(folder: Path, value: float) -> tuple[TrainingState, tf.Variable]:
    variable = tf.Variable(tf.fill([300_000], value))
    state = TrainingState(str(folder))
    state.track({"weights": variable})
    return state, variable


def test_a_bad_checkpoint_is_never_written(tmp_path: Path) -> None:
    state, variable = _state(tmp_path, 1.0)
    state.save(Progress(step=1, phase="all"))
    variable[5].assign(np.nan)
    progress = Progress(step=2, phase="all", metrics_bytes=7)
    with pytest.raises(NotFiniteError, match="variable weights is not finite"):
        state.save(progress)
    state.roll_back(progress)
    assert (progress.step, progress.metrics_bytes) == (1, 0)
    np.testing.assert_array_equal(variable, 1.0)


def test_weights_are_not_written_that_overflow_only_together(tmp_path: Path) -> None:
    state = TrainingState(str(tmp_path))
    state.track({name: tf.Variable([3e38]) for name in ("a", "b")})
    with pytest.raises(NotFiniteError, match="sum of all variables is not finite"):
        state.save(Progress(step=1, phase="all"))
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_had_gone_astray_is_left_for_a_proven_one(
    tiny_examples: Path, tmp_path: Path
) -> None:
    """Saved at each step, the last one before the fault has losses of 1e14."""
    facts = _train(
        tiny_examples,
        tmp_path,
        learning_rate=RATE,
        epochs=4,
        log_every_n_steps=1,
        save_interval_secs=0,
    )
    assert facts["best_eval_accuracy"] > 0.6
    assert facts["watchdog"]["num_repairs"] == 2
    assert facts["watchdog"]["rate_scale"] == RATE_FACTOR**2
    first, second = _events(tmp_path / "model")
    assert first["returned_to_step"] > 0
    assert second["returned_to_step"] == 0, "no evaluation was sound before"
    lines = list(files.read_jsonl(tmp_path / "model" / contracts.METRICS_FILE))
    steps = [line["step"] for line in lines if line["split"] == "train"]
    assert steps == list(range(1, facts["num_steps"] + 1)), "none doubled, none lost"


def _names(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.index")}


def _doubtful_state(folder: Path) -> tuple[TrainingState, tf.Variable, Progress]:
    """A proven checkpoint of step 2, a last one of step 4, whose values are 2 and 4."""
    state, variable = _state(folder, 0.0)
    progress = Progress(phase="all", best_step=1, best_accuracy=0.4)
    state.save_best(dataclasses.replace(progress, step=1), {"weights": variable})
    for step in range(5):
        progress.step = step
        variable.assign(tf.fill(variable.shape, float(step)))
        with open(state.metrics_path, "a", encoding="utf-8") as stream:
            stream.write(f"{step}\n")
        if step == 3:
            state.prove()
            progress.best_step, progress.best_accuracy = 3, 0.8
            state.save_best(progress, {"weights": variable})
        state.save(progress)
        state.forget_other_bests(progress)
    progress.num_faults, progress.rate_scale, progress.is_doubtful = 1, RATE_FACTOR, True
    state.save(progress)
    return state, variable, progress


def test_two_checkpoints_are_kept_and_the_bests_of_both(tmp_path: Path) -> None:
    _doubtful_state(tmp_path)
    assert _names(tmp_path) == {
        "model.ckpt-all-2", "model.ckpt-all-4", "best.ckpt-1", "best.ckpt-3",
    }  # fmt: skip


@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_second_fault_returns_to_the_proven_checkpoint(tmp_path: Path, is_resumed: bool) -> None:
    state, variable, progress = _doubtful_state(tmp_path)
    if is_resumed:
        state, variable = _state(tmp_path, 0.0)
        found = state.read()
        assert found is not None
        progress = found
    fault = NotFiniteError("loss is nan", 5, ["a"])
    lower_rate(fault, state, progress, RATE, RATE)
    np.testing.assert_array_equal(variable, 2.0)
    assert (progress.step, progress.best_step, progress.best_accuracy) == (2, 1, 0.4)
    assert (progress.num_faults, progress.rate_scale) == (2, RATE_FACTOR**2)
    assert state.metrics_path.read_text() == "0\n1\n2\n"
    assert _names(tmp_path) >= {"model.ckpt-all-2", "best.ckpt-1"}
    assert "model.ckpt-all-4" not in _names(tmp_path)
    assert TrainingState(str(tmp_path)).read() == progress


def test_a_kill_before_the_return_is_written_down_loses_nothing(tmp_path: Path) -> None:
    state, _, progress = _doubtful_state(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    state.roll_back(progress, to_proven=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_phase_has_a_proven_checkpoint_of_its_own(tmp_path: Path) -> None:
    state, _, progress = _doubtful_state(tmp_path)
    progress.phase = "next"
    state.save(progress)
    assert {name for name in _names(tmp_path) if name.startswith("model")} == {"model.ckpt-next-4"}


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond a megabyte, as where the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    state, variable = _state(tmp_path, 1.0)
    state.save(Progress(step=1, phase="all"))
    variable.assign_add(tf.ones_like(variable))
    request.getfixturevalue("small_files")
    progress = Progress(step=2, phase="all")
    with pytest.raises(TrainingError) as caught:
        state.save(progress)
    assert caught.value.cause == (
        f"No room for the checkpoint of step 2 in {tmp_path}; the one before is kept."
    )
    assert caught.value.fix == (
        "Make room there, then run again: the training goes on from that checkpoint."
    )
    assert caught.value.exit_code == 4
    assert not list(tmp_path.glob(".model*")), "nothing by half is left"
    again, restored = _state(tmp_path, 0.0)
    found = again.read()
    assert found is not None
    assert found.step == 1
    again.restore(found)
    np.testing.assert_array_equal(restored, 1.0)


def test_other_faults_of_files_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    state, _ = _state(tmp_path / "work", 1.0)
    (tmp_path / "work" / "state.json").mkdir()
    with pytest.raises(IsADirectoryError):
        state.save(Progress(step=1, phase="all"))
    assert disk_full_error(tmp_path, 1).exit_code == 4
