"""Training on real (tiny) photos: it learns, exports, resumes and says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError, TrainingError
from slimworks.components.evaluator import as_trained
from slimworks.components.examples import tfrecord
from slimworks.components.examples.reading import iterate_examples
from slimworks.components.trainer import loop, steps
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.train import TrainInputs, train

SETTINGS = {"epochs": 6, "optimizer": "adam", "learning_rate": 0.002, "batch_size": 16}


def _train(tiny: Path, output: Path, work: Path | None = None, **settings: object) -> dict:
    inputs = TrainInputs(
        examples=str(tiny / "stored"),
        transform_graph=str(tiny / "graph"),
        label_map=str(tiny / "label_map"),
    )
    return train(
        inputs,
        str(output),
        str(work or output.with_suffix(".work")),
        ModelConfig(net="lenet"),
        TrainConfig.model_validate({**SETTINGS, **settings}),
        ExportConfig(),
    )


@pytest.fixture(scope="module")
def model(tiny_examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "model"
    _train(tiny_examples, output)
    return output


def _weights(model: Path) -> dict[str, np.ndarray]:
    prefix = tf.train.latest_checkpoint(str(model / contracts.CHECKPOINTS_FOLDER))
    reader = tf.train.load_checkpoint(prefix)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_exported_model_answers_its_own_warm_up_requests(model: Path) -> None:
    saved_model = model / contracts.SAVED_MODEL_FOLDER
    serve = tf.saved_model.load(str(saved_model)).signatures[contracts.SIGNATURE_SERVE]
    path = saved_model / contracts.EXTRA_ASSETS_FOLDER / contracts.WARMUP_FILE
    counts = []
    for record in tfrecord.iterate_records(path):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        answer = serve(
            images=tf.constant(tf.make_ndarray(log.predict_log.request.inputs["images"]))
        )
        counts.append(len(answer["classes"]))
    assert counts == [1, 8]


def test_it_learns_and_writes_every_output(model: Path, tiny_examples: Path) -> None:
    facts = json.loads((model / contracts.MODEL_FACTS_FILE).read_text())
    assert facts["best_eval_accuracy"] > 0.9
    assert facts["class_names"] == ["left", "middle", "right"]
    assert list(facts["class_counts"]) == facts["class_names"]
    assert sum(facts["class_counts"].values()) == facts["num_train_images"]
    assert min(facts["class_counts"].values()) > 0
    labels = contracts.LabelMap.read(tiny_examples / "label_map")
    assert facts["label_map_version"] == labels.version == 1
    assert facts["label_map_digest"] == labels.digest
    exported = model / contracts.SAVED_MODEL_FOLDER / contracts.EXTRA_ASSETS_FOLDER
    assert contracts.LabelMap.read(exported) == labels
    assert (model / contracts.SAVED_MODEL_FOLDER / "saved_model.pb").is_file()
    assert list((model / contracts.LOGS_FOLDER).glob("events.out.tfevents.*"))
    lines = list(files.read_jsonl(model / contracts.METRICS_FILE))
    assert {line["split"] for line in lines} == {"train", "eval"}
    assert lines[-1]["step"] == facts["num_steps"]


def test_checkpoint_has_tf1_names(model: Path) -> None:
    names = set(_weights(model))
    assert {"LeNet/conv1/weights", "LeNet/fc4/biases", "global_step"} <= names


def test_signatures_answer_as_documented(model: Path, tiny_examples: Path) -> None:
    loaded = tf.saved_model.load(str(model / contracts.SAVED_MODEL_FOLDER))
    examples = list(iterate_examples(str(tiny_examples / "examples"), "test"))
    images = tf.constant([example[contracts.IMAGE_ENCODED] for example in examples])
    answer = loaded.signatures[contracts.SIGNATURE_SERVE](images=images)
    offline = loaded.signatures[contracts.SIGNATURE_EVALUATE](images=images)
    assert answer["classes"].shape == answer["probabilities"].shape == (len(examples), 3)
    assert answer["class_index"].dtype == tf.int64
    assert answer["is_known"].dtype == tf.bool
    np.testing.assert_allclose(
        answer["probabilities"], np.sort(offline["probabilities"], axis=1)[:, ::-1], atol=1e-6
    )
    truth = [example[contracts.CLASS_NAME] for example in examples]
    assert np.mean(answer["classes"].numpy()[:, 0] == np.array(truth)) > 0.9
    embedding = loaded.signatures[contracts.SIGNATURE_EMBED](images=images)["embedding"]
    assert embedding.shape == (len(examples), 1024)
    serialized = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    contracts.IMAGE_ENCODED: tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[example[contracts.IMAGE_ENCODED]])
                    )
                }
            )
        ).SerializeToString()
        for example in examples
    ]
    classified = loaded.signatures[contracts.SIGNATURE_CLASSIFY](inputs=tf.constant(serialized))
    np.testing.assert_allclose(classified["scores"], answer["probabilities"], atol=1e-6)


def test_export_answers_as_the_network_did_when_its_training_ended(
    model: Path, tiny_examples: Path, tmp_path: Path
) -> None:
    examples = tiny_examples / "examples"
    found = as_trained.compare(model, examples)
    assert found is not None
    assert found["num_images"] == min(len(list(iterate_examples(str(examples), "eval"))), 32)
    assert found["num_other_answers"] == 0
    assert found["max_probability_difference"] < 1e-4
    other = shutil.copytree(model, tmp_path / "other")
    kept = files.read_json(other / contracts.TRAINED_ANSWERS_FILE)
    kept["probabilities"] = [[*row[1:], row[0]] for row in kept["probabilities"]]
    files.write_json(other / contracts.TRAINED_ANSWERS_FILE, kept)
    moved = as_trained.compare(other, examples)
    assert moved is not None
    assert moved["num_other_answers"] == found["num_images"]
    (other / contracts.TRAINED_ANSWERS_FILE).unlink()
    assert as_trained.compare(other, examples) is None


def _stop_after(monkeypatch: pytest.MonkeyPatch, num_steps: int) -> None:
    """Sends this process SIGTERM at the end of a step."""
    original = loop.Loop._after_step

    def after_step(self: loop.Loop, metrics: steps.BatchMetrics) -> None:
        if self.progress.step == num_steps:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, metrics)

    monkeypatch.setattr(loop.Loop, "_after_step", after_step)


@pytest.mark.parametrize("num_steps", [2, 7, 20], ids=["first epoch", "second", "last"])
def test_an_interrupted_training_goes_on_from_its_checkpoint(
    tiny_examples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    num_steps: int,
) -> None:
    settings = {"epochs": 5, "optimizer": "momentum", "learning_rate": 0.01}
    with monkeypatch.context() as patch:
        _stop_after(patch, num_steps)
        with pytest.raises(KeyboardInterrupt):
            _train(tiny_examples, tmp_path / "a", tmp_path / "work", **settings)
    with caplog.at_level("INFO", logger="slimworks"):
        facts = _train(tiny_examples, tmp_path / "a", tmp_path / "work", **settings)
    assert f"from the checkpoint of step {num_steps}" in caplog.text
    lines = list(files.read_jsonl(tmp_path / "a" / contracts.METRICS_FILE))
    steps = [line["step"] for line in lines if line["split"] == "eval"]
    assert len(steps) == len(set(steps)) == 5, "no epoch is evaluated or recorded twice"
    assert steps[-1] == facts["num_steps"]


def test_same_seed_gives_the_same_weights(tiny_examples: Path, tmp_path: Path) -> None:
    settings = {"max_number_of_steps": 6, "optimizer": "momentum", "learning_rate": 0.01}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        _train(tiny_examples, tmp_path / name, seed=seed, **settings)
    first, second, other = (_weights(tmp_path / name) for name in "abc")
    for name, value in first.items():
        # The order of sums in parallel reductions is not fixed.
        np.testing.assert_allclose(second[name], value, rtol=1e-3, atol=1e-5)
    assert np.abs(other["LeNet/fc3/weights"] - first["LeNet/fc3/weights"]).max() > 1e-2


def test_a_loss_that_is_no_number_stops_with_a_lower_rate_to_type(
    tiny_examples: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError) as caught:
        _train(tiny_examples, tmp_path / "m", optimizer="sgd", learning_rate=1e30)
    assert "The loss is nan at step" in caught.value.cause or "inf" in caught.value.cause
    assert caught.value.fix.startswith("Lower the rate: --set train.learning_rate=1e+29, or")
    assert caught.value.exit_code == 4


def test_a_scope_that_matches_nothing_names_the_scopes(tiny_examples: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _train(tiny_examples, tmp_path / "m", trainable_scopes=["LeNet/fc5"])
    assert "'LeNet/fc5' matches no variable" in caught.value.cause
    assert "LeNet/fc4" in caught.value.fix


def test_only_the_trainable_scopes_change(tiny_examples: Path, tmp_path: Path) -> None:
    _train(tiny_examples, tmp_path / "all", max_number_of_steps=1)
    _train(tiny_examples, tmp_path / "head", max_number_of_steps=3, trainable_scopes=["LeNet/fc4"])
    _train(tiny_examples, tmp_path / "one", max_number_of_steps=1, trainable_scopes=["LeNet/fc4"])
    head, one = _weights(tmp_path / "head"), _weights(tmp_path / "one")
    np.testing.assert_array_equal(head["LeNet/conv1/weights"], one["LeNet/conv1/weights"])
    assert np.any(_weights(tmp_path / "all")["LeNet/conv1/weights"] != one["LeNet/conv1/weights"])
