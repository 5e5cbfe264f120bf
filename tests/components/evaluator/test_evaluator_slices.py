import numpy as np
import pytest

from slimworks.components.errors import ConfigError
from slimworks.components.evaluator import slices

NAMES = ["daisy", "rose"]


def columns(**given):
    found = {
        "class_index": np.array([0, 1, 0, 1, 2]),
        "width": np.array([255, 256, 2000, 1024, 0], np.int32),
        "height": np.array([900, 900, 1023, 1024, 0], np.int32),
        "brightness": np.array([0.24, 0.25, 0.75, 0.76, np.nan], np.float32),
        "slice/camera": np.array(["old", "neu", None, "old", "neu"], object),
    }
    return found | given


def rows_by_name(found):
    return {part.name: np.flatnonzero(part.rows).tolist() for part in found}


def test_by_default_every_column_size_and_brightness_are_sliced_alone():
    assert rows_by_name(slices.find(columns(), NAMES)) == {
        "camera=neu": [1, 4],
        "camera=old": [0, 3],
        "size=small": [0],
        "size=medium": [1, 2],
        "size=large": [3],
        "brightness=dark": [0],
        "brightness=medium": [1, 2],
        "brightness=bright": [3],
    }


def test_declared_dimensions_are_crossed_in_their_order():
    found = slices.find(columns(), NAMES, [["camera", "class"], ["class"]])
    assert rows_by_name(found) == {
        "camera=neu, class=rose": [1],
        "camera=old, class=daisy": [0],
        "camera=old, class=rose": [3],
        "class=daisy": [0, 2],
        "class=rose": [1, 3],
    }
    assert found[0].values == {"camera": "neu", "class": "rose"}
    assert [len(part) for part in found] == [1, 1, 1, 2, 2]


def test_no_combination_declared_gives_no_slice():
    assert slices.find(columns(), NAMES, []) == []


def test_no_images_give_no_slice():
    nothing = {name: values[:0] for name, values in columns().items()}
    assert slices.find(nothing, NAMES) == []


def test_column_of_many_values_is_sliced_only_where_declared():
    serial = np.array([str(number) for number in range(60)], object)
    many = {"class_index": np.zeros(60, int), "slice/serial": serial}
    assert slices.find(many, NAMES) == []
    assert len(slices.find(many, NAMES, [["serial"]])) == 60


def test_metadata_column_takes_the_place_of_a_dimension_of_its_name():
    given = columns(**{"slice/size": np.array(["XL", "S", "S", "S", "S"], object)})
    assert rows_by_name(slices.find(given, NAMES, [["size"]])) == {
        "size=S": [1, 2, 3, 4],
        "size=XL": [0],
    }


def test_file_of_an_older_format_has_the_class_alone():
    older = {"class_index": columns()["class_index"]}
    assert slices.find(older, NAMES) == []
    assert rows_by_name(slices.find(older, NAMES, [["class"]])) == {
        "class=daisy": [0, 2],
        "class=rose": [1, 3],
    }


def test_rows_of_one_slice_by_its_values():
    found = slices.rows_of(columns(), NAMES, {"camera": "old", "size": "large"})
    assert np.flatnonzero(found).tolist() == [3]
    assert not slices.rows_of(columns(), NAMES, {"camera": "lost"}).any()


def test_unknown_dimension_names_the_nearest():
    with pytest.raises(ConfigError) as caught:
        slices.find(columns(), NAMES, [["camra"]])
    assert caught.value.cause == (
        "There is no dimension 'camra' to slice the images by. Did you mean 'camera'? Known: "
        "camera, size, brightness, class."
    )
    assert caught.value.fix == "Name known ones, or ingest the column with data.slice_columns."
