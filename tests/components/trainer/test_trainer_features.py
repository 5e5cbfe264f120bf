"""A head trained on cached features: as the slow way, made once, made anew after a change."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from stored_samples import write_stored

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError
from slimworks.components.nets.cut import cut
from slimworks.components.nets.module import SlimModule
from slimworks.components.nets.registry import get_net
from slimworks.components.preprocessing.families import get_preprocessing  # noqa: F401
from slimworks.components.trainer import features, steps
from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.dataset import StoredExamples
from slimworks.components.trainer.feature_digest import feature_kind
from slimworks.components.trainer.feeds import Feed, image_feed
from slimworks.components.trainer.losses import training_loss
from slimworks.components.trainer.optimizers import Optimizer
from slimworks.components.trainer.train import TrainInputs, train

NUM_TRAIN, NUM_EVAL, BATCH = 20, 6, 4
HEAD = ["LeNet/fc4/weights", "LeNet/fc4/biases"]
PLAIN = TrainConfig.model_validate({"batch_size": BATCH, "augmentation": {"enabled": False}})


def _examples(folder: Path, num_train: int = NUM_TRAIN) -> StoredExamples:
    write_stored(folder, [n % 3 for n in range(NUM_EVAL)], split="eval", first_id=1_000)
    return write_stored(folder, [n % 3 for n in range(num_train)])


@pytest.fixture
def examples(tmp_path: Path) -> StoredExamples:
    return _examples(tmp_path / "stored")


def _module(net: str = "lenet", seed: int = 0) -> SlimModule:
    return SlimModule(get_net(net), 3, 16, get_net(net).num_channels, weight_decay=0.01, seed=seed)


def _feed(
    examples: StoredExamples,
    root: Path,
    config: TrainConfig = PLAIN,
    module: SlimModule | None = None,
    trained: Sequence[str] = HEAD,
    num_epochs: float = 5,
    is_alone: bool = True,
) -> Feed | None:
    module = module or _module()
    return features.feature_feed(
        examples, config, module, trained, root, num_epochs=num_epochs, is_alone=is_alone
    )


def _plan(num_steps: int, first_step: int = 0) -> dict[str, int]:
    per_epoch = NUM_TRAIN // BATCH
    return {
        "batch_size": BATCH,
        "steps_per_epoch": per_epoch,
        "first_step": first_step,
        "num_steps": num_steps,
    }


def _train_head(module: SlimModule, feed: Feed, config: TrainConfig, num_steps: int) -> list[float]:
    """Trains and returns the losses."""
    variables = {name: module.variables_by_name[name] for name in HEAD}
    optimizer = Optimizer(config, variables, dict.fromkeys(variables, 1.0))
    optimizer.learning_rate.assign(0.05)
    step = steps.TrainStep(
        feed.forward, training_loss(config, list), list(variables.values()), optimizer, BATCH
    )
    traced = tf.function(step, autograph=False)
    return [
        float(traced(batch, tf.constant(number, tf.int64)).total_loss)
        for number, batch in enumerate(feed.train_batches(**_plan(num_steps)))
    ]


def _evaluate(feed: Feed) -> steps.SplitMetrics:
    return steps.evaluate_split(steps.eval_step_of(feed.logits), feed.eval_batches(4))


def test_cached_training_equals_the_slow_way(examples: StoredExamples, tmp_path: Path) -> None:
    """Same batches, same dropout masks, same losses, same head, same evaluation."""
    results = []
    for is_cached in (False, True):
        module = _module()
        feed = image_feed(examples, PLAIN, module, HEAD)
        if is_cached:
            cached = _feed(examples, tmp_path / "features", module=module)
            assert cached is not None
            feed = cached
        before = _evaluate(feed).loss
        losses = _train_head(module, feed, PLAIN, num_steps=23)
        values = [module.variables_by_name[name].numpy() for name in HEAD]
        results.append((losses, values, before, _evaluate(feed)))
    slow, fast = results
    assert len(set(np.round(slow[0], 4))) == 23, "the losses show which batch was read"
    np.testing.assert_allclose(fast[0], slow[0], rtol=1e-4)
    for expected, found in zip(slow[1], fast[1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert fast[2] == pytest.approx(slow[2], rel=1e-5)
    assert fast[3].loss == pytest.approx(slow[3].loss, rel=1e-4)
    assert fast[3].num_images == slow[3].num_images == NUM_EVAL


def test_batches_of_a_resumed_training_are_those_of_the_uninterrupted(
    examples: StoredExamples, tmp_path: Path
) -> None:
    feed = _feed(examples, tmp_path)
    assert feed is not None
    whole = [batch.ids.numpy().tolist() for batch in feed.train_batches(**_plan(12))]
    rest = [batch.ids.numpy().tolist() for batch in feed.train_batches(**_plan(12, first_step=7))]
    assert rest == whole[7:]


def _computed(caplog: pytest.LogCaptureFixture) -> tuple[int, int]:
    """Images that the last feed computed, and all of them, as its log line says."""
    lines = [r for r in caplog.records if "features of the frozen layers" in str(r.msg)]
    return lines[-1].args[:2]  # type: ignore[index, return-value]


def test_each_image_is_computed_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    root = tmp_path / "features"
    total = NUM_TRAIN + NUM_EVAL
    assert _feed(_examples(tmp_path / "one"), root)
    assert _computed(caplog) == (total, total)
    assert _feed(_examples(tmp_path / "same"), root)
    assert _computed(caplog) == (0, total)
    grown = _feed(_examples(tmp_path / "grown", NUM_TRAIN + 5), root)
    assert _computed(caplog) == (5, total + 5)
    assert grown is not None
    fresh = _feed(_examples(tmp_path / "again", NUM_TRAIN + 5), tmp_path / "other")
    assert fresh is not None
    for one, other in zip(
        grown.train_batches(**_plan(5)), fresh.train_batches(**_plan(5)), strict=True
    ):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_allclose(one.inputs, other.inputs, rtol=1e-5, atol=1e-5)


def test_a_row_belongs_to_its_image(examples: StoredExamples, tmp_path: Path) -> None:
    module = _module()
    feed = _feed(examples, tmp_path, module=module)
    parts = cut(module, HEAD, steps.training_forward(module, HEAD, 0))
    assert feed is not None
    assert parts is not None
    run = tf.function(parts.features, autograph=False)
    expected = {}
    for batch in image_feed(examples, PLAIN, module, HEAD).train_batches(**_plan(5)):
        expected.update(zip(batch.ids.numpy(), run(batch.inputs).numpy(), strict=True))
    assert len(expected) == NUM_TRAIN
    for batch in feed.train_batches(**_plan(5)):
        for name, row in zip(batch.ids.numpy(), batch.inputs.numpy(), strict=True):
            np.testing.assert_allclose(row, expected[name], rtol=1e-5, atol=1e-5)


def _digest(
    examples: StoredExamples, module: SlimModule, trained: Sequence[str] = tuple(HEAD)
) -> str:
    parts = cut(module, trained, steps.training_forward(module, trained, 0))
    assert parts is not None
    return feature_kind(parts, module, examples).digest


def test_features_are_of_one_backbone_and_one_preprocessing(
    examples: StoredExamples, tmp_path: Path
) -> None:
    module = _module()
    first = _digest(examples, module)
    module.variables_by_name[HEAD[0]].assign_add(tf.ones([1024, 3]))
    assert _digest(examples, module) == first, "a trained head changes no feature"
    others = [
        _digest(examples, module, ["LeNet/fc3/weights", *HEAD]),  # cut elsewhere
        _digest(examples, _module(seed=1)),
        _digest(write_stored(tmp_path / "larger", [0, 1, 2], size=20), module),
        _digest(write_stored(tmp_path / "family", [0, 1, 2], family="cifarnet"), module),
    ]
    module.variables_by_name["LeNet/conv1/biases"].assign_add(tf.fill([32], 1e-6))
    others.append(_digest(examples, module))
    assert len({first, *others}) == 6


@pytest.mark.slow
def test_digest_is_the_same_in_another_process(examples: StoredExamples) -> None:
    folder = Path(__file__).parent
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_trainer_features as t;"
        "from slimworks.components.preprocessing.families import get_preprocessing;"
        "examples = t.StoredExamples(sys.argv[2], 16, 1, 16, get_preprocessing('lenet'), 3);"
        "print(t._digest(examples, t._module()))"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(folder), examples.folder]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split()[-1] == _digest(examples, _module())


def test_auto_is_for_heads_that_train_for_an_epoch_or_more(
    examples: StoredExamples, tmp_path: Path
) -> None:
    last_layers = ["LeNet/fc3/weights", *HEAD]
    assert _feed(examples, tmp_path, trained=last_layers) is None
    assert _feed(examples, tmp_path, num_epochs=0.9) is None
    wanted = PLAIN.model_copy(update={"cache_features": True})
    assert _feed(examples, tmp_path, wanted, trained=last_layers, num_epochs=0.9) is not None


def test_false_reads_images(examples: StoredExamples, tmp_path: Path) -> None:
    unwanted = PLAIN.model_copy(update={"cache_features": False})
    assert _feed(examples, tmp_path, unwanted) is None
    assert not list(tmp_path.glob("*/about.json"))


@pytest.mark.parametrize(
    ("augmentation", "mode", "is_cached"),
    [
        ({}, "auto", True),  # the default gains a head nothing
        ({"mixup_alpha": 0.2}, "auto", False),
        ({"min_crop_area_fraction": 0.5}, "auto", False),
        ({"min_crop_area_fraction": 0.5, "enabled": False}, "auto", True),
        ({"mixup_alpha": 0.2}, True, True),
    ],
)
def test_chosen_augmentation_is_not_dropped_unasked(
    augmentation: dict[str, object], mode: object, is_cached: bool,
    examples: StoredExamples, tmp_path: Path, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    settings = {"augmentation": augmentation, "cache_features": mode}
    config = TrainConfig.model_validate(settings)
    assert (_feed(examples, tmp_path, config) is not None) == is_cached
    said = "features are not cached: train.augmentation changes images in every epoch"
    assert (said in caplog.text) == (not is_cached)


WANTED = PLAIN.model_copy(update={"cache_features": True})
SMALL = WANTED.model_copy(update={"feature_cache_gb": 1e-5})


def test_what_cannot_be_cached_is_told(examples: StoredExamples, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _feed(examples, tmp_path, SMALL)
    gb = (NUM_TRAIN + NUM_EVAL) * (64 + 4 * 1024) / 1e9
    assert caught.value.cause == (
        f"train.cache_features is true, but the features take {gb:.2g} GB, and "
        "train.feature_cache_gb is 1e-05."
    )
    assert caught.value.fix == f"Set train.feature_cache_gb={gb:.2g}, where the disk has room."
    with pytest.raises(ConfigError) as caught:
        _feed(examples, tmp_path, WANTED, is_alone=False)
    assert caught.value.cause == (
        "train.cache_features is true, but several devices or processes train."
    )
    assert caught.value.fix == "Leave train.distribution at none: a head trains in seconds."
    with pytest.raises(ConfigError) as caught:
        _feed(examples, tmp_path, WANTED, trained=["LeNet/conv1/weights", *HEAD])
    assert caught.value.cause == (
        "train.cache_features is true, but the first layers are trained, or change at random."
    )
    assert caught.value.fix.startswith("Set train.trainable_scopes to the head")


def test_auto_reads_images_where_the_disk_is_too_small(
    examples: StoredExamples, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    small = SMALL.model_copy(update={"cache_features": "auto"})
    assert _feed(examples, tmp_path, small) is None
    assert "features are not cached: the features take 0.00011 GB" in caplog.text


def test_caching_asked_for_where_every_layer_trains() -> None:
    with pytest.raises(ConfigError) as caught:
        features.require_frozen_layers(WANTED, [["a", "b"], ["a", "b"]], total=2)
    assert caught.value.cause == (
        "train.cache_features is true, but every layer is trained from the first step on."
    )
    assert "train.trainable_scopes" in caught.value.fix
    features.require_frozen_layers(WANTED, [["a"], ["a", "b"]], total=2)
    features.require_frozen_layers(PLAIN, [["a", "b"]], total=2)


def _train(tiny: Path, folder: Path, **settings: object) -> dict[str, object]:
    inputs = TrainInputs(str(tiny / "stored"), str(tiny / "graph"), str(tiny / "label_map"))
    config = {"epochs": 4, "batch_size": 16, "learning_rate": 0.05, **settings}
    return train(
        inputs,
        str(folder / "model"),
        str(folder / "work" / "training"),
        ModelConfig(net="lenet"),
        TrainConfig.model_validate(config),
        ExportConfig(),
    )


def test_training_of_a_head_uses_them_and_says_so(tiny_examples: Path, tmp_path: Path) -> None:
    facts = _train(tiny_examples, tmp_path, trainable_scopes=["LeNet/fc4"])
    assert facts["features"] == {"cached_phases": ["all"]}
    assert float(str(facts["best_eval_accuracy"])) > 0.5
    lines = list(files.read_jsonl(tmp_path / "model" / contracts.METRICS_FILE))
    assert sum(line["split"] == "eval" for line in lines) == 4
    assert list((tmp_path / "work" / features.FOLDER).glob("*/*.npy"))
    about = json.loads(next(tmp_path.glob("work/features/*/about.json")).read_text())
    assert about["net"] == "lenet"


def test_whole_network_uses_none(tiny_examples: Path, tmp_path: Path) -> None:
    facts = _train(tiny_examples, tmp_path, epochs=1)
    assert facts["features"] == {"cached_phases": []}
    assert not (tmp_path / "work" / features.FOLDER).exists()


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import test_trainer_features as t
t.features.SAVE_SECONDS = 0.0
examples = t.StoredExamples(sys.argv[2], 16, 1, 16, t.get_preprocessing("lenet"), 3)
assert t._feed(examples, Path(sys.argv[3]))
"""


@pytest.mark.slow
def test_killed_computation_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    examples = _examples(tmp_path / "stored", num_train=4_000)
    root = tmp_path / "features"
    arguments = [str(Path(__file__).parent), examples.folder, str(root)]
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", KILLED, *arguments]) as process:
        while process.poll() is None and len(list(root.glob("*/*.npy"))) < 20:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert _feed(examples, root)
    computed, total = _computed(caplog)
    assert 0 < computed <= total - 20 * BATCH
    assert total == 4_000 + NUM_EVAL
    assert len(list(root.glob("*/*.npy"))) == 1, "small files are joined"
