"""How a label map follows the data and the declared changes."""

from __future__ import annotations

import unicodedata

import pytest

from slimworks.components.contracts import LabelMap
from slimworks.components.labels.history import ADDED, MERGED, RENAMED

PETS = LabelMap().updated(["cat", "dog", "kitten"], span=1)


def kinds(label_map: LabelMap) -> list[tuple[int, str, str]]:
    return [(change.version, change.kind, change.class_name) for change in label_map.history]


# --- Adding ---------------------------------------------------------------------------------


def test_first_classes_are_sorted() -> None:
    assert LabelMap().updated(["dog", "ant", "cat"]).class_names == ("ant", "cat", "dog")


def test_new_classes_are_appended_whatever_their_name() -> None:
    grown = PETS.updated(["ant", "cat", "bee"], span=2)
    assert grown.class_names == ("cat", "dog", "kitten", "ant", "bee")
    assert kinds(grown)[3:] == [(2, ADDED, "ant"), (2, ADDED, "bee")]
    assert [change.span for change in grown.history] == [1, 1, 1, 2, 2]


def test_classes_that_are_numbers_are_in_the_order_of_the_numbers() -> None:
    names = [str(number) for number in range(11)]
    assert LabelMap().updated(reversed(names)).class_names == tuple(names)


def test_one_name_that_is_no_number_makes_all_of_them_texts() -> None:
    assert LabelMap().updated(["10", "9", "x"]).class_names == ("10", "9", "x")


def test_declared_order_gives_an_empty_map_its_indices() -> None:
    label_map = LabelMap().updated(["cat", "ant"], ["dog", "cat", "bird"])
    assert label_map.class_names == ("dog", "cat", "bird", "ant")


def test_declared_order_moves_nothing_in_a_map_with_classes() -> None:
    label_map = PETS.updated(["cat"], ["kitten", "ant", "cat"])
    assert label_map.class_names == ("cat", "dog", "kitten", "ant")


def test_nothing_new_is_the_same_map() -> None:
    assert PETS.updated(["dog"], span=7) is PETS


def test_spellings_of_one_unicode_name_are_one_class() -> None:
    spellings = [unicodedata.normalize(form, "Löwenzahn") for form in ("NFC", "NFD")]
    label_map = LabelMap().updated(spellings)
    assert label_map.class_names == (spellings[0],)
    assert label_map.updated(spellings[1:]) is label_map
    assert label_map.class_name_of(spellings[1]) == spellings[0]


def test_empty_map_has_version_0_and_a_map_without_history_1() -> None:
    assert LabelMap().version == 0
    assert LabelMap(("cat", "dog")).version == 1
    assert LabelMap(("cat", "dog")).updated(["ant"]).version == 2


# --- Renames --------------------------------------------------------------------------------


@pytest.mark.parametrize("in_data", [["cat", "dog", "kitten"], ["tom", "dog", "kitten"], []])
def test_renamed_class_keeps_its_index_whether_the_folder_is_renamed_or_not(
    in_data: list[str],
) -> None:
    label_map = PETS.updated(in_data, renames={"cat": "tom"})
    assert label_map.class_names == ("tom", "dog", "kitten")
    assert label_map.index_of("cat") == label_map.index_of("tom") == 0


def test_old_and_new_folder_beside_each_other_are_one_class() -> None:
    label_map = PETS.updated(["cat", "tom", "dog"], renames={"cat": "tom"})
    assert label_map.class_names == ("tom", "dog", "kitten")


def test_applied_rename_may_stay_in_the_configuration() -> None:
    label_map = PETS.updated(["cat"], renames={"cat": "tom"})
    assert label_map.updated(["tom", "dog"], renames={"cat": "tom"}) is label_map


def test_applied_rename_is_remembered_without_the_configuration() -> None:
    label_map = PETS.updated(["cat"], renames={"cat": "tom"})
    assert label_map.updated(["cat", "dog"]) is label_map
    assert label_map.class_name_of("cat") == "tom"


def test_rename_on_the_first_ingest_is_remembered_too() -> None:
    label_map = LabelMap().updated(["cat", "dog"], renames={"cat": "tom"})
    assert label_map.class_names == ("dog", "tom")
    assert kinds(label_map) == [(1, ADDED, "dog"), (1, ADDED, "tom"), (1, RENAMED, "tom")]
    assert label_map.updated(["cat", "dog"]) is label_map


def test_first_ingest_of_a_folder_that_was_renamed_long_ago() -> None:
    label_map = LabelMap().updated(["tom", "dog"], renames={"cat": "tom"})
    assert label_map.class_names == ("dog", "tom")
    assert label_map.updated(["tom", "dog"], renames={"cat": "tom"}) is label_map


def test_edited_rename_line_renames_again() -> None:
    label_map = PETS.updated(["cat"], renames={"cat": "tom"}).updated(["cat"], renames={"cat": "x"})
    assert label_map.class_names == ("x", "dog", "kitten")
    assert label_map.history[-1].previous_name == "tom"
    assert label_map.index_of("tom") == 0


def test_further_folder_of_a_former_name_gets_the_class_of_that_name() -> None:
    label_map = PETS.updated([], renames={"cat": "tom"}).updated([], renames={"tom": "felix"})
    later = label_map.updated(["puss", "dog"], renames={"puss": "tom"})
    assert later.class_names == ("felix", "dog", "kitten")
    assert later.class_name_of("puss") == "felix"


def test_class_can_get_its_old_name_back() -> None:
    label_map = PETS.updated(["cat"], renames={"cat": "tom"}).updated([], renames={"tom": "cat"})
    assert label_map.class_names == PETS.class_names
    assert label_map.version == 3


def test_declared_order_and_rename_together_keep_the_index() -> None:
    label_map = LabelMap().updated(["b"], ["a", "b", "c"], renames={"b": "beta"})
    assert label_map.class_names == ("a", "beta", "c")


# --- Merges ---------------------------------------------------------------------------------


def test_merged_class_keeps_its_index_and_gives_its_images_away() -> None:
    label_map = PETS.updated(["cat", "dog", "kitten"], merges={"kitten": "cat"}, span=2)
    assert label_map.class_names == ("cat", "dog", "kitten")
    assert label_map.class_name_of("kitten") == "cat"
    assert label_map.merged_since(1) == {2: 0}
    assert label_map.merged_since(2) == {}
    assert kinds(label_map)[-1] == (2, MERGED, "kitten")


def test_applied_merge_changes_nothing_again_with_or_without_the_line() -> None:
    label_map = PETS.updated([], merges={"kitten": "cat"})
    assert label_map.updated(["cat", "dog"], merges={"kitten": "cat"}) is label_map
    assert label_map.updated(["kitten"]) is label_map


def test_class_merged_from_the_start_gets_no_index() -> None:
    label_map = LabelMap().updated(["cat", "dog", "kitten"], merges={"kitten": "cat"})
    assert label_map.class_names == ("cat", "dog")
    assert label_map.class_name_of("kitten") == "cat"
    assert label_map.updated(["cat", "kitten"], merges={"kitten": "cat"}) is label_map
    assert label_map.updated(["kitten"]) is label_map


def test_class_merged_from_the_start_keeps_the_index_that_the_source_declares() -> None:
    label_map = LabelMap().updated(["b"], ["a", "b", "c"], merges={"b": "c"})
    assert label_map.class_names == ("a", "b", "c")
    assert label_map.index_of("b") == 2


def test_merge_into_a_class_that_comes_with_this_ingest() -> None:
    label_map = PETS.updated(["animal", "cat"], merges={"cat": "animal", "kitten": "animal"})
    assert label_map.class_names == ("cat", "dog", "kitten", "animal")
    assert label_map.merged_since(1) == {0: 3, 2: 3}


def test_later_merge_takes_the_earlier_one_along() -> None:
    label_map = PETS.updated([], merges={"kitten": "cat"}).updated([], merges={"cat": "dog"})
    assert label_map.class_name_of("kitten") == "dog"
    assert label_map.merged_since(1) == {0: 1, 2: 1}
    both = {"kitten": "dog", "cat": "dog"}
    assert label_map.updated(["kitten"], merges=both) is label_map


def test_merge_goes_by_old_or_new_names() -> None:
    renames = {"cat": "tom", "kitten": "young"}
    for merges in ({"young": "tom"}, {"young": "cat"}):
        label_map = PETS.updated(["cat"], renames=renames, merges=merges)
        assert label_map.class_names == ("tom", "dog", "young")
        assert label_map.class_name_of("kitten") == "tom"
        assert label_map.updated(["kitten"], renames=renames, merges=merges) is label_map


def test_class_renamed_and_merged_before_it_has_an_index_is_known_by_both_names() -> None:
    renames, merges = {"kitten": "young"}, {"young": "cat"}
    label_map = LabelMap().updated(["kitten", "cat", "dog"], renames=renames, merges=merges)
    assert label_map.class_names == ("cat", "dog")
    assert label_map.class_name_of("kitten") == label_map.class_name_of("young") == "cat"
    assert label_map.updated(["kitten", "cat"], renames=renames, merges=merges) is label_map


def test_merge_into_the_old_name_of_a_folder_that_was_renamed_long_ago() -> None:
    lines = {"renames": {"cat": "tom"}, "merges": {"kitten": "cat"}}
    label_map = LabelMap().updated(["tom", "dog", "kitten"], **lines)
    assert label_map.class_name_of("kitten") == "tom"


def test_further_folder_of_a_merged_class_gets_no_index_either() -> None:
    label_map = LabelMap().updated(["young", "cat", "dog"], merges={"young": "cat"})
    later = label_map.updated(["baby"], renames={"baby": "young"})
    assert later.class_names == ("cat", "dog")
    assert later.class_name_of("baby") == "cat"


def test_old_folder_of_a_merged_class_may_come_later() -> None:
    renames, merges = {"kitten": "young"}, {"young": "cat"}
    label_map = LabelMap().updated(["young", "cat", "dog"], renames=renames, merges=merges)
    later = label_map.updated(["kitten"], renames=renames, merges=merges)
    assert later.class_names == ("cat", "dog")
    assert later.class_name_of("kitten") == "cat"


# --- Identity -------------------------------------------------------------------------------


def test_digest_tells_meanings_apart_and_not_histories() -> None:
    merged = PETS.updated([], merges={"kitten": "cat"})
    assert len({PETS.digest, merged.digest, PETS.updated(["ant"]).digest}) == 3
    assert LabelMap(PETS.class_names).digest == PETS.digest


def test_unknown_name_has_no_index() -> None:
    with pytest.raises(KeyError, match="wolf"):
        PETS.index_of("wolf")
