"""Publishing through the same interface to an emulator of Google Cloud Storage."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gcs_server import gcs_server
from pusher_samples import push, write_model
from store_samples import assert_store_consistent, assert_whole, store_events

from slimworks.components import files
from slimworks.components.pusher import object_store
from slimworks.components.pusher.destination import open_destination
from slimworks.components.pusher.labels import labels_of
from slimworks.components.pusher.release import promote
from slimworks.components.pusher.rollback import rollback
from slimworks.components.storage import remote

pytestmark = pytest.mark.engine
_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def _emulator(memory: Path) -> Iterator[None]:
    (memory / "data" / "models").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch, gcs_server(memory / "data") as (url, _):
        patch.setenv("STORAGE_EMULATOR_HOST", url)
        remote.configure(["--no_auth", f"--job_name=test-{url.rpartition(':')[2]}"])
        yield
        remote.configure([])


@pytest.fixture
def base() -> str:
    return f"gs://models/serving-{next(_numbers)}/flowers"


def test_push_rollback_promote_and_retention(base: str, tmp_path: Path) -> None:
    for name in "abc":
        push(write_model(tmp_path, name), base, keep_versions=2, label="stable")
    assert rollback(base).place == f"{base}/4"
    assert push(write_model(tmp_path, "d"), base, label="canary").version == 5
    assert promote(base).previous == 4
    store = open_destination(base)
    assert sorted(store.versions()) == [2, 3, 4, 5]
    assert labels_of(store.history()) == {"stable": 5}
    assert_store_consistent(base)


def test_only_one_writer_of_an_object_wins(base: str) -> None:
    def write(content: bytes) -> bool:
        try:
            remote.write_new(f"{base}/object", content)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(4) as writers:
        won = list(writers.map(write, [b"a", b"b", b"c", b"d"]))
    assert won.count(True) == 1
    assert remote.read(f"{base}/object", 0, 9) == [b"a", b"b", b"c", b"d"][won.index(True)]
    remote.delete(f"{base}/object")
    remote.delete(f"{base}/object")  # nothing to say
    with pytest.raises(FileNotFoundError):
        remote.find(f"{base}/object")


def test_publishers_at_once_take_different_numbers(base: str, tmp_path: Path) -> None:
    models = [write_model(tmp_path, name, 200) for name in "abcd"]
    with ThreadPoolExecutor(2) as publishers:
        list(publishers.map(lambda model: push(model, base), models))
    assert assert_whole(base) == {files.sha256_of_tree(model) for model in models}
    assert sorted(version for _, version in store_events(base)) == [1, 2, 3, 4]
    assert_store_consistent(base)


def test_interrupted_upload_is_finished_or_cleared_away(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "STALE_SECONDS", 0.0)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    for where, events in (
        ("_decide", [("pushed", 2)]),  # 1 was cleared away
        ("_finish", [("recovered", 1), ("pushed", 2)]),
    ):
        place = f"{base}{where}"
        with monkeypatch.context() as patch:
            patch.setattr(object_store.ObjectStore, where, die)
            with pytest.raises(Killed):
                push(write_model(tmp_path, "a"), place)
        push(write_model(tmp_path, "b"), place)
        assert store_events(place) == events
        assert_store_consistent(place)
