"""The compiled pipeline: what it says, that other tools read it, and that mistakes are found."""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from golden_yaml import GOLDEN, assert_is_reviewed
from kubeflow_server import FakeKubeflow, serve, set_tasks
from refusals import refusal, slimworks

from slimworks.components.errors import ConfigError
from slimworks.components.trainer.tfjob import PodSettings
from slimworks.components.trainer.tfjob_run import pod_settings
from slimworks.pipeline import dag, run_node
from slimworks.pipeline.config import load_config
from slimworks.pipeline.kubeflow import compiling, graph
from slimworks.pipeline.kubeflow.config import STEPS
from slimworks.pipeline.kubeflow.outputs import REPORT

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="kfp-kubernetes cannot be installed beside TFX"
)


@pytest.fixture(scope="module")
def compiled() -> compiling.Compiled:
    config = load_config(str(GOLDEN / "pipeline.yaml"))
    return compiling.compile_text(config, config.kubeflow.image)


@pytest.fixture(scope="module")
def parsed(compiled: compiling.Compiled) -> list[Any]:
    return list(yaml.safe_load_all(compiled.text))


@pytest.fixture
def documents(parsed: list[Any]) -> list[Any]:
    """The two parts of the YAML, for the test to spoil."""
    return copy.deepcopy(parsed)


@pytest.fixture(scope="module")
def nodes() -> dict[str, list[str]]:
    """Each step of the golden configuration with those that it waits for."""
    config = load_config(str(GOLDEN / "pipeline.yaml"))
    locations = compiling.kubeflow_locations(config, "flowers")
    ir = dag.compile_pipeline(dag.build_pipeline(config, "flowers", locations))
    return {n.pipeline_node.node_info.id: sorted(n.pipeline_node.upstream_nodes) for n in ir.nodes}


# --- What it says -----------------------------------------------------------------------------


def test_it_is_the_reviewed_one(compiled: compiling.Compiled) -> None:
    assert_is_reviewed(compiled.text, "pipeline.kfp.yaml")


def test_steps_of_the_settings_are_those_of_the_pipeline() -> None:
    assert ("default", *dag.NODES, REPORT) == STEPS


def test_the_kfp_loader_and_the_platform_protos_read_it(
    compiled: compiling.Compiled, documents: list[Any]
) -> None:
    from google.protobuf import json_format
    from kfp import components
    from kfp.kubernetes import kubernetes_executor_config_pb2
    from kfp.pipeline_spec import pipeline_spec_pb2

    loaded = components.load_component_from_text(compiled.text)
    assert loaded.pipeline_spec.pipeline_info.name == "flowers"
    spec, platform = documents
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == {f"exec-{step}" for step in compiled.steps}
    for executor in executors.values():
        json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


def test_parameters_are_typed_and_have_defaults(documents: list[Any]) -> None:
    declared = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert set(declared) == set(compiling.PARAMETERS)
    kinds = {name: one["parameterType"] for name, one in declared.items()}
    assert kinds == {
        "config": "STRUCT", "data": "STRING", "overrides": "LIST", "window": "NUMBER_INTEGER",
        "run_name": "STRING",
    }  # fmt: skip
    assert declared["data"]["defaultValue"] == "/workspace/photos"
    settings = declared["config"]["defaultValue"]
    assert settings["train"] == {"epochs": 5}
    assert "image" not in settings["kubeflow"], "how the YAML is made is no setting of a run"


def test_each_step_gets_what_its_settings_say(documents: list[Any]) -> None:
    spec, platform = documents
    containers = spec["deploymentSpec"]["executors"]
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    trainer = containers["exec-trainer"]["container"]["resources"]
    assert trainer["accelerator"]["type"] == "nvidia.com/gpu"
    assert pods["exec-trainer"]["nodeSelector"]["labels"] == {"pool": "gpu"}
    (toleration,) = pods["exec-trainer"]["tolerations"]
    assert toleration["effect"] == "NoSchedule"
    assert pods["exec-trainer"]["activeDeadlineSeconds"] == "86400"
    assert "activeDeadlineSeconds" not in pods["exec-gate"]
    assert "accelerator" not in containers["exec-gate"]["container"]["resources"]
    steps = graph.Graph(documents, {}, load_config(None, (), "x").kubeflow).steps()
    assert steps["trainer"]["retryPolicy"]["maxRetryCount"] == 5
    assert steps["gate"]["retryPolicy"] == {
        "maxRetryCount": 3, "backoffDuration": "60s", "backoffFactor": 2.0,
        "backoffMaxDuration": "600s",
    }  # fmt: skip
    assert "retryPolicy" not in steps["report"]
    without = {n for n, one in containers.items() if "--no-cache" in one["container"]["args"]}
    assert without == {"exec-evaluator"}


def test_secrets_are_named_and_never_read(
    compiled: compiling.Compiled, documents: list[Any]
) -> None:
    pods = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for pod in pods.values():
        names = {one["secretName"]: one["keyToEnv"] for one in pod["secretAsEnv"]}
        assert names["mysql"] == [
            {"envVar": "SLIMWORKS_METADATA_PASSWORD", "secretKey": "password"}
        ]
        assert [one["envVar"] for one in names["s3"]] == [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ]
        assert pod["secretAsVolume"][0]["mountPath"] == "/etc/certificates"
        assert pod["imagePullSecret"][0]["secretName"] == "registry"


def test_settings_of_a_step_win_over_those_of_all() -> None:
    config = load_config(
        None,
        ("kubeflow.steps.default.retries=1", "kubeflow.steps.trainer={memory: 8Gi, retries: 0}"),
    ).kubeflow
    assert (config.step("trainer").retries, config.step("trainer").memory) == (0, "8Gi")
    assert (config.step("gate").retries, config.step("gate").memory) == (1, None)


# --- A run's parameters -----------------------------------------------------------------------


def test_a_runs_parameters_win_over_the_compiled_configuration() -> None:
    settings = {"name": "flowers", "train": {"epochs": 5.0}, "data": {"window": 8.0}}
    config = run_node.run_config(settings, "/other", ["train.batch_size=4"], 2)
    assert (config.data.source, config.data.window) == ("/other", 2)
    assert (config.train.epochs, config.train.batch_size) == (5, 4)
    assert run_node.run_config(settings, "/other", [], 0).data.window == 8
    assert settings["data"] == {"window": 8.0}, "the caller's own"


def test_overrides_that_are_no_texts() -> None:
    assert refusal(ConfigError, run_node.run_config, {}, "/x", [5], 0) == (
        "The parameter overrides is [5], expected a list of texts.",
        'Write it like ["train.epochs=5"].',
    )


def test_an_override_that_changes_the_order_of_steps(nodes: dict[str, list[str]]) -> None:
    settings, digest = {"name": "flowers"}, compiling.graph_digest(nodes)
    run_node.build_ir(run_node.run_config(settings, "/workspace/photos", [], 0), digest)
    other = run_node.run_config(settings, "/x", ["retrain.max_days=30"], 0)
    cause, fix = refusal(ConfigError, run_node.build_ir, other, digest)
    assert cause.startswith("The run's parameters change which step waits for which")
    assert fix == "Compile with these settings: slimworks compile --set ..."


# --- The command line -------------------------------------------------------------------------


def test_submit_compiles_uploads_starts_and_follows(
    compiled: compiling.Compiled, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow = FakeKubeflow(on_look=_end)
    golden = str(GOLDEN / "pipeline.yaml")
    with serve(kubeflow) as host:
        arguments = ("submit", "--config", golden, "--host", host, "--window", "4", "--json")
        assert slimworks(*arguments, "--follow", "--run-name", "fix-1") == 10
        told = json.loads(capsys.readouterr().out)
        assert slimworks(*arguments) == 0
    assert list(kubeflow.packages.values()) == [compiled.text], "the same YAML, once"
    assert [run.runtime_config.parameters for run in kubeflow.runs] == [
        {"window": 4, "run_name": "fix-1"},
        {"window": 4},
    ]
    assert [run.display_name for run in kubeflow.runs] == ["fix-1", "flowers"]
    assert [experiment.display_name for experiment in kubeflow.experiments] == ["flowers"]
    assert (told["run_id"], told["exit_code"]) == (kubeflow.runs[0].run_id, 10)
    assert [(step["name"], step["state"]) for step in told["steps"]] == [("gate", "SUCCEEDED")]


def _end(run: Any) -> None:
    set_tasks(run, gate="SUCCEEDED")
    run.state = "SUCCEEDED"


def test_schedule_says_when_in_words_and_times(
    compiled: compiling.Compiled, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow = FakeKubeflow()
    golden = str(GOLDEN / "pipeline.yaml")
    with serve(kubeflow) as host:
        options = ("--config", golden, "--host", host, "--cron", "0 3 * * sun", "--window", "2")
        assert slimworks("schedule", *options) == 0
    (made,) = kubeflow.schedules
    assert made.display_name == "flowers"
    assert made.runtime_config.parameters == {"window": 2}
    first, words, times = capsys.readouterr().out.splitlines()
    assert first == f"schedule flowers ({made.recurring_run_id}):"
    assert words == "every Sunday at 03:00 UTC"
    assert re.fullmatch(r"next: (Sun \d{4}-\d\d-\d\d 03:00 UTC(, )?){3}", times)


# --- Settings that cannot be ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "cause", "fix"),
    [
        (
            "kubeflow.steps.trainr.cpu=4",
            "kubeflow.steps.trainr: there is no such step. Did you mean 'trainer'?",
            "Steps: default, ingest, ",
        ),
        (
            "kubeflow.steps.trainer.memori=4Gi",
            "Unknown key 'kubeflow.steps.trainer.memori'. Did you mean "
            "'kubeflow.steps.trainer.memory'?",
            "Keys of section 'kubeflow.steps.trainer': backoff_factor, ",
        ),
        (
            "kubeflow.steps.trainer.cpu=four",
            "'four' is no number of cores: write 4, 0.5 or 500m.",
            "Change kubeflow.steps.trainer.cpu",
        ),
        (
            "kubeflow.steps.trainer.memory=8 GB",
            "'8 GB' is no amount of memory: write 8Gi or 512Mi.",
            "Change kubeflow.steps.trainer.memory",
        ),
        (
            "kubeflow.metadata.kind=mysql",
            "kubeflow.metadata.kind is mysql, and it has no host.",
            "Change kubeflow.metadata",
        ),
        (
            "kubeflow.secrets=[{name: s3}]",
            "The secret s3 goes nowhere: give env ({key: VARIABLE}) or mount_path.",
            "Change kubeflow.secrets",
        ),
        (
            "kubeflow.host=kubeflow.example",
            "kubeflow.host is 'kubeflow.example', expected https://HOST.",
            "Change kubeflow.host",
        ),
    ],
)
def test_settings_that_cannot_be(override: str, cause: str, fix: str) -> None:
    told = refusal(ConfigError, load_config, None, (override,))
    assert told[0] == cause
    assert told[1].startswith(fix)


# --- One rule for each mistake ----------------------------------------------------------------


def _tasks(root: Any, name: str) -> Any:
    return root["components"][name]["dag"]["tasks"]


def _rename(root: Any, _: Any) -> None:
    root["pipelineInfo"]["name"] = "Flowers_1"


def _forget_component(root: Any, _: Any) -> None:
    _tasks(root, "comp-exit-handler-1")["gate"]["componentRef"]["name"] = "comp-gait"


def _forget_container(root: Any, _: Any) -> None:
    del root["deploymentSpec"]["executors"]["exec-gate"]


def _forget_step(root: Any, _: Any) -> None:
    del _tasks(root, "comp-condition-2")["replay"]
    _tasks(root, "comp-condition-2")["pusher"]["dependentTasks"] = []


def _wait_for_nobody(root: Any, _: Any) -> None:
    _tasks(root, "comp-exit-handler-1")["gate"]["dependentTasks"].append("judge")


def _wait_in_a_circle(root: Any, _: Any) -> None:
    _tasks(root, "comp-exit-handler-1")["ingest"]["dependentTasks"] = ["trainer"]


def _do_not_wait(root: Any, _: Any) -> None:
    del _tasks(root, "comp-exit-handler-1")["trainer"]["dependentTasks"]


def _report_success_only(root: Any, _: Any) -> None:
    del root["root"]["dag"]["tasks"]["report"]["triggerPolicy"]


def _cache(root: Any, _: Any) -> None:
    _tasks(root, "comp-exit-handler-1")["gate"]["cachingOptions"] = {"enableCache": True}


def _use_what_is_not_declared(root: Any, _: Any) -> None:
    arguments = root["deploymentSpec"]["executors"]["exec-gate"]["container"]["args"]
    arguments.append("{{$.inputs.parameters['speed']}}")


def _give_no_input(root: Any, _: Any) -> None:
    del _tasks(root, "comp-exit-handler-1")["gate"]["inputs"]["parameters"]["data"]


def _unmount(_: Any, platform: Any) -> None:
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    del executors["exec-gate"]["pvcMount"]


def _mix_images(root: Any, _: Any) -> None:
    root["deploymentSpec"]["executors"]["exec-gate"]["container"]["image"] = "other:2"


def _write_a_password(root: Any, _: Any) -> None:
    settings = root["root"]["inputDefinitions"]["parameters"]["config"]["defaultValue"]
    settings["kubeflow"]["metadata"]["password"] = "s3cret"


@pytest.mark.parametrize(
    ("spoil", "mistake"),
    [
        (_rename, "its name 'Flowers_1' is no Kubernetes label (lower-case letters, digits, '-')."),
        (_forget_component, "gate names a component that is not there."),
        (_forget_container, "gate has no container."),
        (_forget_step, "the step replay is missing."),
        (_wait_for_nobody, "gate waits for judge, which is not beside it in comp-exit-handler-1."),
        (_wait_in_a_circle, "ingest waits for trainer waits for "),
        (_do_not_wait, "trainer does not wait for ingest, whose output it reads."),
        (_report_success_only, "report runs only when every step succeeds (trigger None)."),
        (_cache, "Kubeflow's cache is on for gate."),
        (_use_what_is_not_declared, "gate uses inputs.parameters['speed'], which it does not"),
        (_give_no_input, "gate is not given its input data."),
        (_unmount, "gate has no volume at /workspace."),
        (_mix_images, "its steps have different images: other:2, registry.example/slimworks:1."),
        (_write_a_password, "its configuration holds 'password' in clear."),
    ],
)
def test_a_mistake_is_found_and_named(
    documents: list[Any],
    nodes: dict[str, list[str]],
    spoil: Callable[[Any, Any], None],
    mistake: str,
) -> None:
    config = load_config(str(GOLDEN / "pipeline.yaml")).kubeflow
    graph.check(documents, nodes, config)
    spoil(*documents)
    cause, fix = refusal(ConfigError, graph.check, documents, nodes, config)
    assert cause.startswith(f"The compiled pipeline is wrong: {mistake}")
    assert fix in graph.RULES.values()


def test_several_workers_make_the_trainer_start_a_tfjob() -> None:
    config = load_config(
        str(GOLDEN / "pipeline.yaml"), ("train.distribution=multi_worker", "train.workers=3")
    )
    compiled = compiling.compile_text(config, "image:1")
    root, platform = yaml.safe_load_all(compiled.text)
    containers = root["deploymentSpec"]["executors"]
    (variable,) = containers["exec-trainer"]["container"]["env"]
    assert pod_settings({variable["name"]: variable["value"]}) == PodSettings(
        "image:1",
        "photos",
        "/workspace",
        cpu="4",
        memory="16Gi",
        gpus=1,
        node_selector={"pool": "gpu"},
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        secrets=[
            {
                "name": "s3",
                "env": {"id": "AWS_ACCESS_KEY_ID", "key": "AWS_SECRET_ACCESS_KEY"},
                "mount_path": "",
            },
            {"name": "certificates", "env": {}, "mount_path": "/etc/certificates"},
        ],
        image_pull_secrets=["registry"],
    )
    assert "accelerator" not in containers["exec-trainer"]["container"]["resources"]
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert "nodeSelector" not in pods["exec-trainer"], "its own pod only waits"
    assert "timeout" not in str(pods["exec-gate"]).lower()
    assert "86400" in str(pods["exec-trainer"]), "as long as the trainer may take"
    assert "env" not in containers["exec-gate"]["container"]


def test_models_outside_the_workspace_are_mounted() -> None:
    settings = ("name=flowers", "push.base_path=/models", "kubeflow.models_claim=models")
    config = load_config(None, settings, "/workspace/photos")
    compiled = compiling.compile_text(config, "image:1")
    _, platform = yaml.safe_load_all(compiled.text)
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for step in dag.NODES:
        mounts = {m["mountPath"]: m["constant"] for m in pods[f"exec-{step}"]["pvcMount"]}
        assert mounts == {"/workspace": "slimworks", "/models": "models"}


def test_without_exit_handler_and_condition_for_runners_that_know_none() -> None:
    config = load_config(None, ("kubeflow.plain=true", "name=flowers"), "/workspace/photos")
    compiled = compiling.compile_text(config, "image:1")
    root = next(yaml.safe_load_all(compiled.text))
    assert set(root["root"]["dag"]["tasks"]) == set(dag.NODES) == set(compiled.steps)
    assert "report" not in compiled.text.replace("ingest_report", "")
