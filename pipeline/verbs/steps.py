"""One component on plain paths, as TF-Slim's scripts were used."""

from __future__ import annotations

import logging
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from slimworks.components import contracts, files
from slimworks.components.errors import ConfigError, DataError
from slimworks.pipeline import next_steps, tfx_import
from slimworks.pipeline.cli import emit, say, verb
from slimworks.pipeline.terminal import TerminalHandler
from slimworks.pipeline.verbs.promotions import push_settings, server_options

_set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Setting; repeatable."
)
_output_option = click.option("--output", required=True, metavar="DIR", help="New folder.")


def log_to_stderr() -> None:
    """Sends our lines of progress to stderr, and of other programs only errors."""
    tfx_import.prepare()
    # force: Beam and absl put handlers of their own in place when they are imported.
    terminal = TerminalHandler(sys.stderr)
    logging.basicConfig(level=logging.ERROR, format="%(message)s", handlers=[terminal], force=True)
    logging.getLogger("slimworks").setLevel(logging.INFO)


def new_output(output: str) -> Path:
    """Checks --output; an empty folder makes room for the finished one."""
    path = Path(output).resolve()
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{output} is a file.", "Give a new folder to --output.")
    if path.exists() and any(path.iterdir()):
        raise ConfigError(f"{output} exists and is not empty.", "Give a new folder to --output.")
    if path.exists():
        path.rmdir()
    return path


def existing(folder: str, file_name: str, made_by: str) -> Path:
    """Checks that a folder was written by the verb that it should come from."""
    path = Path(folder)
    if not (path / file_name).exists():
        raise ConfigError(
            f"{path / file_name} does not exist.", f"Give a folder written by `{made_by}`."
        )
    return path


@verb(
    "ingest",
    "  slimworks ingest --data photos/ --output examples/\n"
    "  slimworks ingest --data photos.zip --output examples/ --set data.num_shards=8\n"
    "  slimworks ingest --data s3://bucket/labels.csv --output examples/\n",
)
@click.option("--data", required=True, metavar="PATH", help="Labelled images: see docs/data.md.")
@click.option(
    "--output",
    required=True,
    metavar="DIR",
    help="New folder, or one that `slimworks ingest` wrote: it is brought up to date.",
)
@_set_option
def ingest_verb(
    data: str, output: str, overrides: tuple[str, ...], as_json: bool, debug: bool
) -> int:
    """Check images, set bad ones aside, write split TFRecords with TF-Slim's keys."""
    from slimworks.components.ingest.ingest import IngestOutputs, ingest
    from slimworks.components.ingest.listing import require_outside
    from slimworks.components.report.data_page import write_data_report
    from slimworks.pipeline.config import load_config

    config = load_config(None, overrides, data)
    require_outside(output, data)
    target = Path(output).resolve()
    own = (target / "state", target / "report" / contracts.SUMMARY_FILE)
    if not any(path.exists() for path in own):
        target = new_output(output)
    log_to_stderr()
    outputs = IngestOutputs(*(str(target / name) for name in ("examples", "label_map", "report")))
    ingest(data, outputs, config.data, str(target / "state"), config.data.beam_pipeline_args)
    report = target / "report"
    write_data_report(report, report / "report.html", f"Data of {target.name}")
    summary = files.read_json(report / contracts.SUMMARY_FILE)
    emit(
        summary,
        as_json,
        f"{summary['num_images']} images in {target}\nreport: {report / 'report.html'}",
    )
    return 0


@verb(
    "train",
    "  slimworks train --examples examples/ --output model/\n"
    "  slimworks train --examples examples/ --output model/ \\\n"
    "      --set model.net=inception_v3 --set train.checkpoint_path=inception_v3.ckpt\n"
    "  slimworks train --examples examples/ --output rate/ --find-lr\n",
)
@click.option("--examples", required=True, metavar="DIR", help="Output of `slimworks ingest`.")
@_output_option
@_set_option
@click.option(
    "--find-lr",
    is_flag=True,
    help="Train nothing: sweep the learning rate, draw the curve into --output, suggest one.",
)
def train_verb(
    examples: str,
    output: str,
    overrides: tuple[str, ...],
    find_lr: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Train a network on ingested examples and export it."""
    from slimworks.pipeline import training
    from slimworks.pipeline.config import load_config

    config = load_config(None, overrides)
    source = existing(examples, "label_map", "slimworks ingest")
    target = new_output(output)
    tfx_import.load()
    log_to_stderr()
    command = shlex.join(["slimworks", *sys.argv[1:]])
    if find_lr:
        sweep = training.find_learning_rate(source, target, config)
        emit(sweep, as_json, "\n".join(training.sweep_lines(sweep, target, command)))
        return 0
    facts = training.train(source, target, config, command)
    emit(facts, as_json, "\n".join(training.trained_lines(facts, source, target)))
    return 0


@verb("evaluate", "  slimworks evaluate --model model/ --examples examples/ --output evaluation/\n")
@click.option("--model", required=True, metavar="DIR", help="Output of `slimworks train`.")
@click.option("--examples", required=True, metavar="DIR", help="Output of `slimworks ingest`.")
@_output_option
@_set_option
def evaluate_verb(
    model: str,
    examples: str,
    output: str,
    overrides: tuple[str, ...],
    as_json: bool,
    debug: bool,
) -> int:
    """Evaluate a trained model: one prediction for each image, metrics with intervals."""
    from slimworks.components.evaluator.evaluate import evaluate
    from slimworks.components.evaluator.table import format_metrics
    from slimworks.pipeline.config import load_config

    config = load_config(None, overrides)
    model_folder = existing(model, contracts.SAVED_MODEL_FOLDER, "slimworks train")
    source = existing(examples, "label_map", "slimworks ingest")
    target = new_output(output)
    tfx_import.load()
    log_to_stderr()
    with files.new_folder(target) as folder:
        metrics = evaluate(
            str(model_folder),
            str(source / "examples"),
            contracts.LabelMap.read(source / "label_map"),
            str(folder),
            config.evaluate,
        )
    emit(metrics, as_json, f"{format_metrics(metrics)}\n\nwrote {target}")
    return 0


@verb(
    "push",
    "  slimworks push --model model/ --base-path serving/flowers\n"
    "  slimworks push --model model/ --base-path s3://models/flowers --label canary\n",
)
@click.option(
    "--model", required=True, metavar="DIR", help="`slimworks train`'s output or a SavedModel."
)
@click.option(
    "--base-path", required=True, metavar="DIR", help="Folder that the server watches, or s3://."
)
@click.option("--keep", default=5, show_default=True, help="Versions to keep.")
@click.option("--label", type=click.Choice(["stable", "canary"]), default="stable")
@server_options
def push_verb(
    model: str,
    base_path: str,
    keep: int,
    label: str,
    asked: dict[str, Any],
    as_json: bool,
    debug: bool,
) -> int:
    """Publish a model as the next version, without a gate: the ledger says so."""
    from slimworks.components.pusher.promotion import label_map_facts
    from slimworks.components.pusher.release import publish_and_label

    folder = Path(model)
    if (folder / contracts.SAVED_MODEL_FOLDER).is_dir():
        folder = folder / contracts.SAVED_MODEL_FOLDER
    if not (folder / "saved_model.pb").is_file():
        raise DataError(
            f"{model} holds no saved_model.pb.", "Give the output of `slimworks train` or `export`."
        )
    facts: dict[str, Any] = {"verdict": None, "reason": "pushed by hand: slimworks push"}
    facts |= label_map_facts(folder / contracts.EXTRA_ASSETS_FOLDER)
    config = push_settings(keep_versions=keep, label=label, **asked)
    published = publish_and_label(str(folder), base_path, facts=facts, config=config)
    value = {"version": published.version, "pushed_to": published.place}
    if as_json:
        calls = next_steps.ask_commands(base_path, published.version, config.server)
        emit(value | {"call_examples": calls}, True, "")
        return 0
    done = "live already as" if published.already_live else "pushed as"
    emit(value, False, f"{done} version {published.version}: {published.place}")
    say(next_steps.ask_text(base_path, published.version, config.server))
    return 0
