"""Several devices and several real processes train what one process trains."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from slimworks.components import contracts, files
from slimworks.components.nets.randomness import images_from
from slimworks.components.trainer import dataset, launch
from slimworks.components.trainer.cluster import TF_CONFIG, WORKER_MODULE
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.job import TrainingJob
from slimworks.components.trainer.train import TrainInputs, prepare, train

# Minutes on two cores that others use too: each process imports TensorFlow and traces the steps.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200)]

SETTINGS: dict[str, Any] = {
    "epochs": 4, "batch_size": 16, "optimizer": "momentum", "learning_rate": 0.01,
    "save_interval_secs": 0.0,
}  # fmt: skip
TWO_WORKERS = {"distribution": "multi_worker", "workers": 2}


def _inputs(tiny: Path) -> TrainInputs:
    return TrainInputs(*(str(tiny / name) for name in ("stored", "graph", "label_map")))


def _train(
    tiny: Path, output: Path, model: ModelConfig | None = None, **settings: Any
) -> dict[str, Any]:
    return train(
        _inputs(tiny),
        str(output),
        str(output.with_suffix(".work")),
        model or ModelConfig(net="lenet"),
        TrainConfig.model_validate({**SETTINGS, **settings}),
        ExportConfig(),
    )


def _values(prefix: str) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(prefix)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def _last_checkpoint(output: Path) -> dict[str, np.ndarray]:
    """Of the unfinished work, slots included."""
    prefixes = [path.with_suffix("") for path in output.with_suffix(".work").glob("model.*.index")]
    return _values(str(max(prefixes, key=lambda prefix: int(prefix.name.rpartition("-")[2]))))


def _assert_close(
    actual: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float
) -> None:
    """Equal but for a share of the largest value of each variable."""
    assert set(actual) == set(expected)
    for name, value in expected.items():
        atol = tolerance * np.abs(value).max()
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def one_process(tiny_examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("one") / "model"
    _train(tiny_examples, output)
    return output


@contextmanager
def _when_logged(pattern: str, act: Callable[[], None]) -> Iterator[None]:
    """Acts once, when a message of the trainer matches."""

    class Handler(logging.Handler):
        has_acted = False

        def emit(self, record: logging.LogRecord) -> None:
            if re.search(pattern, record.getMessage()) and not self.has_acted:
                self.has_acted = True
                act()

    logger, handler = logging.getLogger("slimworks"), Handler()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert handler.has_acted


def test_two_workers_of_which_one_is_killed_train_what_one_process_trains(
    tiny_examples: Path,
    one_process: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def kill_a_worker() -> None:
        found = re.findall(r"worker-1 is process (\d+)", caplog.text)
        os.kill(int(found[-1]), signal.SIGKILL)

    with caplog.at_level("INFO", "slimworks"), _when_logged("^epoch 2 of 4", kill_a_worker):
        facts = _train(tiny_examples, tmp_path / "m", **TWO_WORKERS)
    assert "worker-1 was killed by SIGKILL: all start again" in caplog.text
    steps = re.findall(r"from the checkpoint of step (\d+)", caplog.text)
    assert len(steps) == 1
    assert 5 <= int(steps[0]) < facts["num_steps"] == 20
    assert facts["distribution"]["num_workers"] == 2
    _assert_close(_last_checkpoint(tmp_path / "m"), _last_checkpoint(one_process), 2e-5)
    kept = tmp_path / "m" / contracts.CHECKPOINTS_FOLDER
    assert len(list(kept.glob("*.index"))) == 1, "the chief saves, nobody else"
    lines = list(files.read_jsonl(tmp_path / "m" / contracts.METRICS_FILE))
    alone = list(files.read_jsonl(one_process / contracts.METRICS_FILE))
    for line, other in zip(lines, alone, strict=True):
        assert (line["step"], line["split"]) == (other["step"], other["split"])
        assert line["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert line["accuracy"] == other["accuracy"], "every image counts once"


def test_workers_normalise_their_own_part_and_average_the_moving_statistics(
    tiny_examples: Path, tmp_path: Path
) -> None:
    model = ModelConfig(net="mobilenet_v1_025", image_size=32)
    settings = {"max_number_of_steps": 1, "batch_size": 8, "batch_norm_decay": 0.5}
    _train(tiny_examples, tmp_path / "m", model, **settings, **TWO_WORKERS)
    config = TrainConfig.model_validate({**SETTINGS, **settings})
    prepared = prepare(_inputs(tiny_examples), str(tmp_path / "alone"), model, config)
    first, second, whole = (
        _part_of(prepared.training, prepared.phases[0], config, num_shards, shard)
        for num_shards, shard in ((2, 0), (2, 1), (1, 0))
    )
    actual = _last_checkpoint(tmp_path / "m")
    moving = {
        name: (first[name] + second[name]) / 2 for name in prepared.training.module.moving_by_name
    }
    _assert_close({name: actual[name] for name in moving}, moving, 2e-4)
    gradients = {name: first[name] + second[name] for name in first if name not in moving}
    _assert_close({name: actual[name] for name in gradients}, gradients, 3e-3)
    with pytest.raises(AssertionError):
        _assert_close({name: actual[name] for name in whole}, whole, 3e-2)


def _part_of(
    training: Any, phase: Any, config: TrainConfig, num_shards: int, shard: int
) -> dict[str, np.ndarray]:
    """Gradients, named as momentum slots, and moving statistics of one worker's part of a step.

    Another order of the sums, such as another number of threads makes, changes the gradients by
    7e-4 of the largest: batch norm of four values divides by small differences.
    """
    module = training.module
    batches = dataset.train_batches(
        training.examples,
        config,
        batch_size=8,
        steps_per_epoch=training.plan.steps_per_epoch,
        first_step=0,
        num_steps=1,
        num_shards=num_shards,
        shard=shard,
    )
    loop, _ = training._loop(phase, restore=False)
    step = loop.train_step
    initial = {name: variable.numpy() for name, variable in module.variables_by_name.items()}

    @tf.function(autograph=False)
    def gradients(batch: dataset.Batch) -> Any:
        with images_from(tf.constant(4 * shard, tf.int64)):
            return step._gradients(batch, tf.constant(0, tf.int64))[0]

    (batch,) = batches
    found = {
        f"{name}/Momentum": gradient.numpy()
        for name, gradient in zip(phase.factors, gradients(batch), strict=True)
    }
    found |= {name: variable.numpy() for name, variable in module.moving_by_name.items()}
    for name, variable in module.variables_by_name.items():
        variable.assign(initial[name])
    return found


def test_interrupted_workers_save_the_same_step_and_go_on(
    tiny_examples: Path, one_process: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with (
        caplog.at_level("INFO", "slimworks"),
        _when_logged("^epoch 1 of 4", interrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        _train(tiny_examples, tmp_path / "m", **TWO_WORKERS)
    stopped = int(re.findall(r"the checkpoint of step (\d+) is kept", caplog.text)[0])
    with caplog.at_level("INFO", "slimworks"):
        _train(tiny_examples, tmp_path / "m", **TWO_WORKERS)
    assert f"from the checkpoint of step {stopped}" in caplog.text
    _assert_close(_last_checkpoint(tmp_path / "m"), _last_checkpoint(one_process), 2e-5)


def test_workers_of_parameter_servers_learn(tiny_examples: Path, tmp_path: Path) -> None:
    facts = _train(
        tiny_examples, tmp_path / "m", epochs=8, distribution="parameter_server", workers=2,
        moving_average_decay=0.9,
    )  # fmt: skip
    assert facts["best_eval_accuracy"] > 0.9
    assert facts["distribution"]["strategy"].startswith("ParameterServer")
    names = set(_values(tf.train.latest_checkpoint(tmp_path / "m" / contracts.CHECKPOINTS_FOLDER)))
    assert {"LeNet/conv1/weights", "LeNet/conv1/weights/ExponentialMovingAverage"} <= names


_ON_TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from slimworks.components.trainer.job import TrainingJob
from slimworks.components.trainer.train import TrainInputs, train
job = TrainingJob.read(sys.argv[1])
train(
    TrainInputs(**job.inputs), job.output_dir, job.work_dir, job.model, job.config, job.export
)
"""


@pytest.mark.parametrize("moving_average_decay", [None, 0.9], ids=["plain", "averaged"])
def test_two_devices_of_one_process_train_what_one_device_trains(
    tiny_examples: Path, tmp_path: Path, moving_average_decay: float | None
) -> None:
    settings = {"epochs": 2, "moving_average_decay": moving_average_decay}
    _train(tiny_examples, tmp_path / "one", **settings)
    job = TrainingJob(
        inputs=vars(_inputs(tiny_examples)),
        output_dir=str(tmp_path / "m"),
        work_dir=str(tmp_path / "m.work"),
        model=ModelConfig(net="lenet"),
        config=TrainConfig.model_validate({**SETTINGS, **settings, "distribution": "mirrored"}),
        export=ExportConfig(),
    )
    subprocess.run([sys.executable, "-c", _ON_TWO_DEVICES, str(job.write())], check=True)
    facts = files.read_json(tmp_path / "m" / contracts.MODEL_FACTS_FILE)
    assert facts["distribution"]["num_replicas"] == 2
    _assert_close(_last_checkpoint(tmp_path / "m"), _last_checkpoint(tmp_path / "one"), 2e-5)


def _start_pod(job: Path, host_ports: dict[str, list[str]], kind: str) -> subprocess.Popen[str]:
    """As the operator of a TFJob does it."""
    task = {"cluster": host_ports, "task": {"type": kind, "index": 0}, "environment": "cloud"}
    return subprocess.Popen(
        [sys.executable, "-m", WORKER_MODULE, str(job)],
        env={**os.environ, TF_CONFIG: json.dumps(task)},
        stderr=subprocess.PIPE,
        text=True,
    )


def _end_of(pod: subprocess.Popen[str]) -> int:
    pod.communicate()
    return pod.returncode


def test_pods_that_lose_another_ask_for_a_restart_and_go_on(
    tiny_examples: Path, one_process: Path, tmp_path: Path
) -> None:
    job = TrainingJob(
        inputs=vars(_inputs(tiny_examples)),
        output_dir=str(tmp_path / "m"),
        work_dir=str(tmp_path / "m.work"),
        model=ModelConfig(net="lenet"),
        config=TrainConfig.model_validate({**SETTINGS, **TWO_WORKERS}),
        export=ExportConfig(),
    )
    path = job.write()

    def start_pods() -> list[subprocess.Popen[str]]:
        first, second = launch._free_ports(2)
        hosts = {"chief": [f"127.0.0.1:{first}"], "worker": [f"127.0.0.1:{second}"]}
        return [_start_pod(path, hosts, kind) for kind in hosts]

    chief, worker = start_pods()
    assert chief.stderr is not None
    for line in chief.stderr:
        if "epoch 2 of 4" in line:
            worker.kill()
            break
    assert [_end_of(chief), _end_of(worker)] == [launch.LOST_EXIT_CODE, -signal.SIGKILL]
    assert not (tmp_path / "m" / contracts.MODEL_FACTS_FILE).exists()
    again = start_pods()
    assert [_end_of(pod) for pod in again] == [0, 0]
    _assert_close(_last_checkpoint(tmp_path / "m"), _last_checkpoint(one_process), 2e-5)


_ODD_BATCHES = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.trainer import steps
from slimworks.components.trainer.config import TrainConfig
from slimworks.components.trainer.dataset import Batch
from slimworks.components.trainer.distribution import start
distribution = start(TrainConfig(distribution="mirrored"), None)
with distribution.scope():
    module = SlimModule(get_net("lenet"), num_classes=3, image_size=28, num_channels=1)
images = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
targets = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]
everything = tf.data.Dataset.from_tensor_slices((images, targets, ["a"] * 5))
eval_step = steps.make_eval_step(module)
for size in (1, 2, 3, 5):
    found = distribution.evaluate(eval_step, everything.batch(size).map(Batch))
    print(f"{found.loss:.4f}", f"{found.accuracy:.4f}", found.num_images)
"""


def test_devices_evaluate_each_image_once_however_many_there_are() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _ODD_BATCHES], check=True, stdout=subprocess.PIPE, text=True
    )
    lines = found.stdout.splitlines()
    assert len(lines) == 4
    assert len(set(lines)) == 1
    assert lines[0].endswith(" 5")
