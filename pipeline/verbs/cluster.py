"""Verbs for Kubeflow: submit, schedule, cancel; `runs` and `show` with --kubeflow."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slimworks.components import files
from slimworks.components.errors import ConfigError
from slimworks.pipeline.cli import emit, say, verb
from slimworks.pipeline.verbs.start import config_options

if TYPE_CHECKING:
    from slimworks.pipeline.config import PipelineConfig
    from slimworks.pipeline.kubeflow.compiling import Compiled
    from slimworks.pipeline.kubeflow.cron import Cron
    from slimworks.pipeline.kubeflow.server import Server

_ACTIONS = ("create", "list", "pause", "resume", "delete")
_SERVER_OPTIONS = (
    click.option("--host", metavar="URL", help="Kubeflow's API; default: kubeflow.host."),
    click.option("--namespace", metavar="NAME", help="Of a multi-user Kubeflow."),
    click.option(
        "--token-file",
        metavar="FILE",
        help="Token. Default: SLIMWORKS_KUBEFLOW_TOKEN or _COOKIE, in a pod its own.",
    ),
)


def server_options(function: Any) -> Any:
    """Adds --host, --namespace and --token-file."""
    for option in reversed(_SERVER_OPTIONS):
        function = option(function)
    return function


def kubeflow_options(function: Any) -> Any:
    """Adds --kubeflow, and the options that name one."""
    function = click.option("--config", "config_path", metavar="FILE", help="pipeline.yaml.")(
        server_options(function)
    )
    flag = click.option("--kubeflow", "is_kubeflow", is_flag=True, help="Ask Kubeflow instead.")
    return flag(function)


def load(
    config_path: str | None,
    overrides: tuple[str, ...],
    data: str | None,
    host: str | None,
    namespace: str | None,
) -> PipelineConfig:
    """The configuration, with the options that name a Kubeflow."""
    from slimworks.pipeline.config import load_config

    given = [("host", host), ("namespace", namespace)]
    named = tuple(f"kubeflow.{key}={value}" for key, value in given if value is not None)
    return load_config(config_path, (*overrides, *named), data)


def connect(config: PipelineConfig, token_file: str | None) -> Server:
    """The API that a configuration names."""
    from slimworks.pipeline.kubeflow.connection import Connection, Credentials
    from slimworks.pipeline.kubeflow.server import Server

    connection = Connection(config.kubeflow, Credentials.find(token_file))
    return Server(config.kubeflow, connection)


@verb(
    "submit",
    "  slimworks submit --config pipeline.yaml --host https://kubeflow.example/pipeline\n"
    "  slimworks submit --config pipeline.yaml --follow        until it ends\n"
    "  slimworks submit --config pipeline.yaml --window 4      the newest four spans only\n"
    "  slimworks submit --config pipeline.yaml --run-name fix1   again: resumes that run\n",
)
@config_options
@server_options
@click.option("--image", metavar="REF", help="Container image; default: kubeflow.image.")
@click.option("--window", type=click.IntRange(min=1), metavar="N", help="Newest spans to use.")
@click.option("--run-name", metavar="NAME", help="Id of the run; one of before is resumed.")
@click.option("--follow", is_flag=True, help="Wait for the end; the exit code says the outcome.")
def submit_verb(
    data: str | None,
    config_path: str | None,
    overrides: tuple[str, ...],
    host: str | None,
    namespace: str | None,
    token_file: str | None,
    image: str | None,
    window: int | None,
    run_name: str | None,
    follow: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Compile, upload and start the pipeline on Kubeflow.

    Exit codes with --follow: those of `slimworks run`.
    """
    config = load(config_path, overrides, data, host, namespace)
    server = connect(config, token_file)
    compiled = _compiled(config, image)
    version = server.upload(compiled)
    parameters = {"window": window, "run_name": run_name}
    given = {key: value for key, value in parameters.items() if value is not None}
    run = server.start(version, compiled.name, given, run_name or "")
    say(f"run {run.run_id} of {compiled.name}, version {version.display_name}: {server.host}")
    if follow:
        return follow_run(server, run.run_id, as_json)
    emit(
        {"run_id": run.run_id, "pipeline": compiled.name, "version": version.display_name},
        as_json,
        f"next: slimworks show --kubeflow --follow {run.run_id}",
    )
    return 0


def follow_run(server: Server, run_id: str, as_json: bool) -> int:
    """Follows a run to its end, prints what it came to, and returns its exit code."""
    from slimworks.pipeline.kubeflow.following import exit_code, follow

    try:
        run = follow(server, run_id, say)
    except KeyboardInterrupt:
        say(f"The run {run_id} goes on. End it: slimworks cancel {run_id}")
        raise
    code = exit_code(run)
    emit({**run_json(run), "exit_code": code}, as_json, f"{run_id}: {str(run.state).lower()}")
    return code


def _compiled(config: PipelineConfig, image: str | None) -> Compiled:
    from slimworks.pipeline.kubeflow.compiling import compile_text

    return compile_text(config, image or config.kubeflow.image)


@verb(
    "schedule",
    '  slimworks schedule --config pipeline.yaml --cron "30 3 * * mon"   Mondays at 03:30 UTC\n'
    '  slimworks schedule --config pipeline.yaml --cron "@daily" --window 7\n'
    "  slimworks schedule list\n"
    "  slimworks schedule pause flowers        also: resume, delete\n"
    '  slimworks schedule --cron "@daily" --config pipeline.yaml --output cronjob.yaml\n'
    "                                          a Kubernetes CronJob, without Kubeflow\n",
)
@click.argument("action", type=click.Choice(_ACTIONS), default="create")
@click.argument("schedule_name", required=False, metavar="[NAME]")
@config_options
@server_options
@click.option("--cron", metavar="FIELDS", help="minute hour day month weekday, in UTC.")
@click.option("--name", metavar="NAME", help="Of the schedule; default: the pipeline's.")
@click.option("--image", metavar="REF", help="Container image; default: kubeflow.image.")
@click.option("--window", type=click.IntRange(min=1), metavar="N", help="Newest spans to use.")
@click.option("--output", metavar="FILE", help="Write a Kubernetes CronJob instead.")
def schedule_verb(
    action: str,
    schedule_name: str | None,
    data: str | None,
    config_path: str | None,
    overrides: tuple[str, ...],
    host: str | None,
    namespace: str | None,
    token_file: str | None,
    cron: str | None,
    name: str | None,
    image: str | None,
    window: int | None,
    output: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Run the pipeline by the clock: at most one run at a time, no catching up."""
    if window is not None and output is not None:
        overrides = (*overrides, f"data.window={window}")
    config = load(config_path, overrides, data, host, namespace)
    if action != "create":
        return _manage(action, schedule_name, connect(config, token_file), as_json)
    if cron is None:
        raise ConfigError(
            "No time: --cron is not given.", 'Give five fields in UTC: --cron "30 3 * * mon".'
        )
    from slimworks.pipeline.kubeflow.cron import parse_cron

    parsed = parse_cron(cron)
    if output is not None:
        from slimworks.pipeline.kubeflow.cronjob import cronjob_yaml

        text = cronjob_yaml(config, image or config.kubeflow.image, parsed)
        files.write_text(Path(output), text)
        emit(
            {"output": output, **_times(parsed)}, as_json,
            "\n".join([f"wrote {output}", *_time_lines(parsed)]),
        )  # fmt: skip
        return 0
    server = connect(config, token_file)
    compiled = _compiled(config, image)
    parameters = {} if window is None else {"window": window}
    made = server.create_schedule(
        server.upload(compiled), compiled.name, parsed, parameters, name or schedule_name or ""
    )
    lines = [f"schedule {made.display_name} ({made.recurring_run_id}):", *_time_lines(parsed)]
    emit(schedule_json(made), as_json, "\n".join(lines))
    return 0


def _manage(action: str, name: str | None, server: Server, as_json: bool) -> int:
    if action == "list":
        schedules = [schedule_json(schedule) for schedule in server.schedules()]
        emit({"schedules": schedules}, as_json, _schedule_table(schedules))
        return 0
    if name is None:
        raise ConfigError(
            f"`schedule {action}` names no schedule.",
            f"slimworks schedule {action} NAME; list them: slimworks schedule list",
        )
    act = {
        "pause": server.pause_schedule,
        "resume": server.resume_schedule,
        "delete": server.delete_schedule,
    }[action]
    found = act(name)
    done = {"pause": "paused", "resume": "resumed", "delete": "deleted"}[action]
    emit(
        {"name": found.display_name, "id": found.recurring_run_id, "action": action},
        as_json,
        f"{done} {found.display_name} ({found.recurring_run_id})",
    )
    return 0


def _schedule_table(schedules: list[dict[str, Any]]) -> str:
    if not schedules:
        return "No schedules."
    lines = [f"{'schedule':<24}{'state':<10}{'next (UTC)':<18}when"]
    for schedule in schedules:
        following = schedule["next"][0][:16].replace("T", " ") if schedule["next"] else "-"
        lines.append(
            f"{schedule['name']:<24}{schedule['state']:<10}{following:<18}"
            f"{schedule['words'] or schedule['cron']}"
        )
    return "\n".join(lines)


def schedule_json(schedule: Any) -> dict[str, Any]:
    """A schedule as JSON; words and next times only where the cron is one that we made."""
    from slimworks.pipeline.kubeflow.cron import parse_cron

    trigger = schedule.trigger and schedule.trigger.cron_schedule
    six_fields = str(trigger.cron) if trigger else ""
    is_enabled = str(schedule.status or "ENABLED") == "ENABLED"
    value = {
        "name": schedule.display_name,
        "id": schedule.recurring_run_id,
        "state": "enabled" if is_enabled else "paused",
        "cron": six_fields,
        "words": "",
        "next": [],
    }
    second, _, five_fields = six_fields.partition(" ")
    if second != "0":
        return value
    try:
        times = _times(parse_cron(five_fields))
    except ConfigError:  # somebody else's schedule, in another dialect
        return value
    return {**value, **times, "next": times["next"] if is_enabled else []}


def _times(cron: Cron) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.timezone.utc)
    return {"words": cron.words(), "next": [time.isoformat() for time in cron.next_times(now)]}


def _time_lines(cron: Cron) -> list[str]:
    now = datetime.datetime.now(datetime.timezone.utc)
    times = [f"{time:%a %Y-%m-%d %H:%M} UTC" for time in cron.next_times(now)]
    return [cron.words(), f"next: {', '.join(times)}"]


@verb("cancel", "  slimworks cancel RUN --host https://kubeflow.example/pipeline\n")
@click.argument("run_id", metavar="RUN")
@click.option("--config", "config_path", metavar="FILE", help="pipeline.yaml.")
@server_options
def cancel_verb(
    run_id: str,
    config_path: str | None,
    host: str | None,
    namespace: str | None,
    token_file: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """End a run on Kubeflow; `submit --run-name` resumes it where it has a name."""
    server = connect(load(config_path, (), None, host, namespace), token_file)
    server.cancel(run_id)
    emit({"run_id": run_id, "action": "cancel"}, as_json, f"canceled {run_id}")
    return 0


def list_runs(server: Server, as_json: bool, limit: int = 20) -> int:
    """`runs --kubeflow`."""
    records = [run_json(run) for run in server.runs(limit)]
    lines = [f"{'run':<38}{'pipeline':<24}{'state':<11}started (UTC)"]
    for record in records:
        started = (record["created_at"] or "")[:16].replace("T", " ")
        lines.append(f"{record['run_id']:<38}{record['name']:<24}{record['state']:<11}{started}")
    emit({"runs": records}, as_json, "\n".join(lines) if records else "No runs.")
    return 0


def newest_run(server: Server) -> str:
    """Id of the newest run. Raises ConfigError where there is none."""
    runs = server.runs(1)
    if not runs:
        raise ConfigError(f"{server.host} has no run.", "Start one: slimworks submit")
    return str(runs[0].run_id)


def show_run(server: Server, run_id: str, as_json: bool) -> int:
    """`show --kubeflow`."""
    from slimworks.pipeline.kubeflow.following import step_line, steps_of

    run = server.run(run_id)
    lines = [f"run {run.run_id} of {run.display_name}: {str(run.state).lower()}"]
    lines += [step_line(step) for step in steps_of(run)]
    if run.error is not None and run.error.message:
        lines.append(f"Error: {run.error.message}")
    emit(run_json(run), as_json, "\n".join(lines))
    return 0


def run_json(run: Any) -> dict[str, Any]:
    """A run of Kubeflow as JSON."""
    import dataclasses

    from slimworks.pipeline.kubeflow.following import steps_of

    return {
        "run_id": run.run_id,
        "name": run.display_name,
        "state": str(run.state).lower(),
        "created_at": run.created_at and run.created_at.isoformat(),
        "steps": [dataclasses.asdict(step) for step in steps_of(run)],
    }
