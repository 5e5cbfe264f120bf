"""What a user reads whose declared changes do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimworks.components import contracts
from slimworks.components.contracts import LabelMap
from slimworks.components.errors import ConfigError, DataError

PETS = LabelMap().updated(["cat", "dog", "kitten"])
MERGED = PETS.updated([], merges={"kitten": "cat"})
ABSORBED = LabelMap().updated(["cat", "dog", "kitten"], merges={"kitten": "cat"})
RENAMED = PETS.updated([], renames={"cat": "tom"})


def refused(
    label_map: LabelMap,
    renames: dict[str, str] | None = None,
    merges: dict[str, str] | None = None,
    in_data: tuple[str, ...] = ("cat", "dog", "kitten"),
) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        label_map.updated(in_data, renames=renames, merges=merges)
    return caught.value.cause, caught.value.fix


# --- The configuration contradicts itself ---------------------------------------------------


def test_chain_of_renames() -> None:
    assert refused(PETS, {"cat": "tom", "tom": "felix"}) == (
        "data.rename_classes has a chain: 'cat' -> 'tom' -> 'felix'.",
        'Name the end in each line: "cat": "felix", "tom": "felix".',
    )


def test_chain_of_merges() -> None:
    assert refused(PETS, merges={"kitten": "cat", "cat": "dog"}) == (
        "data.merge_classes has a chain: 'kitten' -> 'cat' -> 'dog'.",
        'Name the end in each line: "kitten": "dog", "cat": "dog".',
    )


@pytest.mark.parametrize("setting", ["rename_classes", "merge_classes"])
def test_circle(setting: str) -> None:
    pairs = {"cat": "dog", "dog": "cat"}
    lines = (pairs, None) if setting == "rename_classes" else (None, pairs)
    assert refused(PETS, *lines) == (
        f"data.{setting} goes in a circle: 'cat' -> 'dog' -> 'cat'.",
        "Take one of these lines out. Two names cannot be swapped: a name stands for the same "
        "class for ever.",
    )


def test_long_circle_that_another_line_leads_into() -> None:
    pairs = {"x": "cat", "cat": "dog", "dog": "kitten", "kitten": "cat"}
    assert refused(PETS, pairs)[0] == (
        "data.rename_classes goes in a circle: 'x' -> 'cat' -> 'dog' -> 'kitten' -> 'cat'."
    )


def test_class_that_is_renamed_and_merged() -> None:
    assert refused(PETS, {"kitten": "young"}, {"kitten": "cat"}) == (
        "Class 'kitten' is in data.rename_classes and in data.merge_classes.",
        'Keep one of the two: data.rename_classes: {"kitten": "young"} or '
        'data.merge_classes: {"kitten": "cat"}.',
    )


def test_two_lines_for_two_spellings_of_one_name() -> None:
    assert refused(PETS, {"Löwe": "cat1", "Lo\u0308we": "cat2"}) == (
        "data.rename_classes has 'Löwe' twice, for 'cat1' and for 'cat2'.",
        "Keep one of the two lines.",
    )


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("a\nb", r"has the character '\n'"),
        ("a\u2028b", r"has the character '\u2028'"),
    ],
)
def test_name_that_does_not_fit_on_a_line(name: str, fault: str) -> None:
    assert refused(PETS, {"cat": name}) == (
        f"data.rename_classes has the class name {name!r}, which {fault}.",
        "Write a name that fits on one line of labels.txt.",
    )


# --- The configuration does not fit the classes ---------------------------------------------


def test_rename_to_an_existing_class_is_a_merge() -> None:
    assert refused(PETS, {"kitten": "cat"}) == (
        "data.rename_classes renames 'kitten' to 'cat', which is a class of its own (index 0).",
        'To put both into one class, write data.merge_classes: {"kitten": "cat"} instead.',
    )


def test_two_classes_renamed_to_one_name() -> None:
    assert refused(PETS, {"kitten": "pet", "cat": "pet"}) == (
        "data.rename_classes renames 'cat' to 'pet', which is a class of its own (index 2).",
        'To put both into one class, write data.merge_classes: {"cat": "pet"} instead.',
    )


def test_two_names_for_one_class() -> None:
    assert refused(RENAMED, {"cat": "felix", "tom": "tomcat"}) == (
        "data.rename_classes gives one class two names: 'cat' stands for 'tomcat' already, and "
        "would become 'felix'.",
        'Write "cat": "tomcat", or take that line out.',
    )


def test_rename_to_the_former_name_of_another_class() -> None:
    assert refused(RENAMED, {"dog": "cat"}) == (
        "data.rename_classes renames 'dog' to 'cat', but 'cat' stands for 'tom' since an earlier "
        "change.",
        "Choose a name that no class ever had.",
    )


@pytest.mark.parametrize("label_map", [MERGED, ABSORBED])
def test_rename_to_a_merged_name(label_map: LabelMap) -> None:
    assert refused(label_map, {"dog": "kitten"}) == (
        "data.rename_classes renames 'dog' to 'kitten', but 'kitten' stands for 'cat' since an "
        "earlier change.",
        "Choose a name that no class ever had.",
    )


def test_rename_of_a_class_that_was_merged_before_it_had_an_index() -> None:
    assert refused(ABSORBED, {"kitten": "young"}) == (
        "data.rename_classes renames 'kitten' to 'young', but 'kitten' stands for 'cat' since an "
        "earlier change.",
        "Take that line out.",
    )


def test_mistyped_rename_does_not_make_a_new_class() -> None:
    assert refused(PETS, {"kiten": "young"}, in_data=("cat", "dog", "young")) == (
        "data.rename_classes renames 'kiten', which is no class. Did you mean 'kitten'?",
        "Correct it or take the line out. Classes: cat, dog, kitten, young.",
    )


def test_mistyped_rename_on_the_first_ingest() -> None:
    assert refused(LabelMap(), {"kiten": "young"})[0] == (
        "data.rename_classes renames 'kiten', which is no class. Did you mean 'kitten'?"
    )


def test_long_list_of_classes_is_cut() -> None:
    many = LabelMap().updated([f"class{index}" for index in range(12)])
    assert refused(many, {"x": "y"}, in_data=())[1].endswith("class7 and 2 more.")


def test_merge_of_an_unknown_class() -> None:
    assert refused(PETS, merges={"kiten": "cat"}) == (
        "data.merge_classes merges 'kiten', which is no class. Did you mean 'kitten'?",
        "Correct it or take the line out. Classes: cat, dog, kitten.",
    )


def test_merge_into_an_unknown_class() -> None:
    assert refused(PETS, merges={"kitten": "cats"}) == (
        "data.merge_classes merges 'kitten' into 'cats', which is no class. Did you mean 'cat'?",
        "Correct it or take the line out. Classes: cat, dog, kitten.",
    )


@pytest.mark.parametrize("label_map", [MERGED, ABSORBED])
def test_merge_elsewhere_than_before(label_map: LabelMap) -> None:
    assert refused(label_map, merges={"kitten": "dog"}) == (
        "data.merge_classes merges 'kitten' into 'dog', but it was merged into 'cat' before.",
        'Write "kitten": "cat", or take that line out.',
    )


@pytest.mark.parametrize("label_map", [MERGED, ABSORBED])
def test_merge_that_is_turned_round(label_map: LabelMap) -> None:
    assert refused(label_map, merges={"cat": "kitten"}) == (
        "data.merge_classes merges 'cat' into 'kitten', but 'kitten' was merged into 'cat' before.",
        "Take that line out: a merge cannot be turned round.",
    )


# --- The data, the files --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shown", "fault"),
    [
        ("do\tgs", r"'do\tgs'", r"has the character '\t'"),
        ("caf\udce9", r"'caf\udce9'", r"has the character '\udce9'"),
        ("", "''", "is empty"),
    ],
)
def test_class_of_the_data_that_does_not_fit_on_a_line(name: str, shown: str, fault: str) -> None:
    with pytest.raises(DataError) as caught:
        PETS.updated(["cat", name])
    assert caught.value.cause == f"The class name {shown} {fault}."
    assert caught.value.fix == "Rename the class: labels.txt holds one class name a line, in UTF-8."


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"format": 2}',
        '{"format": 2, "class_names": ["a"], "history": [{"kind": "lost"}]}',
        '{"format": 2, "class_names": ["a"], "history": [{"kind": "added", "x": 1}]}',
    ],
)
def test_damaged_label_map(tmp_path: Path, content: str) -> None:
    path = tmp_path / contracts.LABEL_MAP_FILE
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        LabelMap.read(tmp_path)
    assert caught.value.cause.startswith(f"{path} is damaged: ")
    assert caught.value.fix == (
        "Restore it from the label_map of an earlier run: class indices depend on it."
    )


def test_rename_of_one_class_to_another_in_the_first_data() -> None:
    with pytest.raises(ConfigError) as caught:
        LabelMap().updated(["cat", "kitten"], renames={"kitten": "cat"})
    assert caught.value.cause == (
        "data.rename_classes renames 'kitten' to 'cat', which is a class of its own."
    )
    assert caught.value.fix == (
        'To put both into one class, write data.merge_classes: {"kitten": "cat"} instead.'
    )
