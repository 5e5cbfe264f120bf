import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from evaluator_samples import generated, write_predictions
from pyarrow import parquet

from slimworks.components.evaluator import predictions_file


def written(path, num_images=30, **given):
    class_index, probabilities = generated(num_images, 3)
    return write_predictions(path, class_index, probabilities, **given)


def test_metadata_columns_that_only_some_images_have_are_columns_of_their_own(tmp_path):
    slices = [{"camera": "old"}, {}, {"camera": "neu", "lens": "蓝"}] * 10
    path = written(tmp_path / "p.parquet", slices=slices)
    columns = predictions_file.read_columns(path)
    assert columns["slice/camera"].tolist() == ["old", None, "neu"] * 10
    assert columns["slice/lens"].tolist() == [None, None, "蓝"] * 10
    schema = parquet.read_schema(path)
    assert schema.field("slice/lens").type == pa.string()
    assert [field.type for field in schema][: len(predictions_file.SCHEMA)] == [
        field.type for field in predictions_file.SCHEMA
    ]


def test_file_says_what_its_rows_are_of(tmp_path):
    facts = predictions_file.read_facts(written(tmp_path / "p.parquet"))
    assert facts is not None
    assert (facts.format, facts.mode, facts.split) == (2, "inference", "test")
    assert (facts.model_digest, facts.transform_digest) == ("model", "transform")
    assert len(facts.examples_digest) == 64


def test_examples_digest_depends_on_images_and_classes_but_not_on_their_order(tmp_path):
    class_index, probabilities = generated(6, 3)

    def digest(order, classes):
        path = tmp_path / "p.parquet"
        with predictions_file.open_writer(
            path, predictions_file.Facts("test", "m", None)
        ) as writer:
            for row in order:
                one = slice(row, row + 1)
                columns = {
                    "image_id": np.array([str(row)], object),
                    "filename": np.array(["a"], object),
                    "group": np.array(["a"], object),
                    "class_index": classes[one],
                    "predicted_index": classes[one],
                    "probabilities": probabilities[one],
                    "logits": probabilities[one],
                    "width": np.zeros(1, np.int32),
                    "height": np.zeros(1, np.int32),
                    "brightness": np.zeros(1, np.float32),
                    "sharpness": np.zeros(1, np.float32),
                }
                writer.write(columns, [{}])
        return predictions_file.read_facts(path).examples_digest

    first = digest(range(6), class_index)
    assert digest(reversed(range(6)), class_index) == first
    assert digest(range(5), class_index) != first
    assert digest(range(6), (class_index + 1) % 3) != first


def test_file_of_format_1_has_no_facts_and_is_read(tmp_path):
    path = tmp_path / "p.parquet"
    table = pa.table({"class_index": [0, 1], "probabilities": pa.array([[0.5, 0.5]] * 2)})
    parquet.write_table(table, path)
    assert predictions_file.read_facts(path) is None
    assert predictions_file.read_columns(path).keys() == {"class_index"}


def test_file_of_no_row_is_read(tmp_path):
    class_index, probabilities = generated(1, 3)
    path = write_predictions(tmp_path / "p.parquet", class_index[:0], probabilities[:0])
    assert list(predictions_file.read_row_groups(path)) == []
    assert len(predictions_file.read_columns(path)["class_index"]) == 0


def test_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = written(tmp_path / "p.parquet")
    before = path.read_bytes()
    facts = predictions_file.read_facts(path)
    with (
        pytest.raises(ZeroDivisionError),
        predictions_file.open_writer(path, dataclasses.replace(facts, split="eval")),
    ):
        raise ZeroDivisionError
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
