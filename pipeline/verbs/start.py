"""Verbs that start something: init, run, compile."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from slimworks.components import files
from slimworks.components.contracts import version_folders
from slimworks.components.errors import ConfigError
from slimworks.pipeline.cli import emit, say, verb

_CONFIG_OPTIONS = (
    click.option(
        "--data",
        metavar="PATH",
        help="Labelled images: class folders, a manifest, TFRecords, a zip or tar archive; a path, "
        "s3://, gs:// or hdfs://; or mnist, cifar10, flowers.",
    ),
    click.option("--config", "config_path", metavar="FILE", help="pipeline.yaml."),
    click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override; wins. Repeatable."
    ),
)


def _config_options(function: Any) -> Any:
    for option in reversed(_CONFIG_OPTIONS):
        function = option(function)
    return function


@verb(
    "run",
    "  slimworks run --data photos/\n"
    "  slimworks run --config pipeline.yaml --set train.epochs=5\n"
    "  slimworks run --data photos/ --until ingest        only check the photos\n"
    "  slimworks run --data photos/ --no-cache=trainer    train again\n",
)
@_config_options
@click.option("--root", default="slimworks-runs", show_default=True, help="Where runs are kept.")
@click.option("--runner", type=click.Choice(["local"]), default="local", show_default=True)
@click.option("--from", "first_step", metavar="STEP", help="Run STEP and what follows anew.")
@click.option("--until", "last_step", metavar="STEP", help="Stop after STEP.")
@click.option(
    "--no-cache", is_flag=False, flag_value="all", metavar="[STEP]", help="Reuse nothing (of STEP)."
)
def run_verb(
    data: str | None,
    config_path: str | None,
    overrides: tuple[str, ...],
    root: str,
    runner: str,
    first_step: str | None,
    last_step: str | None,
    no_cache: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Run the whole pipeline: photos to a pushed model.

    Exit codes: 0 pushed or nothing to do, 2 usage or config, 3 data, 4 training,
    5 serving check, 10 the gate refused, 130 interrupted.
    """
    from slimworks.pipeline.config import load_config
    from slimworks.pipeline.run import RunOptions, run_pipeline

    config = load_config(config_path, overrides, data)
    options = RunOptions(
        root=Path(root),
        first_step=first_step,
        last_step=last_step,
        no_cache=no_cache,
        command=shlex.join(["slimworks", *sys.argv[1:]]),
    )
    outcome = run_pipeline(config, options)
    for line in outcome_lines(outcome):
        say(line)
    if as_json:
        emit(outcome.to_json(), True, "")
    return outcome.exit_code


def outcome_lines(outcome: Any) -> list[str]:
    """What a run came to, in a few lines for people."""
    from slimworks.pipeline.launcher import error_lines

    lines: list[str] = []
    if outcome.error is not None:
        lines += error_lines(outcome.error)
    if outcome.verdict is None:
        lines += outcome.reasons  # nothing to do
    if outcome.gate_table:
        lines += ["", *outcome.gate_table.splitlines(), ""]
    if outcome.metrics.get("accuracy") is not None:
        low, high = outcome.metrics["accuracy_interval"]
        lines.append(
            f"test accuracy: {outcome.metrics['accuracy']:.4f} "
            f"({outcome.metrics['confidence']:.0%} interval {low:.3f} to {high:.3f}, "
            f"{outcome.metrics['num_images']} images)"
        )
    if outcome.version is not None:
        reused = any(s["name"] == "pusher" and s["cached"] for s in outcome.steps)
        verb_text = "already pushed as" if reused else "pushed as"
        lines.append(f"{verb_text} version {outcome.version}: {outcome.pushed_to}")
        live = max(version_folders(Path(str(outcome.pushed_to)).parent), default=None)
        if live != outcome.version:
            lines.append(
                f"not live: version {live} is (slimworks history says why; "
                f"slimworks rollback {outcome.version} --base-path "
                f"{shlex.quote(str(Path(str(outcome.pushed_to)).parent))} serves this one again)"
            )
    lines.append(f"report: {outcome.report or 'could not be written'}")
    lines.append(f"took {outcome.seconds:.1f} s")
    if outcome.version is not None:
        base_path = Path(str(outcome.pushed_to)).parent
        lines.append(f"next: slimworks serve --model_base_path={shlex.quote(str(base_path))}")
    elif outcome.error is None and outcome.verdict is not None:
        lines.append(f"next: slimworks show {outcome.run_id}")
    return lines


@verb(
    "init",
    "  slimworks init --data photos/\n  slimworks init work/ --data photos/\n",
)
@click.argument("directory", default=".", metavar="[DIR]")
@click.option("--data", required=True, metavar="PATH", help="Labelled images.")
@click.option("--force", is_flag=True, help="Replace an existing pipeline.yaml.")
def init_verb(directory: str, data: str, force: bool, as_json: bool, debug: bool) -> int:
    """Write a commented pipeline.yaml for a folder of photos; touch nothing else."""
    from slimworks.components.ingest.config import DataConfig
    from slimworks.components.ingest.listing import check_source
    from slimworks.pipeline.starter import starter_yaml

    source = check_source(data, DataConfig())
    path = Path(directory) / "pipeline.yaml"
    if path.exists() and not force:
        raise ConfigError(f"{path} exists.", "Give another folder, or replace it with --force.")
    try:
        files.write_text(path, starter_yaml(source.location))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", "Give a folder that you may write to."
        ) from None
    emit(
        {"config": str(path), "source": source.location, "format": source.format},
        as_json,
        f"{source.location}: {source.format}\n"
        f"wrote {path}\nnext: slimworks run --config {shlex.quote(str(path))}",
    )
    return 0


@verb(
    "compile",
    "  slimworks compile --config pipeline.yaml --output pipeline.kfp.yaml\n"
    "  slimworks compile --data /workspace/photos --image registry/slimworks:1 \\\n"
    "      --output pipeline.kfp.yaml\n",
)
@_config_options
@click.option("--image", metavar="REF", help="Container image; default: kubeflow.image.")
@click.option("--output", required=True, metavar="FILE", help="Where the YAML goes.")
def compile_verb(
    data: str | None,
    config_path: str | None,
    overrides: tuple[str, ...],
    image: str | None,
    output: str,
    as_json: bool,
    debug: bool,
) -> int:
    """Write the pipeline as Kubeflow Pipelines YAML: one container a step."""
    from slimworks.pipeline.config import load_config
    from slimworks.pipeline.kubeflow import compile_to_kubeflow

    config = load_config(config_path, overrides, data)
    steps = compile_to_kubeflow(config, image or config.kubeflow.image, Path(output))
    emit({"output": output, "steps": steps}, as_json, f"wrote {output}: {', '.join(steps)}")
    return 0
