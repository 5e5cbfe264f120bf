"""Writing objects: lost answers, other writers, file systems that are only read."""

from pathlib import Path

import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.storage import remote
from slimworks.components.storage.contract import UnreachableError

URI = "s3://models/claim"


class LosingStore:
    """Keeps one object, and loses the answers to its first writes."""

    def __init__(self, num_lost: int, content: bytes | None = None) -> None:
        self.content, self.num_lost = content, num_lost

    def find(self, uri: str) -> None: ...

    def is_folder(self, uri: str) -> None: ...

    def page(self, folder: str, token: str | None, *, is_recursive: bool) -> None: ...

    def read(self, uri: str, start: int, length: int) -> bytes:
        return (self.content or b"")[start : start + length]

    def delete(self, uri: str) -> None:
        self.content = None

    def write(self, uri: str, content: bytes | Path, *, is_new: bool) -> None:
        if is_new and self.content is not None:
            raise FileExistsError(uri)
        assert isinstance(content, bytes)
        self.content = content
        if self.num_lost:
            self.num_lost -= 1
            raise UnreachableError("the answer was lost")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch):
    def use(store: object) -> None:
        monkeypatch.setattr(remote, "_store", lambda *_: store)
        monkeypatch.setattr(remote, "_FIRST_PAUSE_SECONDS", 0.0)

    return use


@pytest.mark.parametrize("num_lost", [0, 1, 3])
def test_claim_whose_answer_was_lost_is_still_ours(serve, num_lost: int) -> None:
    store = LosingStore(num_lost)
    serve(store)
    remote.write_new(URI, b"mine")
    assert store.content == b"mine"


@pytest.mark.parametrize("others", [b"theirs", b"mine, and more"])
def test_claim_of_another_writer_is_theirs(serve, others: bytes) -> None:
    serve(LosingStore(0, others))
    with pytest.raises(FileExistsError):
        remote.write_new(URI, b"mine")


def test_server_that_stays_silent_is_given_up(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(LosingStore(1_000))
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(remote, "_FIRST_PAUSE_SECONDS", 0.01)
    with pytest.raises(remote.ServerGoneError, match="its server did not answer for 0 s"):
        remote.write(URI, b"x")


def test_file_system_that_is_only_read_is_named(serve) -> None:
    class ReadOnly:
        find = is_folder = page = read = None

    serve(ReadOnly())
    with pytest.raises(ConfigError, match="hdfs://data/x cannot be written") as caught:
        remote.write("hdfs://data/x", b"")
    assert "s3:// or gs://" in caught.value.fix
