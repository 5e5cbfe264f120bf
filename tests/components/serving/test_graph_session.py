"""The private API of TensorFlow that a loaded model rests on."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from serving_models import png

from slimworks.components.serving import graph_session
from slimworks.components.serving.graph_session import GraphSession
from slimworks.components.serving.loaded_model import LoadedModel
from slimworks.components.serving.request_errors import Code, RequestError


def save_counter(folder) -> None:
    """x float [?] -> how often the graph has run; a table from an asset: word -> its number."""
    v1 = tf.compat.v1
    words = folder.parent / "words.txt"
    words.write_text("zero\none\ntwo\n")
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        runs = v1.get_variable("runs", initializer=0, use_resource=True)
        with tf.control_dependencies([x]):
            count = v1.assign_add(runs, 1)
        word = v1.placeholder(tf.string, [], name="word")
        path = tf.constant(str(words), name="path")
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, path)
        lines = tf.lookup.TextFileInitializer(
            path, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )  # fmt: skip
        table = tf.lookup.StaticHashTable(lines, -1)
        signatures = {
            name: v1.saved_model.predict_signature_def(inputs, outputs)
            for name, inputs, outputs in (
                ("serving_default", {"x": x}, {"count": tf.identity(count)}),
                ("lookup", {"word": word}, {"index": table.lookup(word), "again": word + "!"}),
            )
        }
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, ["serve"], signatures, main_op=v1.tables_initializer(),
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
        )  # fmt: skip
        builder.save()
    words.unlink()


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counter") / "1"
    save_counter(folder)
    return folder


@pytest.fixture
def model(counter):
    loaded = LoadedModel(counter)
    yield loaded
    loaded.close()


def asked(model, signature, **arrays):
    outputs = model.run(
        model.signatures[signature], {name: np.array(value) for name, value in arrays.items()}
    )
    return {alias: np.asarray(value).tolist() for alias, value in outputs.items()}


def test_variables_assets_and_tables_of_a_tf1_model_are_there(model):
    assert asked(model, "lookup", word=b"two") == {"index": 2, "again": b"two!"}
    assert asked(model, "lookup", word=b"three")["index"] == -1
    assert asked(model, "serving_default", x=np.float32([1])) == {"count": 1}


def test_preparing_a_signature_computes_nothing(model):
    for _ in range(3):
        model.prepare("serving_default")
    assert asked(model, "serving_default", x=np.float32([1])) == {"count": 1}


def test_what_is_prepared_is_not_optimised_again(color_model, monkeypatch):
    model = LoadedModel(color_model)
    model.prepare("serving_default")
    kinds = set(model._session._kinds_of_runs)
    asked(model, "serving_default", images=[png("red")])
    assert set(model._session._kinds_of_runs) == kinds
    model.close()


def test_kinds_of_runs_that_clients_choose_are_bounded(counter, monkeypatch):
    monkeypatch.setattr(graph_session, "_MAX_KINDS_OF_RUNS", 1)
    session = GraphSession(counter, ["serve"], None)
    lookup = session.signatures["lookup"]
    word = {lookup.inputs["word"].name: np.array(b"one")}
    index, again = (lookup.outputs[name].name for name in ("index", "again"))
    assert session.run(word, [again]) == [b"one!"]
    assert session.run(word, [index, again]) == [1, b"one!"]
    assert session.run(word, [again, index]) == [b"one!", 1]
    assert len(session._kinds_of_runs) == 1
    session.close()


def test_a_tensor_that_is_not_in_the_graph_is_named(counter):
    session = GraphSession(counter, ["serve"], None)
    with pytest.raises(RequestError, match="Tensor 'none:0' was not found") as caught:
        session.run({}, ["none:0"])
    assert caught.value.code == Code.NOT_FOUND
    session.close()


def test_time_over_ends_a_run(color_model):
    model = LoadedModel(color_model)
    images = np.array([png("red")] * 20_000, dtype=object)
    with pytest.raises(RequestError) as caught:
        model.within(0.001).run(model.signatures["serving_default"], {"images": images})
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    assert asked(model, "serving_default", images=[png("red")])["is_known"] == [True]
    model.close()
