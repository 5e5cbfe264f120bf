import numpy as np
import pytest
from evaluator_samples import NUM_IMAGES, coloured_records, png, record, save_model, write_examples
from pyarrow import parquet

from slimworks.components import contracts
from slimworks.components.errors import DataError
from slimworks.components.evaluator import prediction


def predicted(tmp_path, model_dir, examples_dir, batch_size=64):
    path = tmp_path / contracts.PREDICTIONS_FILE
    saved_model = model_dir / contracts.SAVED_MODEL_FOLDER
    num_rows = prediction.predict_split(saved_model, examples_dir, "test", path, batch_size)
    return num_rows, path


def test_every_example_is_predicted_once_with_a_partial_last_batch(
    tmp_path, model_dir, examples_dir
):
    num_rows, path = predicted(tmp_path, model_dir, examples_dir)
    table = parquet.read_table(path)
    assert num_rows == table.num_rows == NUM_IMAGES
    assert tuple(table.column_names) == contracts.PREDICTION_COLUMNS
    expected = {f"{index:064x}" for index in range(NUM_IMAGES)}
    assert set(table.column("image_id").to_pylist()) == expected


def test_rows_hold_the_metadata_of_their_example(tmp_path, model_dir, examples_dir):
    _, path = predicted(tmp_path, model_dir, examples_dir)
    rows = {row["image_id"]: row for row in parquet.read_table(path).to_pylist()}
    for item in coloured_records():
        row = rows[item.image_id]
        assert row["filename"] == item.filename
        assert row["group"] == item.group
        assert row["class_index"] == item.class_index
        assert row["predicted_index"] == int(np.argmax(row["probabilities"]))


@pytest.mark.parametrize("batch_size", [1, 7, 4096])
def test_batch_size_does_not_change_the_rows(tmp_path, model_dir, examples_dir, batch_size):
    _, path = predicted(tmp_path / "a", model_dir, examples_dir)
    _, other = predicted(tmp_path / "b", model_dir, examples_dir, batch_size)
    reference, table = parquet.read_table(path), parquet.read_table(other)
    assert table.column("image_id") == reference.column("image_id")
    np.testing.assert_allclose(
        prediction.arrays_of(table)["logits"],
        prediction.arrays_of(reference)["logits"],
        rtol=1e-5,
        atol=1e-4,
    )


def test_rows_are_written_in_groups(tmp_path, model_dir, examples_dir, monkeypatch):
    monkeypatch.setattr(prediction, "ROWS_PER_GROUP", 40)
    _, path = predicted(tmp_path, model_dir, examples_dir, batch_size=20)
    sizes = [len(group["class_index"]) for group in prediction.read_row_groups(path)]
    assert sizes == [40, 40, 40, 30]


def test_nan_probabilities_are_marked_instead_of_ranked(tmp_path, examples_dir):
    model = save_model(tmp_path / "model", nan_class=0)
    _, path = predicted(tmp_path, model, examples_dir)
    (columns,) = prediction.read_row_groups(path)
    is_nan = np.isnan(columns["probabilities"]).any(axis=1)
    assert is_nan.any()
    assert not is_nan.all()
    assert (columns["predicted_index"][is_nan] == -1).all()
    assert (columns["predicted_index"][~is_nan] >= 0).all()


def test_model_without_the_evaluate_signature_is_refused(tmp_path):
    import tensorflow as tf

    class Other(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def double(self, values):
            return {"doubled": 2.0 * values}

    module = Other()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"double": module.double})
    with pytest.raises(DataError, match=r"has no signature 'evaluate' \(it has: double\)"):
        prediction.load_model(tmp_path / "m")


def test_folder_without_a_saved_model_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no SavedModel\. Give a model folder"):
        prediction.load_model(tmp_path)


def test_missing_split_is_refused(tmp_path, model_dir):
    with pytest.raises(DataError, match="holds no TFRecord shard"):
        predicted(tmp_path, model_dir, tmp_path)


def test_undecodable_image_is_named_and_leaves_no_file(tmp_path, model_dir):
    good = png(np.zeros((8, 8, 3), np.uint8))
    records = [record(0, 0, good), record(1, 1, b"no image"), record(2, 2, good)]
    examples = write_examples(tmp_path / "examples", records)
    with pytest.raises(DataError, match=r"^grün/0001\.png cannot be read by the model"):
        predicted(tmp_path / "out", model_dir, examples)
    assert list((tmp_path / "out").iterdir()) == []


def test_outputs_of_a_wrong_shape_are_refused(tmp_path, examples_dir):
    import tensorflow as tf

    class Flat(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
        def evaluate(self, images):
            ones = tf.ones(tf.shape(images))
            return {"logits": ones, "probabilities": ones}

    module = Flat()
    saved_model = tmp_path / "model" / contracts.SAVED_MODEL_FOLDER
    tf.saved_model.save(module, str(saved_model), signatures={"evaluate": module.evaluate})
    with pytest.raises(DataError, match=r"Output logits of .* has shape \[64\] for 64 images"):
        predicted(tmp_path, tmp_path / "model", examples_dir)
