"""Whole ingests from S3: as from a disk, incremental, through a server that dies and comes back."""

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from photo_folders import outputs_in, photo_bytes
from s3_server import S3Server

from slimworks.components import contracts
from slimworks.components.errors import DataError
from slimworks.components.examples.messages import Example
from slimworks.components.examples.tfrecord import iterate_records
from slimworks.components.ingest import checking
from slimworks.components.ingest.config import DataConfig
from slimworks.components.ingest.engine.passes import SMALL_JOB_TASKS
from slimworks.components.ingest.ingest import IngestSummary, ingest
from slimworks.components.ingest.storage import access
from slimworks.components.storage import remote

pytestmark = pytest.mark.engine
_COUNT = 60  # photos of each class


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    running = S3Server(tmp_path_factory.mktemp("s3"))
    yield running
    running.kill()
    access.configure([])


@pytest.fixture
def bucket(server: S3Server) -> Path:
    """Folder behind s3://photos, with photos of cats and dogs."""
    folder = server.root / "photos"
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    server.client().create_bucket(Bucket="photos")
    for number, name in enumerate(("cats", "dogs")):
        (folder / name).mkdir()
        for index in range(_COUNT):
            (folder / name / f"{index}.png").write_bytes(photo_bytes(1_000 * number + index))
    return folder


def run(server: S3Server, source: str, output: Path, **settings: object) -> IngestSummary:
    config = DataConfig(**settings)
    state = str(output / "state")
    return ingest(source, outputs_in(output), config, state, server.options())


def written(output: Path) -> dict[str, tuple[str, bytes]]:
    """Split and bytes of each example, by image id."""
    found = {}
    for split in contracts.SPLITS:
        for shard in contracts.split_folder(output / "examples", split).iterdir():
            for record in iterate_records(shard):
                feature = Example.FromString(record).features.feature
                image_id = feature[contracts.IMAGE_ID].bytes_list.value[0].decode()
                found[image_id] = (split, feature[contracts.IMAGE_ENCODED].bytes_list.value[0])
    return found


def test_s3_gives_the_same_examples_as_a_disk(
    server: S3Server, bucket: Path, tmp_path: Path
) -> None:
    run(server, "s3://photos", tmp_path / "remote")
    run(server, str(bucket), tmp_path / "local")
    assert written(tmp_path / "remote") == written(tmp_path / "local")


def test_a_second_ingest_reads_what_is_new_only(
    server: S3Server, bucket: Path, tmp_path: Path
) -> None:
    first = run(server, "s3://photos", tmp_path)
    for index in range(3):
        (bucket / "cats" / f"new-{index}.png").write_bytes(photo_bytes(5_000 + index))
    second = run(server, "s3://photos", tmp_path)
    assert (first.num_new_files, first.num_images) == (2 * _COUNT, 2 * _COUNT)
    assert (second.num_new_files, second.num_unchanged_files) == (3, 2 * _COUNT)
    assert second.num_images == 2 * _COUNT + 3
    assert second.num_changed_split == 0


def test_a_manifest_on_a_disk_names_photos_on_s3_and_a_missing_one_is_set_aside(
    server: S3Server, bucket: Path, tmp_path: Path
) -> None:
    rows = [
        f"s3://photos/{name}/{index}.png,{name}" for name in ("cats", "dogs") for index in range(50)
    ]
    rows.append("s3://photos/cats/gone.png,cats")
    (tmp_path / "labels.csv").write_text("path,class\n" + "\n".join(rows) + "\n")
    summary = run(server, str(tmp_path / "labels.csv"), tmp_path / "out")
    assert (summary.num_images, summary.rejected_by_reason) == (100, {"unreadable": 1})
    rejects = (tmp_path / "out/report" / contracts.REJECTS_FILE).read_text()
    assert [json.loads(line)["reason"] for line in rejects.splitlines()] == ["unreadable"]


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ingest can stop in the middle, and is small enough to stay in this process."""
    monkeypatch.setattr(checking, "FILES_PER_TASK", 2 * _COUNT // SMALL_JOB_TASKS)


def _kill_at_photo(number: int, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the server die when so many photos have been read."""
    read_item, count = access.read_item, iter(range(10**6))

    def reading(*arguments: object) -> object:
        if next(count) == number:
            server.kill()
        return read_item(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(access, "read_item", reading)


@pytest.mark.usefixtures("bucket")
def test_an_ingest_goes_on_when_a_server_that_died_is_back(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kill_at_photo(40, server, monkeypatch)
    back = threading.Timer(4.0, server.start)
    back.start()
    summary = run(server, "s3://photos", tmp_path)
    back.join()
    assert (summary.num_images, summary.num_rejected) == (2 * _COUNT, 0)


@pytest.mark.usefixtures("bucket", "small_tasks")
def test_an_ingest_whose_server_stays_away_stops_and_later_goes_on_where_it_was(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(remote, "RETRY_SECONDS", 1.0)
        _kill_at_photo(40, server, patch)
        with pytest.raises(DataError, match="what is checked already is kept"):
            run(server, "s3://photos", tmp_path)
    server.start()
    read: list[object] = []
    read_item = access.read_item
    monkeypatch.setattr(access, "read_item", lambda *args: (read.append(args), read_item(*args))[1])
    summary = run(server, "s3://photos", tmp_path)
    assert (summary.num_images, summary.num_rejected) == (2 * _COUNT, 0)
    assert len(read) < 2 * _COUNT
