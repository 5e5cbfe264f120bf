"""Verbs at the serving end: serve, predict."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import click

from slimworks.components.errors import EXIT_DATA, ConfigError, DataError, SlimWorksError
from slimworks.components.examples.image_formats import READ_SUFFIXES
from slimworks.pipeline.cli import emit, say, verb


@click.command(
    name="serve",
    short_help="Serve a model folder like TensorFlow Serving, by gRPC.",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def serve_verb(flags: tuple[str, ...]) -> int:
    """Serve a model folder; takes tensorflow_model_server's flags."""
    from slimworks.components.serving.flags import parse_flags, usage

    if "--help" in flags or "-h" in flags:
        click.echo(usage())
        return 0
    from slimworks.components.serving.server import serve

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parsed = parse_flags([flag for flag in flags if flag not in ("--debug", "--json")])
    return serve(parsed, on_ready=lambda address: say(f"serving {parsed.model_name} at {address}"))


@verb(
    "predict",
    "  slimworks predict cat.jpg dog.png\n"
    "  slimworks predict photos/ --server 127.0.0.1:8500 --model-name flowers --top-k 3\n",
)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--server", default="127.0.0.1:8500", show_default=True, help="host:port of gRPC.")
@click.option("--model-name", default="default", show_default=True, help="Served model.")
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Classes to print for each image.",
)
@click.option("--version", type=int, help="Model version; default: the newest loaded.")
@click.option(
    "--timeout", "timeout_seconds", default=10.0, show_default=True, help="Seconds for a request."
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Images in a request.",
)
def predict_verb(
    images: tuple[str, ...],
    server: str,
    model_name: str,
    top_k: int,
    version: int | None,
    timeout_seconds: float,
    batch_size: int,
    as_json: bool,
    debug: bool,
) -> int:
    """Classify images (files or folders) through any TensorFlow Serving-compatible server."""
    from slimworks.components.serving.client import Client

    paths = _image_paths(images)
    rows: list[dict[str, Any]] = []
    with Client(server, model_name, version=version, timeout_seconds=timeout_seconds) as client:
        for start in range(0, len(paths), batch_size):
            rows += _classify(client, paths[start : start + batch_size], top_k)
    emit({"predictions": rows}, as_json, "\n".join(_line(row) for row in rows))
    return EXIT_DATA if any("error" in row for row in rows) else 0


def _classify(client: Any, paths: list[str], top_k: int) -> list[dict[str, Any]]:
    """One row an image; an image that cannot be classified does not keep the others from it."""
    from slimworks.components.serving.client import RequestRefusedError

    try:
        predictions = client.predict_files(paths)
    except SlimWorksError as error:
        if len(paths) > 1:
            client.status()  # a server that is gone says so once, not for every image
            return [row for path in paths for row in _classify(client, [path], top_k)]
        if not isinstance(error, DataError | RequestRefusedError):
            raise
        return [{"file": paths[0], "error": error.cause, "fix": error.fix}]
    return [_row(path, answer, top_k) for path, answer in zip(paths, predictions, strict=True)]


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"{row['file']}: Error: {row['error']} {row['fix']}"
    shown = "  ".join(f"{c['class_name']} {c['probability']:.3f}" for c in row["classes"])
    return f"{row['file']}: {shown}{'' if row['is_known'] else '  (unknown)'}"


def _row(path: str, prediction: Any, top_k: int) -> dict[str, Any]:
    classes = zip(
        prediction.class_names, prediction.class_indices, prediction.probabilities, strict=True
    )
    return {
        "file": path,
        "classes": [
            {"class_name": name, "class_index": index, "probability": probability}
            for name, index, probability in list(classes)[:top_k]
        ],
        "is_known": prediction.is_known,
        "version": prediction.version,
    }


def _image_paths(arguments: tuple[str, ...]) -> list[str]:
    """Files as given; folders give the images below them, in order."""
    paths: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found = [
                p
                for p in sorted(path.rglob("*"))
                if p.suffix.lower() in READ_SUFFIXES and not p.name.startswith(".")
            ]
            if not found:
                raise ConfigError(f"{argument} holds no image.", "Give files or another folder.")
            paths += [str(p) for p in found]
        elif path.is_file():
            paths.append(argument)
        else:
            raise ConfigError(f"{argument} does not exist.", "Give files or folders of images.")
    return paths
