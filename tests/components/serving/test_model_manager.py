"""Several models: when they are ready, what a reload changes, what a label may name."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from slimworks.components.serving.manager import Manager
from slimworks.components.serving.model_config import ModelConfig
from slimworks.components.serving.request_errors import Code, RequestError
from slimworks.components.serving.versions import State, every, latest, specific


class Loaded:
    def __init__(self, path):
        if (path / "broken").exists():
            raise ValueError("broken")

    def close(self):
        pass


def managed(**options):
    options = {"max_num_load_retries": 0, "wait_seconds": 0.001, **options}
    return Manager(Loaded, **options)


@pytest.fixture
def base(tmp_path):
    for place in ("a/1", "a/2", "b/1", "broken/1/broken"):
        (tmp_path / place).mkdir(parents=True)
    return tmp_path


def configs(base, *names, **options):
    return [ModelConfig(name, str(base / name), **options) for name in names]


def states(manager, name):
    return {report.version: report.state for report in manager.models.all()[name].reports()}


def message(base, *names, labels="", path=""):
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{path or base / name}" '
        f'model_platform: "tensorflow" {labels} }} '
        for name in names
    )
    config = model_server_config_pb2.ModelServerConfig()
    return text_format.Parse(f"model_config_list {{ {entries} }}", config)


def test_all_models_are_awaited(base):
    manager, num_looks = managed(), 0

    def is_wanted():
        nonlocal num_looks
        num_looks += 1
        if num_looks == 3:
            (base / "late" / "1").mkdir(parents=True)
        return True

    assert manager.start(configs(base, "a", "late"), is_wanted=is_wanted)
    assert num_looks >= 3
    assert states(manager, "late") == {1: State.AVAILABLE}


def test_waiting_ends_when_nobody_wants_it(base):
    assert not managed().start(
        configs(base, "a", "missing"), is_wanted=iter([True, False]).__next__
    )


def test_a_model_that_fails_is_named(base):
    with pytest.raises(RequestError) as caught:
        managed().start(configs(base, "a", "broken"), is_wanted=lambda: True)
    assert caught.value.code == Code.UNKNOWN
    assert caught.value.message == (
        "1 servable(s) did not become available: {{name: broken version: 1} due to error: "
        "ValueError: broken}"
    )


def test_one_missing_base_path_lets_the_round_pass_for_all(base, caplog):
    manager = managed()
    manager.start(configs(base, "a", "b"), is_wanted=lambda: True)
    (base / "b").rename(base / "away")
    (base / "a" / "3").mkdir()
    manager.poll()
    assert 3 not in states(manager, "a")
    assert "b does not exist; waiting for it" in caplog.text
    (base / "away").rename(base / "b")
    manager.poll()
    assert states(manager, "a")[3] == State.AVAILABLE


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(latest, {2}), (every, {1, 2}), (lambda found: specific(found, (1, 9)), {1})],
)
def test_policies(base, policy, expected):
    manager = managed()
    manager.start(configs(base, "a", policy=policy), is_wanted=lambda: True)
    assert set(states(manager, "a")) == expected


def test_reload_moves_a_model_to_another_folder(base):
    manager = managed()
    manager.start(configs(base, "a"), is_wanted=lambda: True)
    manager.reload(message(base, "a", path=base / "b"))
    assert states(manager, "a") == {2: State.END, 1: State.AVAILABLE}


def test_reload_unloads_what_is_not_listed(base):
    manager = managed()
    manager.start(configs(base, "a", "b"), is_wanted=lambda: True)
    gone = manager.models.all()["b"]
    manager.reload(message(base, "a"))
    assert set(manager.models.all()) == {"a"}
    assert not gone.is_available()


LABEL = 'version_labels {{ key: "stable" value: {} }}'


def test_a_label_in_use_moves_to_loaded_versions_only(base):
    manager = managed(allow_labels_of_unavailable=True)
    manager.start(configs(base, "a"), is_wanted=lambda: True)
    manager.reload(message(base, "a", labels=LABEL.format(7)))
    assert manager.models.labels("a") == {"stable": 7}, "a new one may name anything"
    with pytest.raises(RequestError, match="not currently available") as caught:
        manager.reload(message(base, "a", labels=LABEL.format(8)))
    assert caught.value.code == Code.FAILED_PRECONDITION
    manager.reload(message(base, "a", labels=LABEL.format(2)))
    assert manager.models.labels("a") == {"stable": 2}
    manager.reload(message(base, "a"))
    assert manager.models.labels("a") == {}


def test_without_permission_a_label_names_a_loaded_version(base):
    manager = managed()
    with pytest.raises(RequestError, match="version 2 of model a, which is not currently"):
        manager.start(configs(base, "a", labels={"stable": 2}), is_wanted=lambda: True)
    manager.start(configs(base, "a"), is_wanted=lambda: True)
    with pytest.raises(RequestError, match="version 7 of model a"):
        manager.reload(message(base, "a", labels=LABEL.format(7)))
    manager.reload(message(base, "a", labels=LABEL.format(2)))
    assert manager.models.labels("a") == {"stable": 2}
