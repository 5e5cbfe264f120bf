from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slimworks.components.errors import ConfigError
from slimworks.pipeline import config as configuration
from slimworks.pipeline.config import load_config, parse_config, pipeline_name, to_yaml
from slimworks.pipeline.starter import starter_yaml


def _error(*overrides: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    assert caught.value.exit_code == 2
    return caught.value


def test_defaults_need_no_file() -> None:
    config = load_config(None, (), "photos")
    assert config.data.source == "photos"
    assert config.model.net == "mobilenet_v1_025"


def test_set_wins_over_the_file_and_data_over_both(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text("data: {source: a}\ntrain: {epochs: 3, batch_size: 8}\n")
    config = load_config(str(path), ["train.epochs=5"], "b")
    assert (config.train.epochs, config.train.batch_size, config.data.source) == (5, 8, "b")


def test_unknown_key_suggests_the_nearest_and_lists_the_section() -> None:
    error = _error("train.lerning_rate=0.1")
    assert error.cause == "Unknown key 'train.lerning_rate'. Did you mean 'train.learning_rate'?"
    assert error.fix.startswith("Keys of section 'train': adadelta_rho")


def test_unknown_section_suggests_the_nearest() -> None:
    error = _error("trainer.epochs=1")
    assert error.cause == "Unknown key 'trainer'. Did you mean 'train'?"
    assert "Keys of the configuration: containers, data, evaluate" in error.fix


def test_unknown_key_of_a_nested_section() -> None:
    assert "Did you mean 'train.augmentation.flip'" in _error("train.augmentation.flipp=true").cause


def test_wrong_type_names_the_value_and_the_rule() -> None:
    error = _error("train.batch_size=many")
    assert error.cause.startswith("train.batch_size is 'many': input should be a valid integer")
    assert error.fix == "Change it in the config or by --set train.batch_size=VALUE."


def test_percent_instead_of_a_fraction_says_what_to_write() -> None:
    error = _error("gate.min_accuracy=90")
    assert error.cause == "gate.min_accuracy is 90, expected a fraction in [0, 1]."
    assert error.fix == "For 90 percent write 0.9."


def test_unknown_network_suggests_the_nearest() -> None:
    assert "mobilenet_v1" in str(_error("model.net=mobilnet_v1"))


def test_image_size_below_the_minimum_names_it() -> None:
    assert "vgg_16" in str(_error("model.net=vgg_16", "model.image_size=16"))


def test_set_without_equals_says_how() -> None:
    error = _error("train.epochs")
    assert error.cause == "--set 'train.epochs' has no '='."
    assert error.fix == "Write it like --set train.batch_size=16."


@pytest.mark.parametrize("override", ["=5", "train.=5", ".epochs=5"])
def test_set_without_a_key_says_how(override: str) -> None:
    assert _error(override).cause == f"--set {override!r} names no key."


def test_set_with_broken_yaml_says_so() -> None:
    assert "the value is not valid YAML" in _error("name=[a").cause


@pytest.mark.parametrize("regex", ["[^/]+", r"[a]/(\d+)", "[a]'s", "[a]$", '[a]"b', "`a", r"[a]\\"])
def test_what_is_suggested_for_broken_yaml_gives_the_very_text(regex: str) -> None:
    fix = _error(f"data.group_regex={regex}").fix
    typed = fix.removeprefix("Quote it: --set ")
    override = subprocess.check_output(["sh", "-c", f"printf %s {typed}"], text=True)
    assert load_config(overrides=[override]).data.group_regex == regex


def test_section_given_as_a_value() -> None:
    assert _error("train=3", "train.epochs=1").cause == "train is 3, expected a section."


def test_bad_name_states_the_rule() -> None:
    assert "name is 'My Photos', expected" in _error("name=My Photos").cause


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("train: [", "is not valid YAML"),
        ("- a\n- b\n", "holds a list, expected sections"),
        ("train: 3\n", "train is 3"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, cause: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=cause):
        load_config(str(path))


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path / "none.yaml"))
    assert "No such file or directory" in caught.value.cause
    assert "slimworks init --data PHOTOS" in caught.value.fix


def test_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_config(str(path))


def test_resolved_yaml_reads_back_equal(tmp_path: Path) -> None:
    config = load_config(None, ["train.epochs=7", "data.exclude_classes=[a]"], "photos")
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert load_config(str(path)) == config


def test_starter_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(starter_yaml("/photos"))
    assert load_config(str(path)) == parse_config({"data": {"source": "/photos"}})


def test_every_key_of_the_starter_can_be_uncommented(tmp_path: Path) -> None:
    lines = starter_yaml("/photos").splitlines()
    for index, line in enumerate(lines):
        text = line.strip()
        if text.startswith("# ") and text.endswith(":") is False and ": " in text:
            key = text[2:].split(":")[0]
            if key in configuration.TrainConfig.model_fields:
                lines[index] = line.replace("# ", "", 1)
    path = tmp_path / "pipeline.yaml"
    path.write_text("\n".join(line for line in lines if "augmentation" not in line))
    assert load_config(str(path)).train.epochs == configuration.TrainConfig().epochs


@pytest.mark.parametrize(
    ("folder", "name"),
    [("Fotos Köln", "fotos-koln"), ("flowers_800", "flowers_800"), ("照片", "photos-7b50017a")],
)
def test_pipeline_name_comes_from_the_folder(folder: str, name: str) -> None:
    assert pipeline_name(f"/data/{folder}/") == name
