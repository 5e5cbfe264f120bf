"""labels.txt as TF-Slim reads it, label_map.json as we and our older versions wrote it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from slimworks.components import contracts, files
from slimworks.components.contracts import LabelMap
from slimworks.components.errors import DataError

AWKWARD = (
    "a:b",
    ":",
    "12:noon",
    " roses ",
    "Müller & Söhne",
    "猫 猫",
    "#",
    '"quoted"',
    "0",
    "a\\b",
)


def read_as_slim(path: Path) -> dict[int, str]:
    """What TF-Slim documents: lines end at newlines, the first colon ends the index."""
    labels = {}
    for line in path.read_bytes().decode("utf-8").split("\n"):
        if line:
            index, _, name = line.partition(":")
            labels[int(index)] = name
    return labels


def test_slim_reads_every_awkward_name(tmp_path: Path) -> None:
    label_map = LabelMap().updated(AWKWARD)
    label_map.write(tmp_path)
    labels = read_as_slim(tmp_path / contracts.LABELS_FILE)
    assert labels == dict(enumerate(label_map.class_names))
    assert set(labels.values()) == set(AWKWARD)


def test_slim_reads_a_map_with_renames_and_merges(tmp_path: Path) -> None:
    first = LabelMap().updated(["cat", "dog", "kitten"])
    first.updated([], renames={"dog": "hound"}, merges={"kitten": "cat"}).write(tmp_path)
    labels = read_as_slim(tmp_path / contracts.LABELS_FILE)
    assert labels == {0: "cat", 1: "hound", 2: "kitten"}


def test_map_is_read_as_it_was_written(tmp_path: Path) -> None:
    label_map = LabelMap().updated([*AWKWARD, "cat", "kitten"], span=1)
    label_map = label_map.updated(["young"], renames={"cat": "tom"}, merges={"young": "tom"})
    label_map.write(tmp_path)
    read = LabelMap.read(tmp_path)
    assert read == label_map
    assert read.class_name_of("young") == read.class_name_of("cat") == "tom"


def test_published_names_may_repeat(tmp_path: Path) -> None:
    published = LabelMap(("crane", "heron", "crane"))  # as ImageNet's bird and machine
    published.write(tmp_path)
    assert LabelMap.read(tmp_path) == published


def test_a_map_made_from_data_names_each_class_once(tmp_path: Path) -> None:
    LabelMap().updated(["crane", "heron"]).write(tmp_path)
    path = tmp_path / contracts.LABEL_MAP_FILE
    path.write_text(path.read_text().replace("heron", "crane"))
    with pytest.raises(DataError, match="a class name is there twice"):
        LabelMap.read(tmp_path)


def test_map_is_written_with_its_version_and_history(tmp_path: Path) -> None:
    label_map = LabelMap().updated(["cat"], span=1).updated([], renames={"cat": "tom"}, span=2)
    label_map.write(tmp_path)
    assert files.read_json(tmp_path / contracts.LABEL_MAP_FILE) == {
        "format": 2,
        "version": 2,
        "class_names": ["tom"],
        "history": [
            {"version": 1, "kind": "added", "class_name": "cat", "class_index": 0, "span": 1},
            {
                "version": 2, "kind": "renamed", "class_name": "tom", "class_index": 0,
                "previous_name": "cat", "span": 2,
            },
        ],
    }  # fmt: skip


def test_map_of_format_1_is_read_and_grows(tmp_path: Path) -> None:
    path = tmp_path / contracts.LABEL_MAP_FILE
    files.write_json(path, {"format": 1, "class_names": ["dogs", "cats"]})
    read = LabelMap.read(tmp_path)
    assert (read.class_names, read.version) == (("dogs", "cats"), 1)
    grown = read.updated(["ants"], renames={"dogs": "hounds"})
    assert (grown.class_names, grown.version) == (("hounds", "cats", "ants"), 2)


@pytest.mark.parametrize("seed", range(60))
def test_no_sequence_of_updates_changes_what_an_index_means(seed: int, tmp_path: Path) -> None:
    """An index keeps the class that it was given; the map remembers all without the lines."""
    rng = random.Random(seed)
    label_map = LabelMap()
    truth: dict[str, int] = {}  # every name ever used -> the index that its images must get
    for step in range(8):
        new = {f"class{rng.randrange(40)}" for _ in range(3)}
        renames, merges = _declarations(rng, label_map, step)
        updated = label_map.updated(new, renames=renames, merges=merges, span=step)
        for name in new - truth.keys():
            truth[name] = updated.class_names.index(name)
        for old, name in renames.items():
            truth[name] = truth[old]
        for name, into in merges.items():
            source, target = truth[name], truth[into]
            truth = {n: target if index == source else index for n, index in truth.items()}
        _check_grown(label_map, updated, set(renames.values()))
        assert {name: updated.index_of(name) for name in truth} == truth
        assert updated.updated(new, renames=renames, merges=merges) is updated
        assert updated.updated(truth) is updated
        updated.write(tmp_path)
        label_map = LabelMap.read(tmp_path)
    assert read_as_slim(tmp_path / contracts.LABELS_FILE) == dict(enumerate(label_map.class_names))


def _declarations(
    rng: random.Random, label_map: LabelMap, step: int
) -> tuple[dict[str, str], dict[str, str]]:
    """A rename and a merge among the classes that were not merged yet."""
    merged = label_map.merged_since(0)
    live = [name for index, name in enumerate(label_map.class_names) if index not in merged]
    if len(live) < 4 or rng.random() < 0.3:
        return {}, {}
    old, name, into = rng.sample(live, 3)
    return {old: f"renamed{step}"}, {name: into}


def _check_grown(before: LabelMap, after: LabelMap, new_names: set[str]) -> None:
    assert after.num_classes >= before.num_classes
    assert after.version in (before.version, before.version + 1)
    for index, name in enumerate(before.class_names):
        assert after.has_meant(index, name)
        assert after.class_names[index] in {name} | new_names
