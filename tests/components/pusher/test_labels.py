"""Who is stable and who canary, after any history; and what servers are told of it."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from pusher_samples import (
    assert_consistent,
    events,
    labels_in_files,
    push,
    versions,
    write_model,
)
from tensorflow_serving.config import model_server_config_pb2

from slimworks.components.errors import ConfigError
from slimworks.components.pusher import labels, ledger
from slimworks.components.pusher.ledger import Entry
from slimworks.components.pusher.release import promote
from slimworks.components.pusher.rollback import rollback


def entries(*moves: tuple[str, int, str | None]) -> list[Entry]:
    return [
        Entry(event, version, 1.0, to_version=1 if event == "rolled_back" else None, label=label)
        for event, version, label in moves
    ]


@pytest.mark.parametrize(
    ("moves", "found"),
    [
        ([], {}),
        ([("pushed", 1, None), ("pushed", 2, None)], {}),
        ([("pushed", 1, "stable"), ("pushed", 2, "stable")], {"stable": 2}),
        ([("pushed", 1, "stable"), ("pushed", 2, "canary")], {"stable": 1, "canary": 2}),
        # Two publishers at once: the higher version keeps the label.
        ([("pushed", 2, "stable"), ("pushed", 1, "stable")], {"stable": 2}),
        ([("pushed", 1, None), ("pushed", 2, None), ("labelled", 2, "stable"),
          ("labelled", 1, "stable")], {"stable": 2}),
        # The first canary beside versions from before there were labels.
        ([("pushed", 1, None), ("pushed", 2, "canary")], {"stable": 1, "canary": 2}),
        ([("pushed", 1, "canary")], {"canary": 1}),
        # Stable reached the canary, or passed it.
        ([("pushed", 1, "stable"), ("pushed", 2, "canary"), ("promoted", 2, "stable")],
         {"stable": 2}),
        ([("pushed", 1, "stable"), ("pushed", 2, "canary"), ("pushed", 3, "stable")],
         {"stable": 3}),
        ([("pushed", 1, "stable"), ("labelled", 1, "canary")], {"stable": 1}),
        # An operator goes back as well.
        ([("pushed", 1, "stable"), ("pushed", 2, "stable"), ("promoted", 1, "stable")],
         {"stable": 1}),
        ([("pushed", 1, "stable"), ("pushed", 2, "canary"), ("rolled_back", 3, "stable")],
         {"stable": 3}),
        ([("pushed", 1, "stable"), ("unconfirmed", 2, None), ("removed", 2, None)],
         {"stable": 1}),
    ],
)  # fmt: skip
def test_labels_follow_from_the_history(
    moves: list[tuple[str, int, str | None]], found: dict[str, int]
) -> None:
    assert labels.labels_of(entries(*moves)) == found


def test_servers_load_labelled_versions_and_one_that_awaits_its_label() -> None:
    history = entries(("pushed", 1, "stable"), ("pushed", 2, None), ("pushed", 3, None))
    assert labels.wanted_versions(history, {"stable": 1}) == [1, 3]
    history += entries(("unconfirmed", 3, None))
    assert labels.wanted_versions(history, {"stable": 1}) == [1]


def test_config_parses_whatever_the_name_holds() -> None:
    name, place = 'a "b"\\ö\n', "s3://models/ä b/x"
    text = labels.models_config(name, place, [3, 4], {"stable": 3, "canary": 4}).decode()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == (name, place)
    assert list(model.model_version_policy.specific.versions) == [3, 4]
    assert dict(model.version_labels) == {"stable": 3, "canary": 4}


def test_canary_is_promoted_without_a_copy(tmp_path: Path) -> None:
    base = tmp_path / "base"
    push(write_model(tmp_path, "a"), base, label="stable")
    push(write_model(tmp_path, "b"), base, label="canary")
    assert labels_in_files(base) == {"stable": 1, "canary": 2}
    done = promote(base, reason="a good week")
    assert (done.version, done.previous, done.place) == (2, 1, str(base / "2"))
    assert labels_in_files(base) == {"stable": 2}
    assert events(base)[-1] == ("promoted", 2)
    assert ledger.history(base)[-1].reason == "a good week"
    assert versions(base) == [1, 2]
    assert_consistent(base)


def test_rollback_makes_the_new_number_stable_and_ends_the_canary(tmp_path: Path) -> None:
    base = tmp_path / "base"
    for name, label in (("a", "stable"), ("b", "stable"), ("c", "canary")):
        push(write_model(tmp_path, name), base, label=label)
    rollback(base)
    assert labels_in_files(base) == {"stable": 4}
    assert_consistent(base)


def test_labelled_versions_are_never_removed(tmp_path: Path) -> None:
    base = tmp_path / "base"
    push(write_model(tmp_path, "a"), base, label="stable")
    for name in "bcd":
        push(write_model(tmp_path, name), base, label="canary", keep_versions=1)
    assert versions(base) == [1, 4]
    promote(base)
    push(write_model(tmp_path, "e"), base, label="canary", keep_versions=1)
    assert versions(base) == [4, 5]
    assert_consistent(base)


def test_promotions_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with pytest.raises(ConfigError, match="has no ledger: SlimWorks pushed nothing there"):
        promote(base)
    push(write_model(tmp_path, "a"), base, label="stable")
    with pytest.raises(ConfigError, match="has no canary to promote") as caught:
        promote(base)
    assert "push.label=canary" in caught.value.fix
    with pytest.raises(ConfigError, match="is stable already"):
        promote(base, 1)
    with pytest.raises(ConfigError, match="has no version 9"):
        promote(base, 9)
    push(write_model(tmp_path, "b"), base, label="canary")
    (base / "2" / "saved_model.pb").write_text("changed")
    with pytest.raises(ConfigError, match="was changed since it was published"):
        promote(base)
    assert labels_in_files(base) == {"stable": 1, "canary": 2}
