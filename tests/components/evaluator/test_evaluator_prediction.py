import numpy as np
import pytest
from evaluator_samples import NUM_IMAGES, coloured_records, png, record, save_model, write_examples
from pyarrow import parquet

from slimworks.components import contracts, files
from slimworks.components.errors import DataError
from slimworks.components.evaluator import prediction, predictions_file


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
    facts = ("width", "height", "brightness", "sharpness")
    assert tuple(table.column_names) == (*contracts.PREDICTION_COLUMNS, *facts)
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


def test_rows_hold_size_light_metadata_and_embedding(tmp_path, model_dir):
    facts = {"width": 9, "height": 7, "brightness": 0.25, "sharpness": 0.5}
    records = [
        record(0, 0, png(np.full((8, 8, 3), 50, np.uint8)), slices={"camera": "蓝"}, **facts),
        record(1, 1, png(np.full((8, 8, 3), 80, np.uint8))),
    ]
    path = tmp_path / "predictions.parquet"
    saved_model = model_dir / contracts.SAVED_MODEL_FOLDER
    examples = write_examples(tmp_path / "examples", records, num_shards=1)
    prediction.predict_split(saved_model, examples, "test", path, 8, embeddings=True)
    row, other = parquet.read_table(path).to_pylist()
    assert {name: row[name] for name in facts} == facts
    assert (row["slice/camera"], other["slice/camera"]) == ("蓝", None)
    assert (row["embedding"], other["embedding"]) == ([50.0] * 3, [80.0] * 3)


def test_file_has_the_digests_of_the_model_and_of_its_preparation(tmp_path, examples_dir):
    model = save_model(tmp_path / "model")
    _, path = predicted(tmp_path / "a", model, examples_dir)
    first = predictions_file.read_facts(path)
    assert first.model_digest == files.sha256_of_tree(model / contracts.SAVED_MODEL_FOLDER)
    assert first.transform_digest is None
    digests = set()
    for image_size in (32, 64):
        facts = {"class_names": list("abc"), "preprocessing": "vgg", "image_size": image_size}
        files.write_json(model / contracts.MODEL_FACTS_FILE, facts)
        _, path = predicted(tmp_path / "b", model, examples_dir)
        digests.add(predictions_file.read_facts(path).transform_digest)
    assert len(digests) == 2
    assert predictions_file.read_facts(path).examples_digest == first.examples_digest


@pytest.mark.parametrize("batch_size", [1, 7, 4096])
def test_batch_size_does_not_change_the_rows(tmp_path, model_dir, examples_dir, batch_size):
    _, path = predicted(tmp_path / "a", model_dir, examples_dir)
    _, other = predicted(tmp_path / "b", model_dir, examples_dir, batch_size)
    reference, table = parquet.read_table(path), parquet.read_table(other)
    assert table.column("image_id") == reference.column("image_id")
    np.testing.assert_allclose(
        predictions_file.arrays_of(table)["logits"],
        predictions_file.arrays_of(reference)["logits"],
        rtol=1e-5,
        atol=1e-4,
    )


def test_rows_are_written_in_groups(tmp_path, model_dir, examples_dir, monkeypatch):
    monkeypatch.setattr(predictions_file, "ROWS_PER_GROUP", 40)
    _, path = predicted(tmp_path, model_dir, examples_dir, batch_size=20)
    sizes = [len(group["class_index"]) for group in predictions_file.read_row_groups(path)]
    assert sizes == [40, 40, 40, 30]


def test_nan_probabilities_are_marked_instead_of_ranked(tmp_path, examples_dir):
    model = save_model(tmp_path / "model", nan_class=0)
    _, path = predicted(tmp_path, model, examples_dir)
    (columns,) = predictions_file.read_row_groups(path)
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
