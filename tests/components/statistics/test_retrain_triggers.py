"""Is training worth it? Age of the last model, the learning curve, and how triggers combine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as proto

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError
from slimworks.components.statistics import learning_curve
from slimworks.components.statistics.config import DriftConfig, RetrainConfig
from slimworks.components.statistics.drift import Comparison
from slimworks.components.statistics.driver import find_past
from slimworks.components.statistics.learning_curve import Point
from slimworks.components.statistics.lineage import learning_points
from slimworks.components.statistics.spans import Spans
from slimworks.components.statistics.triggers import Drift, Past, judge
from slimworks.pipeline.config import parse_config

ADVICE = "To train all the same: --set retrain.when=always"
# 1 - accuracy = 0.05 + 2 n^-0.5
POINTS = [Point(n, 1 - 0.05 - 2 * n**-0.5, 1_000) for n in (400, 900, 1600)]


def decided(num_new: int = 100, past: Past | None = None, **config: Any) -> Drift:
    compared = Comparison(num_new, 1_000, {contracts.IMAGE_BRIGHTNESS: 0.02})
    settings = DriftConfig(retrain=RetrainConfig(**config))
    return judge(Spans(5, 4, 3), compared, compared, settings, past or Past())


# --- Age ------------------------------------------------------------------------------------


def test_old_model_is_replaced() -> None:
    drift = decided(past=Past(is_due=True), max_days=30)
    assert (drift.retrain, drift.reasons) == (
        True,
        ["The last model is 30 days old (retrain.max_days)."],
    )


def test_young_model_stays() -> None:
    drift = decided(12, max_days=30)
    assert (drift.retrain, drift.reasons) == (
        False,
        [
            "Nothing to do: 12 new images since span 3, the last that was trained on; the last "
            "model is not 30 days old yet (retrain.max_days).",
            ADVICE,
        ],
    )


def test_nothing_new_is_nothing_to_do_however_old_the_model() -> None:
    drift = decided(0, past=Past(is_due=True), max_days=30)
    assert not drift.retrain
    assert drift.reasons[0] == (
        "Nothing to do: no new image since span 3, the last that was trained on."
    )


def test_too_soon_holds_back_whatever_is_reached() -> None:
    drift = decided(900, past=Past(is_too_soon=True), min_new_images=500, min_days=1)
    assert not drift.retrain
    assert "the last model is not 1 days old (retrain.min_days)" in drift.reasons[0]


def test_smallest_age_alone_is_no_trigger_to_wait_for() -> None:
    assert decided(12, min_days=1).retrain


# --- Learning curve -------------------------------------------------------------------------


def test_curve_through_a_power_law_is_that_power_law() -> None:
    curve = learning_curve.fit(POINTS)
    assert curve is not None
    assert curve.error(10_000) == pytest.approx(0.05 + 2 * 0.01, abs=0.003)
    assert curve.gain(1_600, 10_000) == pytest.approx(2 * (1 / 40 - 1 / 100), abs=0.003)


def test_curve_of_noisy_accuracies_never_promises_less_than_nothing() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        points = [Point(n, float(rng.uniform(0.7, 1.0)), 50) for n in (100, 200, 400, 800)]
        curve = learning_curve.fit(points)
        assert curve is not None
        assert curve.gain(800, 1_600) >= 0
        assert curve.error(10**9) >= 0


def test_two_sizes_are_no_curve() -> None:
    assert learning_curve.fit([*POINTS[:2], POINTS[1]]) is None


def test_gain_that_is_expected_to_be_small_is_nothing_to_do() -> None:
    drift = decided(12, past=Past(points=POINTS, num_train_images=1_650), min_gain=0.01)
    assert not drift.retrain
    assert (
        "1,650 training images instead of 1,600 promise an accuracy 0.0008 higher"
        in (drift.reasons[0])
    )


def test_gain_that_is_worth_it_trains() -> None:
    past = Past(points=POINTS, num_train_images=10_000)
    drift = decided(8_400, past=past, min_gain=0.01)
    assert drift.retrain
    assert drift.reasons[0].startswith("10,000 training images instead of 1,600 promise")


def test_unknown_gain_holds_nothing_back() -> None:
    drift = decided(12, past=Past(points=POINTS[:2], num_train_images=1_000), min_gain=0.01)
    assert drift.retrain
    assert drift.reasons[0].startswith("The expected gain is unknown: there are fewer than 3")


# --- Combined -------------------------------------------------------------------------------


@pytest.mark.parametrize(("when", "retrain"), [("any", True), ("all", False), ("always", True)])
def test_triggers_combine_as_asked(when: str, retrain: bool) -> None:
    drift = decided(600, when=when, min_new_images=500, max_days=30)
    assert drift.retrain is retrain


def test_all_triggers_reached_train() -> None:
    past = Past(is_due=True)
    assert decided(600, past=past, when="all", min_new_images=500, max_days=30).retrain


def test_old_keys_are_short_for_the_new_ones() -> None:
    config = RetrainConfig(max_days=3).with_shorthands(min_new_images=5, min_drift=0.5)
    assert config == RetrainConfig(max_days=3, min_new_images=5, min_drift=0.5)


def test_key_that_is_set_twice_is_refused() -> None:
    values = {"data": {"retrain_min_drift": 0.3}, "retrain": {"min_drift": 0.4}}
    with pytest.raises(ConfigError) as raised:
        parse_config(values)
    assert (raised.value.cause, raised.value.fix) == (
        "data.retrain_min_drift and retrain.min_drift are both set.",
        "Leave data.retrain_min_drift out: it is short for the other.",
    )


# --- Asked of ML Metadata -------------------------------------------------------------------


class Store:
    """Runs as TFX records them: statistics, model, evaluation, blessing, pushed model."""

    def __init__(self, folder: Path) -> None:
        config = proto.ConnectionConfig()
        config.fake_database.SetInParent()
        self.store = metadata_store.MetadataStore(config)
        self.folder, self.num_runs = folder, 0
        self.pipeline = self._context("pipeline", "flowers")

    def run(self, num_train: int, accuracy: float, net: str = "lenet") -> None:
        self.num_runs += 1
        folder = self.folder / str(self.num_runs)
        run = self._context("pipeline_run", f"run-{self.num_runs}")
        self._made(run, "ExampleStatistics", newest_span=self.num_runs)
        model = self._made(run, "Model", uri=folder / "model")
        facts = {"net": net, "image_size": 28, "num_train_images": num_train}
        files.write_json(folder / "model" / contracts.MODEL_FACTS_FILE, facts)
        self._made(run, "ModelEvaluation", reads=model, uri=folder / "evaluation")
        metrics = {"accuracy": accuracy, "num_images": 100}
        files.write_json(folder / "evaluation" / contracts.EVALUATION_METRICS_FILE, metrics)
        self._made(run, "ModelBlessing", blessed=0)

    def _context(self, type_name: str, name: str) -> int:
        type_id = self.store.put_context_type(proto.ContextType(name=type_name))
        (context,) = self.store.put_contexts([proto.Context(type_id=type_id, name=name)])
        return int(context)

    def _made(
        self, run: int, type_name: str, reads: int | None = None, uri: Path | None = None, **values
    ) -> int:
        type_id = self.store.put_artifact_type(proto.ArtifactType(name=type_name))
        artifact = proto.Artifact(type_id=type_id, state=proto.Artifact.LIVE, uri=str(uri or "/"))
        for name, value in values.items():
            artifact.custom_properties[name].int_value = value
        execution = self.store.put_execution_type(proto.ExecutionType(name=f"x{type_name}"))
        pairs: list[Any] = [(artifact, self._event(proto.Event.OUTPUT, "output"))]
        if reads is not None:
            (read,) = self.store.get_artifacts_by_id([reads])
            pairs.append((read, self._event(proto.Event.INPUT, "model")))
        contexts = self.store.get_contexts_by_id([self.pipeline, run])
        _, artifacts, _ = self.store.put_execution(
            proto.Execution(type_id=execution), pairs, contexts
        )
        return int(artifacts[0])

    def _event(self, kind: int, key: str) -> Any:
        event = proto.Event(type=kind)
        event.path.steps.add(key=key)
        return event


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def past_of(store: Store, config: RetrainConfig, now: float) -> dict[str, int | str]:
    return find_past(config, 9, "", store.store, "flowers", now)


def test_points_are_the_models_of_the_newest_network(store: Store) -> None:
    store.run(100, 0.7)
    store.run(150, 0.95, net="vgg_16")
    store.run(200, 0.8)
    assert learning_points(store.store, "flowers") == [Point(100, 0.7, 100), Point(200, 0.8, 100)]
    assert learning_points(store.store, "another pipeline") == []
    found = past_of(store, RetrainConfig(min_gain=0.1), now=0.0)["earlier_models"]
    assert json.loads(str(found)) == [[100, 0.7, 100], [200, 0.8, 100]]


def test_models_whose_files_are_gone_are_no_points(store: Store, tmp_path: Path) -> None:
    store.run(100, 0.7)
    (tmp_path / "1" / "model" / contracts.MODEL_FACTS_FILE).unlink()
    assert learning_points(store.store, "flowers") == []


def test_age_counts_from_the_last_judged_model(store: Store) -> None:
    store.run(100, 0.7)
    (blessing,) = store.store.get_artifacts_by_type("ModelBlessing")
    judged = blessing.create_time_since_epoch / 1_000
    config = RetrainConfig(max_days=30, min_days=1)
    for days, is_due, is_too_soon in ((0.5, 0, 1), (2, 0, 0), (31, 1, 0)):
        found = past_of(store, config, judged + days * 86_400)
        assert (found["is_due"], found["is_too_soon"]) == (is_due, is_too_soon)


def test_clock_changes_no_cache_key_until_a_bound_is_crossed(store: Store) -> None:
    store.run(100, 0.7)
    (blessing,) = store.store.get_artifacts_by_type("ModelBlessing")
    judged = blessing.create_time_since_epoch / 1_000
    config = RetrainConfig(max_days=30)
    assert past_of(store, config, judged + 10) == past_of(store, config, judged + 86_400)
    # Without such a trigger, nothing is asked.
    assert past_of(store, RetrainConfig(min_new_images=5), judged + 9e9) == {
        "is_due": 0, "is_too_soon": 0, "earlier_models": "[]",
    }  # fmt: skip


def test_drift_json_has_the_reasons() -> None:
    drift = dataclasses.replace(decided(12, max_days=30))
    assert drift.to_json()["retrain"] is False
    assert drift.to_json()["reasons"][-1] == ADVICE
