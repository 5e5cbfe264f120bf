"""Publishing to a real S3 server: conditional writes instead of a lock and a rename."""

import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from killed_publishers import after_write_request, survives
from pusher_samples import PUBLISH, finish, push, start, write_model
from s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from store_samples import assert_store_consistent, assert_whole, store_events

from slimworks.components import files
from slimworks.components.errors import ConfigError, DataError, ServingError
from slimworks.components.pusher import ledger, object_store
from slimworks.components.pusher.destination import open_destination
from slimworks.components.pusher.labels import labels_of
from slimworks.components.pusher.presence import INTACT, presence_of
from slimworks.components.pusher.release import promote
from slimworks.components.pusher.rollback import rollback
from slimworks.components.report.cards import cards_folder
from slimworks.components.storage import remote
from slimworks.pipeline.cli import cli
from slimworks.pipeline.verbs.promotions import find_base_path

pytestmark = pytest.mark.engine
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(memory: Path) -> Iterator[S3Server]:
    """One server with the bucket `models`; this process and its children reach it."""
    running = S3Server(memory / "s3")
    (running.root / "models").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", running.url)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        remote._store.cache_clear()  # of another module's server
        yield running
        remote._store.cache_clear()
    running.kill()


@pytest.fixture
def base(server: S3Server) -> str:
    return f"s3://models/serving-{next(_numbers)}/flowers"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims are stale at once: a killed publisher is not waited for."""
    monkeypatch.setattr(object_store, "STALE_SECONDS", 0.0)


def test_push_rollback_promote_and_retention(base: str, tmp_path: Path) -> None:
    for name in "abc":
        push(write_model(tmp_path, name), base, keep_versions=2, label="stable", run_id=name)
    back = rollback(base, reason="too many roses")
    assert (back.version, back.place) == (4, f"{base}/4")
    assert push(write_model(tmp_path, "d"), base, label="canary").version == 5
    assert promote(base).previous == 4
    store = open_destination(base)
    assert sorted(store.versions()) == [2, 3, 4, 5]
    assert labels_of(store.history()) == {"stable": 5}
    assert store_events(base) == [
        ("pushed", 1), ("pushed", 2), ("pushed", 3), ("removed", 1), ("rolled_back", 4),
        ("pushed", 5), ("promoted", 5),
    ]  # fmt: skip
    assert ledger.reason_of(store.history(), 4, base).facts["run_id"] == "b"
    assert_store_consistent(base)


def said(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_verbs_take_a_uri(base: str, tmp_path: Path) -> None:
    for name in "ab":
        model = str(write_model(tmp_path, name))
        output = said("push", "--model", model, "--base-path", base, "--label", "canary")
    assert f"pushed as version 2: {base}/2" in output
    place = ("--base-path", base)
    assert f"promoted: stable is now version 2 (was version 1): {base}/2" in said("promote", *place)
    assert f"live is now version 3: {base}/3" in said("rollback", *place)
    lines = said("history", *place).splitlines()
    assert lines[0] == f"{base} (live: version 3, stable: 3)"
    assert [line.split()[2] for line in lines[1:]] == [
        "pushed",
        "pushed",
        "promoted",
        "rolled_back",
    ]
    assert "version 1: pushed at" in said("why", "1", *place)
    folder = cards_folder(base, 1)
    assert folder == f"{base}/.slimworks/cards/1"
    remote.write(f"{folder}/model-card.md", b"# Card\n")
    assert said("card", "3", *place) == "# Card\n"
    with pytest.raises(ConfigError, match="SlimWorks pushed nothing there"):
        find_base_path(f"{base}-other", "nowhere")


def test_live_model_is_found_and_not_pushed_again(base: str, tmp_path: Path) -> None:
    model = write_model(tmp_path, "a")
    first, again = push(model, base), push(model, base)
    assert (first.already_live, again.already_live, again.version) == (False, True, 1)
    assert presence_of(first.digest, base, {}) == INTACT
    assert presence_of("0" * 64, base, {}) == INTACT


def test_saved_model_comes_last(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = remote.write

    def noting(uri: str, content: bytes | Path) -> None:
        written.append(uri.removeprefix(f"{base}/"))
        write(uri, content)

    monkeypatch.setattr(remote, "write", noting)
    push(write_model(tmp_path, "a"), base)
    assert written[-1] == "1/saved_model.pb"
    assert written.index(".slimworks/manifests/1.json") == len(written) - 2


def test_publishers_at_once_take_different_numbers(base: str, tmp_path: Path) -> None:
    models = [write_model(tmp_path, name, 200) for name in "abcdefgh"]
    processes = [start(PUBLISH, base, *models[half::2]) for half in (0, 1)]
    answers = [answer for process in processes for answer in finish(process)]
    assert len({answer["version"] for answer in answers}) == 8
    assert assert_whole(base) == {files.sha256_of_tree(model) for model in models}
    assert sorted(version for _, version in store_events(base)) == list(range(1, 9))
    assert labels_of(open_destination(base).history()) == {"stable": 8}
    assert_store_consistent(base)


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_publisher_killed_after_any_write_leaves_whole_versions_only(
    base: str, tmp_path: Path
) -> None:
    known = {push(write_model(tmp_path, name), base, label="stable").digest for name in "ab"}
    for step in range(1, 100):
        model = write_model(tmp_path, f"step-{step}", 100)
        known.add(files.sha256_of_tree(model))
        publish = functools.partial(push, model, base, keep_versions=2, label="stable", run_id="x")
        done = survives(step, after_write_request, publish)
        assert assert_whole(base) <= known
        published = publish()
        entries = open_destination(base).history()
        assert ledger.reason_of(entries, published.version, base).facts["run_id"] == "x"
        assert labels_of(entries) == {"stable": published.version}
        assert_store_consistent(base)
        if done:
            break
    assert done
    assert step > 12


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_rollback_killed_after_any_write_leaves_whole_versions_only(
    base: str, tmp_path: Path
) -> None:
    a, b = write_model(tmp_path, "a", 100), write_model(tmp_path, "b", 100)
    known = {files.sha256_of_tree(a), files.sha256_of_tree(b)}
    push(a, base, label="stable")
    for step in range(1, 100):
        push(b, base, label="stable", keep_versions=3)
        done = survives(step, after_write_request, functools.partial(rollback, base))
        assert assert_whole(base) == known
        push(a, base, label="stable")
        assert_store_consistent(base)
        if done:
            break
    assert done
    assert step > 8


def test_slow_publisher_that_was_given_up_leaves_nothing_half(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = write_model(tmp_path, "slow"), write_model(tmp_path, "quick")
    decide = object_store.ObjectStore._decide

    def late(store: object_store.ObjectStore, version: int, outcome: str) -> str:
        monkeypatch.setattr(object_store.ObjectStore, "_decide", decide)
        with monkeypatch.context() as patch:
            patch.setattr(object_store, "STALE_SECONDS", 0.0)
            push(quick, base)  # by another publisher, while this one sleeps
        return decide(store, version, outcome)

    monkeypatch.setattr(object_store.ObjectStore, "_decide", late)
    with pytest.raises(ServingError, match=r"Uploading version 1 of .* took longer") as caught:
        push(slow, base)
    assert "Push again" in caught.value.fix
    assert store_events(base) == [("pushed", 2)]
    assert push(slow, base).version == 3
    assert_store_consistent(base)


def test_version_of_a_publisher_at_work_is_left_alone(base: str, tmp_path: Path) -> None:
    store = open_destination(base)
    claim = b'{"time": 4e9, "entry": {}}'
    remote.write_new(f"{base}/.slimworks/claims/1.json", claim)
    remote.write(f"{base}/1/variables/variables.index", b"half")
    assert push(write_model(tmp_path, "a"), base).version == 2
    assert remote.find(f"{base}/1/variables/variables.index").size == 4
    assert sorted(store.versions()) == [2]


def test_version_of_unknown_origin_gets_an_entry(base: str, tmp_path: Path) -> None:
    model = write_model(tmp_path, "foreign")
    for path in model.rglob("*"):
        if path.is_file():
            remote.write(f"{base}/7/{path.relative_to(model)}", path)
    assert push(write_model(tmp_path, "a"), base).version == 8
    assert store_events(base) == [("recovered", 7), ("pushed", 8)]
    assert_store_consistent(base)


def test_damaged_version_is_not_rolled_back_to(base: str, tmp_path: Path) -> None:
    for name in "ab":
        push(write_model(tmp_path, name), base)
    remote.write(f"{base}/1/variables/variables.index", b"other")
    with pytest.raises(ConfigError, match=r"flowers/1 was changed since it was published"):
        rollback(base)
    same_size = b"x" * len("variables/variables.index of a\n")
    remote.write(f"{base}/1/variables/variables.index", same_size)
    with pytest.raises(ConfigError, match=r"flowers/1 was changed since it was published"):
        rollback(base)
    assert store_events(base) == [("pushed", 1), ("pushed", 2)]


def test_model_that_changes_while_it_is_copied(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, write = write_model(tmp_path, "a"), remote.write

    def write_later(uri: str, content: bytes | Path) -> None:
        (model / "variables/variables.index").write_text("a training writes it again")
        write(uri, content)

    with monkeypatch.context() as patch:
        patch.setattr(remote, "write", write_later)
        with pytest.raises(DataError, match="changed while it was copied"):
            push(model, base)
    assert push(write_model(tmp_path, "b"), base).version == 2
    assert_store_consistent(base)


def test_damaged_entry_of_the_ledger_is_named(base: str, tmp_path: Path) -> None:
    push(write_model(tmp_path, "a"), base)
    uri = f"{base}/.slimworks/ledger/00000001.json"
    remote.write(uri, b"[]")
    with pytest.raises(ConfigError, match=r"00000001\.json is damaged: not an object"):
        open_destination(base).history()
    remote.write(uri, b'{"format": 9}')
    with pytest.raises(ConfigError, match=r"00000001\.json has format 9, this SlimWorks reads"):
        open_destination(base).history()


def test_wrong_places_are_refused(tmp_path: Path, server: S3Server) -> None:
    model = write_model(tmp_path, "a")
    with pytest.raises(ConfigError, match="ftp://x/y is no place that SlimWorks publishes to"):
        push(model, "ftp://x/y")
    with pytest.raises(ConfigError, match="there is no bucket 'nowhere'"):
        push(model, "s3://nowhere/flowers")
    with pytest.raises(ConfigError, match="holds no version"):
        rollback("s3://models/empty/flowers")


def test_server_that_is_gone_is_a_serving_error_and_no_harm(
    server: S3Server, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(write_model(tmp_path, "a"), base)
    server.kill()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(remote, "RETRY_SECONDS", 0.6)
            with pytest.raises(ServingError, match=f"Cannot publish to {base}") as caught:
                push(write_model(tmp_path, "b"), base)
        assert "run again" in caught.value.fix
    finally:
        server.start()
    assert push(write_model(tmp_path, "b"), base).version == 2
    assert_store_consistent(base)
    assert os.environ["AWS_ENDPOINT_URL"] == server.url
