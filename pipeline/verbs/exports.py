"""Verbs that turn checkpoints into models for other programs: export, freeze."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slimworks.components import contracts
from slimworks.components.errors import ConfigError
from slimworks.components.export.outputs import check_new_file
from slimworks.pipeline.cli import emit, verb
from slimworks.pipeline.verbs.steps import existing, log_to_stderr, new_output

if TYPE_CHECKING:
    from slimworks.components.export.images import ComparisonImages
    from slimworks.components.export.source import ExportSource

_SOURCE_OPTIONS = (
    click.option("--model", metavar="DIR", help="Output of `slimworks train`."),
    click.option("--checkpoint", metavar="FILE", help="Instead of --model: a TF-Slim checkpoint."),
    click.option("--net", metavar="NAME", help="Network; default: what the checkpoint tells."),
    click.option(
        "--image-size",
        type=click.IntRange(min=1),
        metavar="S",
        help="Input side in pixels; default: the one in the checkpoint's name "
        "(mobilenet_v1_0.25_128), else the network's published one.",
    ),
    click.option(
        "--use-grayscale/--no-use-grayscale",
        default=None,
        help="One input channel or three; default: the network's own number.",
    ),
    click.option(
        "--preprocessing-name",
        metavar="NAME",
        help="cifarnet, inception, lenet, vgg or a network's name; default: the network's own.",
    ),
    click.option(
        "--images",
        metavar="DIR",
        help="Photos to compare the export with the checkpoint on; default: generated ones.",
    ),
)


def _with_options(*options: Callable[..., Any]) -> Callable[..., Any]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Fix the number of images in a batch; default: any (TensorFlow Lite: 1).",
)


@verb(
    "export",
    "  slimworks export --model model/ --output saved_model/\n"
    "  slimworks export --net inception_v3 --checkpoint inception_v3.ckpt --image-size 299 \\\n"
    "      --labels imagenet_labels.txt --output saved_model/\n"
    "  slimworks export --checkpoint mobilenet_v1_0.25_128.ckpt --format tflite \\\n"
    "      --output mobilenet.tflite\n",
)
@_with_options(*_SOURCE_OPTIONS)
@click.option(
    "--labels", metavar="FILE", help="Class names of the checkpoint: `index:name` or name lines."
)
@click.option("--top-k", type=click.IntRange(min=1), help="SavedModel: classes in an answer.")
@_batch_size_option
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["saved_model", "tflite", "onnx"]),
    default="saved_model",
    show_default=True,
    help="What to write.",
)
@click.option(
    "--output", required=True, metavar="PATH", help="New folder (saved_model) or new file."
)
def export_verb(
    format_name: str,
    output: str,
    images: str | None,
    top_k: int | None,
    batch_size: int | None,
    as_json: bool,
    debug: bool,
    **origin: Any,
) -> int:
    """Write a model for serving or for devices, and compare it with its checkpoint."""
    is_folder = format_name == "saved_model"
    model = _check_origin(origin)
    _refuse("--batch-size", batch_size, is_folder, "a SavedModel takes any number of images")
    _refuse("--top-k", top_k, not is_folder, "this format gives all classes")
    _refuse("--top-k", top_k, bool(model), "the model was exported with its own")
    if is_folder and model:
        existing(model, contracts.SAVED_MODEL_FOLDER, "slimworks train")
    target = new_output(output) if is_folder else check_new_file(output)
    log_to_stderr()
    from slimworks.components.export import export, onnx_model

    if format_name == "onnx":
        onnx_model.check_installed()
    source, compared_on = _source(origin), _images(images)
    if format_name == "tflite":
        facts = export.export_tflite(source, target, compared_on, batch_size or 1)
    elif format_name == "onnx":
        facts = export.export_onnx(source, target, compared_on, batch_size)
    elif model:
        facts = export.copy_saved_model(model, source, target, compared_on)
    else:
        facts = export.export_saved_model(source, target, compared_on, top_k)
    _emit(facts, target, as_json)
    return 0


@verb(
    "freeze",
    "  slimworks freeze --net inception_v3 --checkpoint inception_v3.ckpt --output frozen.pb\n"
    "  slimworks freeze --model model/ --output frozen.pb\n",
)
@_with_options(*_SOURCE_OPTIONS)
@_batch_size_option
@click.option(
    "--fold-batch-norm",
    "folds_batch_norm",
    is_flag=True,
    help="Multiply batch norm into the weights: quicker on old runtimes, equal up to rounding.",
)
@click.option("--output", required=True, metavar="FILE", help="New file (.pb).")
def freeze_verb(
    output: str,
    images: str | None,
    batch_size: int | None,
    folds_batch_norm: bool,
    as_json: bool,
    debug: bool,
    **origin: Any,
) -> int:
    """Write a GraphDef with the weights as constants, and compare it with its checkpoint.

    Its input is the placeholder `input`: preprocessed pixels. The outputs have TF-Slim's names.
    """
    _check_origin(origin)
    target = check_new_file(output)
    log_to_stderr()
    from slimworks.components.export import export

    facts = export.export_frozen_graph(
        _source(origin),
        target,
        _images(images),
        batch_size=batch_size,
        folds_batch_norm=folds_batch_norm,
    )
    _emit(facts, target, as_json)
    return 0


def _check_origin(origin: dict[str, Any]) -> str | None:
    """Checks what is known without TensorFlow; returns the model folder, if one is given."""
    model: str | None = origin["model"]
    if (model is None) == (origin["checkpoint"] is None):
        raise ConfigError(
            "Give either --model or --checkpoint."
            if model is None
            else "--model and --checkpoint exclude each other.",
            "Type `--model DIR` for the output of `slimworks train`, or `--checkpoint FILE`.",
        )
    if model is not None:
        told = [name for name, value in origin.items() if value is not None and name != "model"]
        for name in told:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{option} does not go with --model: the model knows its own.",
                f"Leave {option} out.",
            )
    return model


def _refuse(option: str, value: Any, is_refused: bool, reason: str) -> None:
    if is_refused and value is not None:
        raise ConfigError(f"{option} has no use here: {reason}.", f"Leave {option} out.")


def _source(origin: dict[str, Any]) -> ExportSource:
    from slimworks.components.export import source

    if origin["model"] is not None:
        return source.from_model(origin["model"])
    return source.from_checkpoint(
        origin["checkpoint"],
        net=origin["net"],
        image_size=origin["image_size"],
        use_grayscale=origin["use_grayscale"],
        preprocessing_name=origin["preprocessing_name"],
        labels=origin.get("labels"),
    )


def _images(folder: str | None) -> ComparisonImages:
    from slimworks.components.export import images

    return images.generated_images() if folder is None else images.read_images(folder)


def _emit(facts: dict[str, Any], target: Path, as_json: bool) -> None:
    from slimworks.components import files
    from slimworks.components.export import parity

    digest = files.sha256_of_tree if target.is_dir() else files.sha256_of_file
    num_classes = len(facts["class_names"])
    value = {key: fact for key, fact in facts.items() if key != "class_names"}
    value |= {"num_classes": num_classes, "output": str(target), "digest": digest(target)}
    lines = [
        f"{facts['net']} at {facts['image_size']} px, {num_classes} classes, "
        f"{facts['preprocessing']} preprocessing, from {facts['checkpoint_path']}",
        parity.table([parity.Parity(**row) for row in facts["parity"]]),
    ]
    if "input" in facts:
        lines.append(f"input: {facts['input']}; outputs: {', '.join(facts['outputs'])}")
    emit(value, as_json, "\n".join([*lines, f"wrote {target}"]))
