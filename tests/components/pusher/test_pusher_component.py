"""Driver and executor on artifacts: what reuses a push, what pushes, what refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pusher_samples import events, push, versions, write_model
from tfx.dsl.components.base import base_executor
from tfx.orchestration.portable import data_types
from tfx.types import channel, standard_artifacts

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError, ServingError
from slimworks.components.pusher import ledger, manifest
from slimworks.components.pusher.component import Pusher
from slimworks.components.pusher.config import PushConfig
from slimworks.components.pusher.driver import PusherDriver
from slimworks.components.pusher.executor import Executor
from slimworks.components.pusher.rollback import rollback

METRICS = {"num_images": 90, "accuracy": 0.9, "accuracy_interval": [0.8, 0.95], "macro_f1": 0.9}
MODEL_FACTS = {"net": "lenet", "label_map_version": 3, "label_map_digest": "d3"}
KINDS = {
    "model": standard_artifacts.Model,
    "blessing": standard_artifacts.ModelBlessing,
    "replay": standard_artifacts.InfraBlessing,
    "evaluation": standard_artifacts.ModelEvaluation,
}


class Pipeline:
    """Runs the node as the launcher does: driver, cache by inputs and properties, executor."""

    def __init__(self, root: Path) -> None:
        self.root, self.base = root, root / "serving" / "flowers"
        self.cache: dict[Any, Path] = {}
        self.num_runs = 0
        channels = {name: channel.Channel(type=kind) for name, kind in KINDS.items()}
        node = Pusher(**channels, config=PushConfig(keep_versions=2), base_path=str(self.base))
        self.properties = dict(node.spec.exec_properties)
        config = json.loads(self.properties["config"])
        assert (config["keep_versions"], config["label"]) == (2, "stable")

    def inputs(self, name: str, blessed: bool = True, replayed: bool = True) -> dict[str, Any]:
        folder = self.root / f"artifacts-{name}"
        inputs = {key: [kind()] for key, kind in KINDS.items()}
        for key, artifacts in inputs.items():
            artifacts[0].uri = str(folder / key)
        if not (folder / "model").exists():
            model = write_model(self.root, name)
            shutil.copytree(model, folder / "model" / contracts.SAVED_MODEL_FOLDER)
            files.write_json(folder / "model" / contracts.MODEL_FACTS_FILE, MODEL_FACTS)
        decision = {"blessed": blessed, "verdict": "pass" if blessed else "fail", "reasons": ["r"]}
        files.write_json(folder / "blessing" / contracts.DECISION_FILE, decision)
        files.write_json(
            folder / "evaluation" / contracts.EVALUATION_METRICS_FILE,
            {**METRICS, "confusion_matrix": [[1]]},
        )
        if replayed:
            inputs["replay"][0].set_int_custom_property("blessed", 1)
        return inputs

    def published(self, inputs: dict[str, Any], output: Any) -> dict[str, Any]:
        information = data_types.ExecutionInfo(
            input_dict=inputs,
            output_dict={"pushed_model": [output]},
            exec_properties=dict(self.properties),
        )
        added = PusherDriver(None).run(information).exec_properties
        return {name: value.string_value for name, value in added.items()}

    def run(self, name: str, **state: bool) -> tuple[bool, dict[str, Any]]:
        """Returns (was reused, pushed.json)."""
        self.num_runs += 1
        inputs = self.inputs(name, **state)
        output = standard_artifacts.PushedModel()
        output.uri = str(self.root / "pusher" / "pushed_model" / str(self.num_runs))
        properties = self.properties | self.published(inputs, output)
        key = (name, tuple(sorted(properties.items())))
        reused = key in self.cache
        if not reused:
            context = base_executor.BaseExecutor.Context(pipeline_run_id=f"run-{self.num_runs}")
            Executor(context).Do(inputs, {"pushed_model": [output]}, properties)
            self.cache[key] = Path(output.uri)
            assert output.get_int_custom_property("pushed") == 1
        return reused, files.read_json(self.cache[key] / contracts.PUSHED_FILE)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


def test_push_writes_its_facts_into_ledger_and_artifact(pipeline: Pipeline) -> None:
    _, pushed = pipeline.run("a")
    assert pushed["version"] == 1
    assert pushed["base_path"] == str(pipeline.base)
    assert pushed["pushed_to"] == str(pipeline.base / "1")
    facts = ledger.why(pipeline.base, 1).facts
    assert facts["run_id"] == "run-1"
    assert {key: facts[key] for key in MODEL_FACTS} == MODEL_FACTS
    assert (facts["verdict"], facts["reasons"]) == ("pass", ["r"])
    assert facts["metrics"] == METRICS
    assert facts["digest"] == pushed["digest"] == manifest.digest_of(pipeline.base / "1")
    assert facts["slimworks_version"]


def test_second_run_reuses_the_push(pipeline: Pipeline) -> None:
    assert [pipeline.run("a")[0] for _ in range(3)] == [False, True, True]
    assert events(pipeline.base) == [("pushed", 1)]


def test_run_after_a_rollback_pushes_nothing(pipeline: Pipeline) -> None:
    pipeline.run("a")
    pipeline.run("b")
    rollback(pipeline.base)
    reused, pushed = pipeline.run("b")
    assert (reused, pushed["version"]) == (True, 2)
    assert versions(pipeline.base) == [1, 2, 3]
    shutil.rmtree(pipeline.base / "2")  # the operator cleans up as well
    assert pipeline.run("b")[0]


def test_forced_run_does_not_undo_a_rollback(pipeline: Pipeline) -> None:
    pipeline.run("a")
    pipeline.run("b")
    rollback(pipeline.base, reason="too many roses")
    pipeline.cache.clear()
    with pytest.raises(ConfigError, match=r"was version 2 of .* rolled back .*too many roses") as e:
        pipeline.run("b")
    assert "slimworks rollback 2" in e.value.fix
    rollback(pipeline.base, 2)
    assert pipeline.run("b")[1]["version"] == 4  # live again by the operator's own hand


@pytest.mark.parametrize("lost", ["version", "version and ledger", "ledger"])
def test_push_whose_version_vanished_is_done_again_and_then_reused(
    pipeline: Pipeline, lost: str
) -> None:
    pipeline.run("a")
    for _ in range(3):
        if "version" in lost:
            shutil.rmtree(pipeline.base / str(max(versions(pipeline.base))))
        if "ledger" in lost:
            shutil.rmtree(pipeline.base / ".slimworks", ignore_errors=True)
        reused, pushed = pipeline.run("a")
        assert reused == (lost == "ledger")
        assert Path(pushed["pushed_to"]).is_dir()
        again = pipeline.run("a")
        assert again == (True, pushed)


def test_version_that_made_room_is_not_pushed_again(pipeline: Pipeline) -> None:
    for name in "abc":
        pipeline.run(name)
    assert versions(pipeline.base) == [2, 3]
    assert pipeline.run("a")[0]


def test_model_pushed_by_hand_is_found_live_and_then_reused(pipeline: Pipeline) -> None:
    push(write_model(pipeline.root, "a"), pipeline.base)
    assert pipeline.run("a")[1]["version"] == 1
    assert pipeline.run("a")[0]
    assert events(pipeline.base) == [("pushed", 1), ("labelled", 1)]


def test_unblessed_model_is_not_pushed(pipeline: Pipeline) -> None:
    with pytest.raises(ServingError, match=r"did not bless .* \(verdict: fail\)"):
        pipeline.run("a", blessed=False)
    with pytest.raises(ServingError, match=r"replay .* did not bless the model"):
        pipeline.run("a", replayed=False)
    assert not pipeline.base.exists()


def test_a_superseded_model_is_pushed_again_but_a_rolled_back_one_is_not(tmp_path):
    from slimworks.components.pusher.presence import INTACT, presence_of
    from slimworks.components.pusher.rollback import rollback

    base_path = tmp_path / "serving"
    old, new = write_model(tmp_path, "old"), write_model(tmp_path, "new")
    digest = push(old, base_path, published=INTACT).digest
    push(new, base_path, published=INTACT)
    assert presence_of(digest, base_path, {}) == "superseded: version 2"
    push(old, base_path, published="superseded: version 2")
    # Live again, by the value that it was pushed with: the next run reuses everything.
    assert presence_of(digest, base_path, {}) == "superseded: version 2"
    rollback(base_path)
    assert presence_of(digest, base_path, {}) == "superseded: version 2"
