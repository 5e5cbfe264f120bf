"""A whole run with a user's own network, from a module beside the configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import slimworks
from slimworks.components.errors import ConfigError
from slimworks.components.nets import own_nets
from slimworks.components.trainer.component import Trainer
from slimworks.components.trainer.config import ModelConfig
from slimworks.components.trainer.manifest import net_facts
from slimworks.components.trainer.verification import _changed_net
from slimworks.pipeline.config import PipelineConfig, load_config
from slimworks.pipeline.demo import write_digits
from slimworks.pipeline.kubeflow.compiling import compile_text
from slimworks.pipeline.run import RunOptions, run_pipeline

MODULE = """\
import tensorflow as tf
from layers_of_mine import block


def digits_net(images, num_classes=10, is_training=True):
    end_points = {}
    with tf.compat.v1.variable_scope("digits_net"):
        from slimworks.components.nets.slim import slim

        net = end_points["block2"] = block(block(images, 16, "conv1"), 32, "conv2")
        net = slim.fully_connected(slim.flatten(net), 64, scope="fc3")
        logits = slim.fully_connected(net, num_classes, activation_fn=None, scope="logits")
        end_points["Predictions"] = tf.nn.softmax(logits)
    return logits, end_points


digits_net.default_image_size = 28
digits_net.num_channels = 1
digits_net.preprocessing = "lenet"
"""
LAYERS = """\
from slimworks.components.nets.slim import slim


def block(net, depth, scope):
    net = slim.conv2d(net, depth, [3, 3], normalizer_fn=slim.batch_norm, scope=scope)
    return slim.max_pool2d(net, [2, 2])
"""
CONFIG = """\
name: own
data: {{source: {photos}}}
model: {{net: "digits_nets:digits_net"}}
train: {{epochs: 6, optimizer: adam, learning_rate: 0.003}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with the network's module beside it; the current folder is another one."""
    folder, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "digits_nets.py").write_text(MODULE, encoding="utf-8")
    (folder / "layers_of_mine.py").write_text(LAYERS, encoding="utf-8")
    text = CONFIG.format(photos=tmp_path / "digits")
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv(own_nets.FOLDERS_VARIABLE, "")
    # What a test imports from its folder must not be there for the next one.
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("digits_nets", "layers_of_mine"):
        sys.modules.pop(name, None)
    return folder


def _slimworks(*arguments: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "slimworks", *arguments, "--json"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout), ended.stderr


@pytest.mark.big  # CI runs notebook 04, which does it too
@pytest.mark.timeout(900)
def test_own_network_goes_through_the_whole_pipeline(project: Path, tmp_path: Path) -> None:
    write_digits(tmp_path / "digits")
    root = tmp_path / "runs"
    run = ("run", "--config", str(project / "pipeline.yaml"), "--root", str(root))

    code, outcome, err = _slimworks(*run)
    assert (code, outcome["verdict"]) == (0, "pass"), err
    assert "digits_nets:digits_net at 28 px" in err
    assert outcome["metrics"]["accuracy"] > 0.85
    manifest = json.loads(Path(outcome["model"], "manifest.json").read_text(encoding="utf-8"))
    digest = manifest["net"]["source_digest"]
    assert manifest["net"]["name"] == "digits_nets:digits_net"

    code, again, err = _slimworks(*run)
    assert (code, again["version"]) == (0, outcome["version"]), err
    assert all(step["cached"] for step in again["steps"] if step["name"] != "baseline"), again

    # The checkpoint is one to start from, under the network's own names.
    settings = {
        "model.net": f"{project}/digits_nets.py:digits_net",
        "train.checkpoint_path": f"{outcome['model']}/checkpoints",
        "train.checkpoint_exclude_scopes": "[digits_net/logits]",
        "train.trainable_scopes": "[digits_net/logits]",
        "train.epochs": "2",
    }
    examples = str(tmp_path / "examples")
    assert _slimworks("ingest", "--data", str(tmp_path / "digits"), "--output", examples)[0] == 0
    sets = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
    head = str(tmp_path / "head")
    code, facts, err = _slimworks("train", "--examples", examples, "--output", head, *sets)
    assert (code, facts["best_eval_accuracy"] > 0.85) == (0, True), err
    code, frozen, err = _slimworks("freeze", "--model", head, "--output", f"{head}.pb")
    assert code == 0, err
    assert frozen["outputs"] == ["digits_net/logits/BiasAdd", "digits_net/Softmax"]

    # A change of what the module imports is a change of the network.
    changed = LAYERS.replace("[3, 3]", "[5, 5]")
    (project / "layers_of_mine.py").write_text(changed, encoding="utf-8")
    code, other, err = _slimworks(*run, "--until", "trainer")
    trainer = next(step for step in other["steps"] if step["name"] == "trainer")
    assert (code, trainer["reason"]) == (0, "the source of the network changed"), err
    model = ModelConfig(net=f"{project}/digits_nets.py:digits_net")
    assert model.source_digest != digest

    # What was pushed needs no module.
    (project / "digits_nets.py").unlink()
    photo = next((tmp_path / "digits/7").iterdir())
    (answer,) = slimworks.load(outcome["pushed_to"]).predict([photo])
    assert answer.class_name in map(str, range(10))

    code, gone, _ = _slimworks("freeze", "--model", outcome["model"], "--output", f"{head}2.pb")
    assert code == 2
    assert "there is no module digits_nets in" in gone["error"]["cause"]


def test_a_network_that_is_none_stops_a_run_before_it_starts(project: Path, tmp_path: Path) -> None:
    from slimworks.components.nets import nets_factory  # noqa: F401 - this process builds networks

    for class_name in ("one", "two"):
        (tmp_path / "digits" / class_name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "digits" / class_name / f"{number}.png").write_bytes(b"")
    config = load_config(str(project / "pipeline.yaml"), ["model.net=digits_nets:digitsnet"])
    with pytest.raises(ConfigError, match="has no digitsnet"):
        run_pipeline(config, RunOptions(root=tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_compile_refuses_a_network_of_this_machine(project: Path) -> None:
    config = load_config(str(project / "pipeline.yaml"))
    with pytest.raises(ConfigError, match="steps in containers see only what their image holds"):
        compile_text(config, "slimworks:1")


def test_the_source_is_part_of_what_is_remembered(project: Path) -> None:
    from tfx.types import channel, standard_artifacts

    from slimworks.components.artifacts import LabelMap

    def properties(config: PipelineConfig) -> dict[str, Any]:
        node = Trainer(
            examples=channel.Channel(standard_artifacts.Examples),
            transform_graph=channel.Channel(standard_artifacts.TransformGraph),
            label_map=channel.Channel(LabelMap),
            model=config.model,
            train=config.train,
            export=_export(config),
            work="work",
        )
        return dict(node.exec_properties)

    config = load_config(str(project / "pipeline.yaml"))
    before = properties(config)["net_source"]
    (project / "layers_of_mine.py").write_text(LAYERS + "# more\n", encoding="utf-8")
    assert len(before) == 64
    assert properties(config)["net_source"] != before
    assert not properties(PipelineConfig()).get("net_source")


def _export(config: PipelineConfig) -> Any:
    from slimworks.pipeline.dag import export_config

    return export_config(config)


def test_verify_names_a_changed_network(project: Path) -> None:
    config = load_config(str(project / "pipeline.yaml"))
    facts = net_facts(config.model)
    settings = config.model.model_dump(mode="json")
    assert net_facts(ModelConfig(net="lenet")) is None
    assert _changed_net(None, {}) == _changed_net(facts, settings) == []
    (project / "digits_nets.py").write_text(MODULE + "# more\n", encoding="utf-8")
    (change,) = _changed_net(facts, settings)
    assert change.name == "net"
    assert change.detail.startswith("the source of digits_nets:digits_net was ")
    (project / "digits_nets.py").unlink()
    (change,) = _changed_net(facts, settings)
    assert "there is no module digits_nets" in change.detail
