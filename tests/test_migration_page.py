"""docs/migration.md knows every flag of TF-Slim's scripts, and names only what exists here."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml
from code_blocks import code_blocks

from slimworks.components.settings import Settings
from slimworks.pipeline.cli import VERBS, cli
from slimworks.pipeline.config import PipelineConfig

PAGE = Path(__file__).parents[1] / "docs/migration.md"

# Flag=default, by script; of tensorflow/models at 47aaac807b and of TensorFlow 2.16.
FLAGS = {
    "train_image_classifier.py": """
        master='' train_dir=/tmp/tfmodel/ warmup_epochs=0 num_clones=1 clone_on_cpu=False
        worker_replicas=1 num_ps_tasks=0 num_readers=4 num_preprocessing_threads=4
        log_every_n_steps=10 save_summaries_secs=600 save_interval_secs=600 task=0
        weight_decay=0.00004 optimizer=rmsprop adadelta_rho=0.95
        adagrad_initial_accumulator_value=0.1 adam_beta1=0.9 adam_beta2=0.999 opt_epsilon=1.0
        ftrl_learning_rate_power=-0.5 ftrl_initial_accumulator_value=0.1 ftrl_l1=0.0 ftrl_l2=0.0
        momentum=0.9 rmsprop_momentum=0.9 rmsprop_decay=0.9 quantize_delay=-1
        learning_rate_decay_type=exponential learning_rate=0.01 end_learning_rate=0.0001
        label_smoothing=0.0 learning_rate_decay_factor=0.94 num_epochs_per_decay=2.0
        sync_replicas=False replicas_to_aggregate=1 moving_average_decay=None
        dataset_name=imagenet dataset_split_name=train dataset_dir=None labels_offset=0
        model_name=inception_v3 preprocessing_name=None batch_size=32 train_image_size=None
        max_number_of_steps=None use_grayscale=False checkpoint_path=None
        checkpoint_exclude_scopes=None trainable_scopes=None ignore_missing_vars=False
    """,
    "eval_image_classifier.py": """
        batch_size=100 max_num_batches=None master='' checkpoint_path=/tmp/tfmodel/
        eval_dir=/tmp/tfmodel/ num_preprocessing_threads=4 dataset_name=imagenet
        dataset_split_name=test dataset_dir=None labels_offset=0 model_name=inception_v3
        preprocessing_name=None moving_average_decay=None eval_image_size=None quantize=False
        use_grayscale=False
    """,
    "export_inference_graph.py": """
        model_name=inception_v3 is_training=False image_size=None batch_size=None
        dataset_name=imagenet labels_offset=0 output_file='' dataset_dir='' quantize=False
        is_video_model=False num_frames=None write_text_graphdef=False use_grayscale=False
    """,
    "freeze_graph.py": """
        input_graph='' input_saver='' input_checkpoint='' checkpoint_version=2 output_graph=''
        input_binary=False output_node_names='' restore_op_name=save/restore_all
        filename_tensor_name=save/Const:0 clear_devices=True initializer_nodes=''
        variable_names_whitelist='' variable_names_denylist='' input_meta_graph=''
        input_saved_model_dir='' saved_model_tags=serve
    """,
    "download_and_convert_data.py": """
        dataset_name=None dataset_dir=None small_object_area_threshold=0.005
        foreground_class_of_interest=person
    """,
    "label_image.py": """
        image=grace_hopper.jpg graph=inception_v3_2016_08_28_frozen.pb
        labels=imagenet_slim_labels.txt input_height=299 input_width=299 input_mean=0 input_std=255
        input_layer=input output_layer=InceptionV3/Predictions/Reshape_1
    """,
}


class Row(NamedTuple):
    """One flag: its default there, what it is here, the default here, what differs."""

    flag: str
    default: str
    here: str
    default_here: str
    note: str


def _rows(script: str) -> list[Row]:
    text = PAGE.read_text(encoding="utf-8")
    section = text.split(f"\n## {script}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [Row(*(cell.strip().strip("`") for cell in line.split("|")[1:-1])) for line in lines]


def _settings() -> dict[str, Any]:
    """Default by `section.key`."""
    found = {}
    for section, field in PipelineConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            for key, setting in field.annotation.model_fields.items():
                found[f"{section}.{key}"] = setting.get_default(call_default_factory=True)
    return found


def _options(verb: str) -> set[str]:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None, verb
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("script", FLAGS)
def test_every_flag_has_its_row(script: str) -> None:
    expected = [tuple(flag.split("=")) for flag in FLAGS[script].split()]
    assert [(row.flag, row.default) for row in _rows(script)] == expected


@pytest.mark.parametrize("script", FLAGS)
def test_every_row_names_what_exists_with_its_default_or_says_why_there_is_nothing(
    script: str,
) -> None:
    settings = _settings()
    for row in _rows(script):
        if row.here == "-":
            assert row.note, row
        elif row.here.startswith("slimworks "):
            _, verb, *option = row.here.split()
            assert verb in VERBS, row
            assert not option or set(option) <= _options(verb), row
        else:
            assert row.here in settings, row
            assert yaml.safe_load(row.default_here) == settings[row.here], row


def test_every_setting_named_in_the_text_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    sections = "|".join(PipelineConfig.model_fields)
    known = _settings()
    for name in re.findall(rf"\b((?:{sections})\.[a-z_0-9]+)\b", text):
        if not name.endswith((".md", ".py", ".ckpt")):
            assert name in known, name


def test_settings_of_tf_slim_are_valid() -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert PipelineConfig.model_validate(yaml.safe_load(block)).train.optimizer == "rmsprop"


def commands() -> list[list[str]]:
    """The `slimworks` command lines of the page, split into words."""
    blocks = [block.text for block in code_blocks(PAGE) if block.language == "bash"]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line.rstrip("& ")) for line in lines if line.startswith("slimworks ")]


def test_options_of_the_command_lines_exist() -> None:
    assert len(commands()) >= 9
    for _, verb, *words in commands():
        if verb != "serve":  # takes tensorflow_model_server's flags
            assert {word for word in words if word.startswith("--")} <= _options(verb), verb
