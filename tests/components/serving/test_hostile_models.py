"""Folders that are no good models: reported as failed, while the old version answers."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from serving_models import png
from tensorflow.core.protobuf import saved_model_pb2
from test_server_process import POLL_SECONDS, states, wait_until

from slimworks.components.serving.client import Client
from slimworks.components.serving.process import ServerProcess

RETRIES = ("--max_num_load_retries=1000", "--load_retry_interval_micros=50000")


@pytest.fixture(scope="module")
def running(color_model, tmp_path_factory):
    """A client of a server with version 1, and the folder of the versions."""
    base = tmp_path_factory.mktemp("hostile")
    shutil.copytree(color_model, base / "1")
    with (
        ServerProcess(base, "m", poll_wait_seconds=POLL_SECONDS) as server,
        Client(server.address, "m") as client,
    ):
        yield client, base


def place(model, running) -> int:
    """Moves a model to the next version, waits for what becomes of it, and returns its number."""
    client, folder = running
    number = max(int(path.name) for path in folder.iterdir() if path.name.isdecimal()) + 1
    model.rename(folder / str(number))
    wait_until(lambda: states(client).get(number) in ("AVAILABLE", "END"))
    return number


def remove_variables(folder):
    shutil.rmtree(folder / "variables")


def cut_variables(folder):
    path = folder / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:5])


def hang_links(folder):
    (folder / "saved_model.pb").unlink()
    (folder / "saved_model.pb").symlink_to("saved_model.pb")


def make_graph_a_folder(folder):
    (folder / "saved_model.pb").unlink()
    (folder / "saved_model.pb").mkdir()


def empty_graph(folder):
    (folder / "saved_model.pb").write_bytes(b"")


def other_tags(folder):
    changed(folder, lambda graph: graph.meta_info_def.tags.append("gpu"))


def unknown_op(folder):
    changed(folder, lambda graph: setattr(graph.graph_def.node[0], "op", "NoSuchOp"))


def huge_constant(folder):
    def enlarge(graph):
        node = next(node for node in graph.graph_def.node if node.op == "Const")
        node.attr["value"].tensor.tensor_shape.dim.add(size=2**40)

    changed(folder, enlarge)


def two_init_ops(folder):
    def add(graph):
        del graph.signature_def["__saved_model_init_op"]
        names = graph.collection_def["saved_model_main_op"].node_list.value
        del names[:]
        names.extend(["NoOp", "NoOp"])

    changed(folder, add)


def changed(folder, change):
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    change(model.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_variables, "variables.index is missing: the version is half-copied"),
        (cut_variables, ""), (hang_links, ""), (make_graph_a_folder, ""),
        (empty_graph, "could not be found in SavedModel"), (other_tags, "could not be found"),
        (unknown_op, "NoSuchOp"), (huge_constant, ""), (two_init_ops, "exactly one main op"),
    ],
)  # fmt: skip
def test_a_spoilt_version_is_refused_and_the_old_one_answers(
    running, color_model, tmp_path, spoil, message
):
    client, _ = running
    shutil.copytree(color_model, tmp_path / "model")
    spoil(tmp_path / "model")
    number = place(tmp_path / "model", running)
    newest = client.status()[0]
    assert (newest.version, newest.state) == (number, "END")
    assert newest.error_code != 0
    assert message in newest.error_message
    assert client.predict_bytes([png("red")])[0].version == 1


def test_graphs_with_random_damage_do_not_end_the_server(running, color_model, tmp_path):
    client, _ = running
    generator = np.random.default_rng(13)
    for number in range(12):
        model = tmp_path / str(number)
        shutil.copytree(color_model, model)
        changed(model, lambda graph: damage(graph, generator))
        place(model, running)
    shutil.copytree(color_model, tmp_path / "good")
    number = place(tmp_path / "good", running)
    assert client.predict_bytes([png("red")])[0].version == number


def damage(graph, generator):
    """Changes an op, an input, a name, an attribute or a device of three nodes."""
    pools = [graph.graph_def.node, *(f.node_def for f in graph.graph_def.library.function)]
    for _ in range(3):
        nodes = pools[int(generator.integers(len(pools)))]
        node = nodes[int(generator.integers(len(nodes)))]
        match int(generator.integers(5)):
            case 0:
                node.op = str(generator.choice(["Add", "Switch", "VarHandleOp", ""]))
            case 1 if node.input:
                node.input[0] = str(generator.choice(["x:99", "^x", "", node.name + ":0"]))
            case 2:
                node.name = str(generator.choice(["", "a/b/", node.name + "2"]))
            case 3 if node.attr:
                del node.attr[min(node.attr)]
            case _:
                node.device = "/job:x/task:9"


def test_a_half_copied_version_is_loaded_once_it_is_whole(base_path, blue_model):
    with (
        ServerProcess(
            base_path, "m", poll_wait_seconds=POLL_SECONDS, extra_flags=RETRIES
        ) as server,
        Client(server.address, "m") as client,
    ):
        shutil.copytree(blue_model, base_path / "2", ignore=shutil.ignore_patterns("variables"))
        wait_until(lambda: "half-copied" in server.log_text())
        assert states(client) == {2: "LOADING", 1: "AVAILABLE"}
        assert client.predict_bytes([png("red")])[0].version == 1
        shutil.copytree(blue_model / "variables", base_path / ".variables")
        os.rename(base_path / ".variables", base_path / "2" / "variables")
        wait_until(lambda: states(client) == {2: "AVAILABLE", 1: "END"})
        assert client.predict_bytes([png("red")])[0].class_names[0] == "blue"
