"""What a base path on an object store must hold, whatever happened to its publishers."""

from collections import Counter

from slimworks.components.pusher import labels, ledger, manifest
from slimworks.components.pusher.destination import open_destination
from slimworks.components.storage import remote


def store_events(base: str) -> list[tuple[str, int]]:
    return [(entry.event, entry.version) for entry in open_destination(base).history()]


def assert_whole(base: str) -> set[str]:
    """Each version that a server sees is what a publisher had; returns their digests."""
    store = open_destination(base)
    digests = set()
    for version in store.versions():
        with store.content(version) as folder:
            digests.add(manifest.digest_of(folder))
    return digests


def assert_store_consistent(base: str) -> None:
    """Objects and ledger agree, no number was used twice, and nothing unfinished is left."""
    store = open_destination(base)
    entries = store.history()
    recorded = ledger.current(entries)
    assert {version: entry.digest for version, entry in recorded.items()} == {
        version: store.digest_of(version) for version in store.versions()
    }
    made = Counter(entry.version for entry in entries if entry.event in ledger.MAKING)
    assert set(made.values()) <= {1}
    names = [file.name for file in remote.walk(base)]
    assert not [name for name in names if name.startswith(".slimworks/staging/")]
    numbers = {int(name.partition("/")[0]) for name in names if not name.startswith(".slimworks/")}
    assert numbers == set(recorded)
    assert_whole(base)
    found = labels.labels_of(entries)
    if found:
        assert f'"stable": {found["stable"]}' in str(store.read_state("labels.json"))
