"""Which steps of the compiled pipeline hang on which condition."""

from __future__ import annotations

from typing import Any

import pytest

from slimworks.pipeline import dag
from slimworks.pipeline.config import load_config
from slimworks.pipeline.kubeflow.compiling import kubeflow_locations


def nodes(*overrides: str) -> dict[str, Any]:
    config = load_config(None, overrides, "/workspace/photos")
    pipeline = dag.build_pipeline(config, "photos", kubeflow_locations(config, "photos"))
    compiled = dag.compile_pipeline(pipeline)
    return {n.pipeline_node.node_info.id: n.pipeline_node for n in compiled.nodes}


def conditional(compiled: dict[str, Any]) -> set[str]:
    return {name for name, node in compiled.items() if node.inputs.conditionals}


def test_without_triggers_only_the_push_hangs_on_a_condition() -> None:
    compiled = nodes("data.stop_above_drift=0.5")
    assert conditional(compiled) == {"replay", "pusher"}
    assert "validation" not in compiled["transform"].upstream_nodes, "they run side by side"


@pytest.mark.parametrize(
    "trigger",
    ["data.retrain_min_drift=0.3", "data.retrain_min_new_images=9", "retrain.max_days=30"],
)
def test_with_a_trigger_training_waits_for_the_validation(trigger: str) -> None:
    compiled = nodes(trigger)
    assert conditional(compiled) == {"transform", "replay", "pusher"}
    assert "validation" in compiled["transform"].upstream_nodes


def test_everything_after_the_validation_is_fed_by_the_step_that_waits() -> None:
    compiled = nodes("data.retrain_min_drift=0.3")
    skipped = {"transform"}
    for name in dag.NODES:
        if skipped & set(compiled[name].upstream_nodes):
            skipped.add(name)
    assert skipped == set(dag.NODES[dag.NODES.index("transform") :])


def test_thresholds_reach_the_validation() -> None:
    compiled = nodes("data.stop_above_drift=0.5", "data.retrain_min_new_images=9")
    config = compiled["validation"].parameters.parameters["config"].field_value.string_value
    assert '"stop_above_drift":0.5' in config
    assert '"min_new_images":9' in config
