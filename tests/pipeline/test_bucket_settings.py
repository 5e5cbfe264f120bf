"""A workspace in a bucket: what is compiled, and which settings cannot be."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import yaml
from golden_yaml import GOLDEN, assert_is_reviewed
from refusals import refusal

from slimworks.components.errors import ConfigError
from slimworks.pipeline import dag
from slimworks.pipeline.config import PipelineConfig, load_config
from slimworks.pipeline.kubeflow import compiling, cronjob, graph, volumes
from slimworks.pipeline.kubeflow.cron import parse_cron
from slimworks.pipeline.kubeflow.distributed import tfjob_variable

WORKSPACE = "kubeflow.workspace=gs://work/flowers/"
DAILY = parse_cron("@daily")
METADATA = ("kubeflow.metadata.kind=postgresql", "kubeflow.metadata.host=db")

needs_kfp = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="kfp-kubernetes cannot be installed beside TFX"
)


def load(*settings: str) -> PipelineConfig:
    return load_config(None, ("name=flowers", WORKSPACE, *METADATA, *settings), "gs://photos/x")


@pytest.fixture(scope="module")
def compiled() -> compiling.Compiled:
    config = load_config(str(GOLDEN / "bucket.yaml"))
    return compiling.compile_text(config, config.kubeflow.image)


@needs_kfp
def test_it_is_the_reviewed_one(compiled: compiling.Compiled) -> None:
    assert_is_reviewed(compiled.text, "bucket.kfp.yaml")


@needs_kfp
def test_each_container_has_room_of_its_own_and_no_volume(compiled: compiling.Compiled) -> None:
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2

    documents = list(yaml.safe_load_all(compiled.text))
    pods = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(pods) == len(dag.NODES) + 1
    for pod in pods.values():
        read = json_format.ParseDict(pod, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
        (mount,) = read.empty_dir_mounts
        assert (mount.mount_path, mount.size_limit) == ("/workspace", "100Gi")
        assert not read.pvc_mount
    config = load_config(str(GOLDEN / "bucket.yaml")).kubeflow
    _without_room(config, documents)


def _without_room(config: Any, documents: list[Any]) -> None:
    spoiled = copy.deepcopy(documents)
    executors = spoiled[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    del executors["exec-gate"]["emptyDirMounts"]
    steps = graph.Graph(documents, {}, config).steps()
    nodes: dict[str, list[str]] = {step: [] for step in steps if step != "report"}
    cause, _ = refusal(ConfigError, graph.check, spoiled, nodes, config)
    assert cause == "The compiled pipeline is wrong: gate has no volume at /workspace."


def test_models_go_to_the_bucket_and_places_are_the_same_in_every_container() -> None:
    locations = compiling.kubeflow_locations(load("kubeflow.scratch=/scratch"), "flowers")
    assert locations.base_path == "gs://work/flowers/flowers/serving/flowers"
    assert locations.pipeline_root == "/scratch/flowers/artifacts"
    elsewhere = compiling.kubeflow_locations(load("push.base_path=s3://models"), "flowers")
    assert elsewhere.base_path == "s3://models/flowers"
    assert volumes.claims(load("push.base_path=s3://models")) == {}


def test_models_may_have_a_volume_of_their_own() -> None:
    config = load("push.base_path=/models", "kubeflow.models_claim=models")
    assert volumes.claims(config) == {"/models": "models"}


@pytest.mark.parametrize(
    "settings",
    [
        ("push.base_path=/models",),
        ("push.base_path=/workspace/models", "kubeflow.models_claim=models"),
    ],
)
def test_models_in_a_folder_that_ends_with_the_container(settings: tuple[str, ...]) -> None:
    cause, fix = refusal(ConfigError, volumes.claims, load(*settings))
    path = settings[0].partition("=")[2]
    assert cause == (
        f"push.base_path is {path}, and the workspace is gs://work/flowers: that folder ends with "
        "the step's container."
    )
    assert fix == "Give a prefix, such as gs://work/flowers/serving, or leave out push.base_path."


@pytest.mark.parametrize(
    ("settings", "cause", "fix"),
    [
        (
            ("kubeflow.workspace=s3://work/x",),
            "kubeflow.workspace is s3://work/x, and ML Metadata is a SQLite file, which a bucket "
            "cannot hold.",
            "Name a database: kubeflow.metadata.kind mysql, postgresql or grpc, and its host.",
        ),
        (
            ("kubeflow.workspace=hdfs://name/x",),
            "kubeflow.workspace is 'hdfs://name/x': artifacts can be on a volume, on S3 or on GCS.",
            "Give the folder of a volume, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.",
        ),
        (
            ("kubeflow.workspace=s3://",),
            "kubeflow.workspace is 's3://': artifacts can be on a volume, on S3 or on GCS.",
            "Give the folder of a volume, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.",
        ),
        (
            ("kubeflow.scratch=scratch",),
            "kubeflow.scratch is 'scratch', expected an absolute path.",
            "Change kubeflow.scratch",
        ),
        (
            ("kubeflow.scratch_size=much",),
            "kubeflow.scratch_size is 'much': write 100Gi.",
            "Change kubeflow.scratch_size",
        ),
    ],
)
def test_settings_that_cannot_be(settings: tuple[str, ...], cause: str, fix: str) -> None:
    told = refusal(ConfigError, load_config, None, settings)
    assert told[0] == cause
    assert told[1].startswith(fix)


def test_what_needs_a_volume_says_so() -> None:
    fix = "Give the folder where a volume is mounted: kubeflow.workspace /workspace."
    workers = load("train.distribution=multi_worker", "train.workers=2")
    assert refusal(ConfigError, tfjob_variable, workers, "image:1") == (
        "A training of several pods needs a volume, and kubeflow.workspace is gs://work/flowers.",
        fix,
    )
    assert refusal(ConfigError, cronjob.cronjob_yaml, load(), "image:1", DAILY) == (
        "A CronJob needs a volume, and kubeflow.workspace is gs://work/flowers.",
        fix,
    )
