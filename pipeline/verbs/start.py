"""Verbs that start something: init, run, compile."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from slimworks.components import files
from slimworks.components.errors import ConfigError
from slimworks.pipeline import next_steps
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


def config_options(function: Any) -> Any:
    """Adds --data, --config and --set."""
    for option in reversed(_CONFIG_OPTIONS):
        function = option(function)
    return function


@verb(
    "run",
    "  slimworks run --data photos/\n"
    "  slimworks run --config pipeline.yaml --set train.epochs=5\n"
    "  slimworks run --data photos/ --budget 10m          end in ten minutes\n"
    "  slimworks run --data photos/ --until ingest        only check the photos\n"
    "  slimworks run --data photos/ --no-cache=trainer    train again\n"
    "  slimworks run --data photos/ --runner containers   as on Kubeflow, by podman\n",
)
@config_options
@click.option("--root", default="slimworks-runs", show_default=True, help="Where runs are kept.")
@click.option(
    "--runner",
    type=click.Choice(["local", "containers"]),
    default="local",
    show_default=True,
    help="containers: each step of the compiled pipeline in podman or docker.",
)
@click.option("--image", metavar="REF", help="Of the containers; default: kubeflow.image.")
@click.option("--from", "first_step", metavar="STEP", help="Run STEP and what follows anew.")
@click.option("--until", "last_step", metavar="STEP", help="Stop after STEP.")
@click.option(
    "--no-cache", is_flag=False, flag_value="all", metavar="[STEP]", help="Reuse nothing (of STEP)."
)
@click.option(
    "--force", metavar="REASON", help="Push past a refusal of the gate; the ledger keeps why."
)
@click.option(
    "--budget", metavar="TIME", help="Wall time of the whole run (10m, 1h30m): trains what fits."
)
def run_verb(
    data: str | None,
    config_path: str | None,
    overrides: tuple[str, ...],
    root: str,
    runner: str,
    image: str | None,
    first_step: str | None,
    last_step: str | None,
    no_cache: str | None,
    force: str | None,
    budget: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Run the whole pipeline: photos to a pushed model.

    Exit codes: 0 pushed or nothing to do, 2 usage or config, 3 data, 4 training,
    5 serving check, 10 the gate refused, 130 interrupted.
    """
    from slimworks.pipeline.budget import parse_duration
    from slimworks.pipeline.config import load_config
    from slimworks.pipeline.run import RunOptions, run_pipeline

    config = load_config(config_path, overrides, data)
    options = RunOptions(
        root=Path(root),
        first_step=first_step,
        last_step=last_step,
        no_cache=no_cache,
        budget_seconds=None if budget is None else parse_duration(budget),
        command=shlex.join(["slimworks", *sys.argv[1:]]),
        force=force,
        runner=runner,
        image=image,
    )
    outcome = run_pipeline(config, options)
    for line in outcome_lines(outcome):
        say(line)
    asked = pushed_place(outcome)
    if as_json:
        servers = config.push.server
        calls = None if asked is None else next_steps.ask_commands(*asked, servers)
        emit(outcome.to_json() | {"call_examples": calls}, True, "")
    elif asked is not None:
        say(next_steps.ask_text(*asked, config.push.server))
    return outcome.exit_code


def pushed_place(outcome: Any) -> tuple[str, int | None] | None:
    """Base path of what a run pushed, and its version where that is the live one."""
    if outcome.version is None:
        return None
    base_path = _base_path(outcome)
    return base_path, outcome.version if outcome.version == _live_version(base_path) else None


def _base_path(outcome: Any) -> str:
    return str(outcome.pushed_to).rpartition("/")[0]


def _live_version(base_path: str) -> int | None:
    from slimworks.components.pusher.destination import open_destination

    return max(open_destination(base_path).versions(), default=None)


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
        live = _live_version(_base_path(outcome))
        if live != outcome.version:
            lines.append(
                f"not live: version {live} is (slimworks history says why; "
                f"slimworks rollback {outcome.version} --base-path "
                f"{shlex.quote(_base_path(outcome))} serves this one again)"
            )
    lines.append(f"report: {outcome.report or 'could not be written'}")
    if outcome.model is not None:
        lines.append(f"model: {outcome.model}")
        lines.append(f"curves: tensorboard --logdir {shlex.quote(outcome.model)}/logs")
        lines.append(f"manifest: {outcome.manifest} (slimworks verify makes the model again)")
    lines.append(f"took {outcome.seconds:.1f} s")
    if outcome.version is None and outcome.error is None and outcome.verdict is not None:
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
@config_options
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
    from slimworks.pipeline.kubeflow.compiling import compile_to_kubeflow

    config = load_config(config_path, overrides, data)
    steps = compile_to_kubeflow(config, image or config.kubeflow.image, Path(output))
    emit({"output": output, "steps": steps}, as_json, f"wrote {output}: {', '.join(steps)}")
    return 0
