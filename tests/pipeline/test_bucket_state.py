"""A workspace in a bucket: what ingest remembers, and two runs at once (a real S3 server)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from refusals import refusal
from s3_server import S3Server

from slimworks.components import files
from slimworks.components.errors import ConfigError, DataError
from slimworks.components.storage import remote
from slimworks.pipeline.config import load_config
from slimworks.pipeline.kubeflow.bucket import Bucket, open_bucket
from slimworks.pipeline.paths import PipelinePaths

pytestmark = pytest.mark.engine

METADATA = ("kubeflow.metadata.kind=mysql", "kubeflow.metadata.host=db")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    (server.root / "work").mkdir()
    yield server
    server.kill()
    remote.configure(())


def container(server: S3Server, folder: Path, name: str) -> tuple[Bucket, PipelinePaths]:
    """What a step's container has: a bucket, and folders of its own."""
    paths = PipelinePaths(folder / name, "flowers")
    config = load_config(None, [f"kubeflow.workspace=s3://work/{folder.name}", *METADATA], "x")
    data = config.data.model_copy(update={"beam_pipeline_args": server.options()})
    bucket = open_bucket(config.model_copy(update={"data": data}), paths)
    assert bucket is not None
    return bucket, paths


def ingest(bucket: Bucket, paths: PipelinePaths, catalogue: str) -> None:
    files.write_text(paths.state / "catalogue.sqlite", catalogue)
    files.write_text(paths.state / f"shards/{catalogue}.tfrecord", catalogue)
    bucket.after_executor("ingest", [])


def test_the_next_ingest_finds_the_state_and_its_shards_only_where_it_runs(
    server: S3Server, tmp_path: Path
) -> None:
    first, paths = container(server, tmp_path, "first")
    first.before_driver("ingest", [], {})
    ingest(first, paths, "one")
    second, paths = container(server, tmp_path, "second")
    second.before_driver("ingest", [], {})
    assert files.sha256_by_name(paths.state).keys() == {"catalogue.sqlite"}
    second.before_executor("ingest", {}, {})
    assert (paths.state / "shards/one.tfrecord").read_text() == "one"
    ingest(second, paths, "two")
    third, paths = container(server, tmp_path, "third")
    third.before_driver("ingest", [], {})
    assert (paths.state / "catalogue.sqlite").read_text() == "two"


def test_of_two_runs_at_once_the_second_is_refused_and_loses_nothing_of_the_first(
    server: S3Server, tmp_path: Path
) -> None:
    one, paths_of_one = container(server, tmp_path, "one")
    other, paths_of_other = container(server, tmp_path, "other")
    for bucket in (one, other):
        bucket.before_driver("ingest", [], {})
        bucket.before_executor("ingest", {}, {})
    ingest(one, paths_of_one, "one")
    cause, fix = refusal(ConfigError, ingest, other, paths_of_other, "other")
    assert cause == (
        "Another run of 'flowers' ingested at the same time and was first: "
        f"s3://work/{tmp_path.name}/flowers has its state."
    )
    assert fix.startswith("Run again")
    next_one, paths = container(server, tmp_path, "next")
    next_one.before_driver("ingest", [], {})
    next_one.before_executor("ingest", {}, {})
    assert (paths.state / "shards/one.tfrecord").read_text() == "one"
    assert not (paths.state / "shards/other.tfrecord").exists()


def test_an_artifact_that_was_not_stored_whole_is_named(server: S3Server, tmp_path: Path) -> None:
    bucket, paths = container(server, tmp_path, "one")
    place = str(paths.artifacts / "trainer/model/7")
    cause, fix = refusal(DataError, bucket.before_executor, "evaluator", {"model": [place]}, {})
    assert cause.endswith("/flowers has no whole artifacts/trainer/model/7.")
    assert fix == "Make it again: kubeflow.steps.trainer.cache: false."


def test_evaluating_steps_leave_the_training_images_where_they_are(
    server: S3Server, tmp_path: Path
) -> None:
    maker, paths = container(server, tmp_path, "maker")
    for split in ("train", "eval", "test"):
        files.write_text(paths.artifacts / f"ingest/examples/1/Split-{split}/data", split)
    maker.after_executor("statistics", [str(paths.artifacts / "ingest/examples/1")])
    for node, expected in (("evaluator", {"eval", "test"}), ("gate", {"train", "eval", "test"})):
        reader, paths = container(server, tmp_path, node)
        place = paths.artifacts / "ingest/examples/1"
        reader.before_executor(node, {"examples": [str(place)]}, {})
        assert {path.name for path in place.iterdir()} == {f"Split-{one}" for one in expected}
