"""The verb `shadow`: what would another version have answered?"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slimworks.components.errors import EXIT_REFUSED, ConfigError
from slimworks.pipeline.cli import emit, say, verb

if TYPE_CHECKING:
    from slimworks.components.shadow.shadow import Place, Report


@verb(
    "shadow",
    "  slimworks shadow --log logs/photos --candidate models/new            the log's own answers\n"
    "  slimworks shadow --log logs/photos --primary host:8500 --candidate host:8500 \\\n"
    "      --candidate-label canary --min-agreement 0.95\n"
    "  slimworks shadow --listen 8510 --primary host:8500 --candidate models/new --seconds 3600\n",
)
@click.option("--log", metavar="PREFIX", help="Request log: its prefix, folder or a file.")
@click.option("--listen", metavar="[HOST:]PORT", help="Forward clients from here to --primary.")
@click.option("--primary", metavar="PLACE", help="HOST:PORT or folder of the model that serves.")
@click.option("--primary-version", type=int, help="Its version; default: as asked.")
@click.option("--candidate", metavar="PLACE", help="HOST:PORT or folder; default: --primary.")
@click.option("--candidate-version", type=int, help="Its version.")
@click.option("--candidate-label", help="Label of its version, such as canary.")
@click.option("--candidate-model-name", help="Its name there; default: as asked.")
@click.option(
    "--max-requests", type=click.IntRange(min=1), help="Default: 1,000 of a log, all of a port."
)
@click.option("--seconds", "max_seconds", type=float, help="With --listen: end after so long.")
@click.option(
    "--sampling-rate", default=1.0, show_default=True, type=click.FloatRange(0, 1),
    help="With --listen: fraction of the requests that the candidate gets.",
)  # fmt: skip
@click.option(
    "--request-log", metavar="PREFIX", help="With --listen: log what the primary answered."
)
@click.option("--timeout", "timeout_seconds", default=30.0, show_default=True)
@click.option("--min-agreement", type=click.FloatRange(0, 1), help="Exit code 10 below it.")
@click.option("--max-latency-ratio", type=float, help="Exit code 10 above it (p99).")
@click.option("--output", default="shadow", show_default=True, help="Folder of the report.")
def shadow_verb(as_json: bool, debug: bool, output: str, **options: Any) -> int:
    """Ask a second version what clients asked the first, and compare the answers."""
    _check(options)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded
    from slimworks.components.serving import light_tensorflow

    light_tensorflow.install()  # messages only: the models run in processes of their own
    report = _of_log(options, output) if options["log"] else _of_port(options, output)
    refusals = _refusals(report, options)
    value = {
        **report.result.to_json(), **report.facts, "refusals": refusals,
        "report": str(report.folder / "shadow.html"),
    }  # fmt: skip
    emit(value, as_json, "\n".join([*_lines(report), *refusals]))
    return EXIT_REFUSED if refusals else 0


def _check(options: dict[str, Any]) -> None:
    if bool(options["log"]) == bool(options["listen"]):
        raise ConfigError(
            "shadow needs requests: either --log or --listen.",
            "Give --log PREFIX of a request log, or --listen PORT to stand in front of --primary.",
        )
    if options["listen"] and not options["primary"]:
        raise ConfigError(
            "--listen has nobody to forward to.", "Give --primary HOST:PORT of the server."
        )
    has_choice = options["candidate_version"] is not None or options["candidate_label"]
    is_of_primary = options["primary"] and has_choice
    logs_only = options["listen"] and options["request_log"]
    if not (options["candidate"] or is_of_primary or logs_only):
        raise ConfigError(
            "There is no candidate to compare with.",
            "Give --candidate HOST:PORT or a folder, or --primary and --candidate-version.",
        )
    if options["candidate_version"] is not None and options["candidate_label"]:
        raise ConfigError(
            "--candidate-version and --candidate-label name two things.", "Give one of the two."
        )


def _candidate(options: dict[str, Any]) -> Place | None:
    from slimworks.components.shadow.shadow import Place
    from slimworks.components.shadow.sides import ModelChoice

    choice = ModelChoice(
        options["candidate_model_name"], options["candidate_version"], options["candidate_label"]
    )
    place = options["candidate"] or (options["primary"] if choice != ModelChoice() else None)
    return place and Place(place, choice)


def _of_log(options: dict[str, Any], output: str) -> Report:
    from slimworks.components.shadow.shadow import Place, shadow_of_log
    from slimworks.components.shadow.sides import ModelChoice

    candidate = _candidate(options)
    assert candidate is not None  # by _check
    choice = ModelChoice(version=options["primary_version"])
    return shadow_of_log(
        options["log"],
        candidate,
        Place(options["primary"], choice) if options["primary"] else None,
        output,
        max_requests=options["max_requests"] or 1_000,
        timeout_seconds=options["timeout_seconds"],
    )


def _of_port(options: dict[str, Any], output: str) -> Report:
    from slimworks.components.shadow.mirror import Mirror
    from slimworks.components.shadow.shadow import picture_uri, shadow_of_port
    from slimworks.components.shadow.sides import check_address, opened_side
    from slimworks.components.shadow.tally import Tally

    listen = options["listen"] if ":" in options["listen"] else f"127.0.0.1:{options['listen']}"
    check_address(listen)
    check_address(options["primary"])
    tally, candidate = Tally(picture_uri), _candidate(options)
    with contextlib.ExitStack() as stack:
        side = candidate and stack.enter_context(
            opened_side(candidate.place, candidate.choice, options["timeout_seconds"])
        )
        log = stack.enter_context(_request_log(options["request_log"]))
        mirror = stack.enter_context(
            Mirror(
                listen, options["primary"], side or None, tally,
                sampling_rate=options["sampling_rate"], log=log,
            )
        )  # fmt: skip
        facts = {
            "listen": mirror.address,
            "primary": {"address": options["primary"], "digest": None},
            "candidate": side and side.to_json(),
        }
        stop = stack.enter_context(_stop_signals())
        say(f"forwarding {mirror.address} to {options['primary']}; Ctrl-C ends")
        return shadow_of_port(
            mirror, tally, facts, output, stop,
            max_requests=options["max_requests"], max_seconds=options["max_seconds"],
            report_seconds=60.0,
        )  # fmt: skip


@contextlib.contextmanager
def _request_log(prefix: str | None) -> Iterator[Any]:
    from slimworks.components.serving.metrics import Metrics
    from slimworks.components.serving.request_log import LogLimits, LogSettings, RequestLog

    if prefix is None:
        yield None
        return
    try:
        log = RequestLog(LogSettings(os.path.abspath(prefix), 1.0), LogLimits(), Metrics())
    except OSError as error:
        raise ConfigError(
            f"Cannot log requests to {prefix}: {error.strerror}.",
            "Give --request-log a folder to write to.",
        ) from error
    try:
        yield log
    finally:
        log.close()


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM are how a mirror ends, with its report."""
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refusals(report: Report, options: dict[str, Any]) -> list[str]:
    found, result = [], report.result
    wanted, ratio = options["min_agreement"], options["max_latency_ratio"]
    if wanted is not None and (result.agreement is None or result.agreement < wanted):
        found.append(f"Refused: agreement is {_figure(result.agreement)}, expected {wanted:g}.")
    if ratio is not None and (result.latency_ratio is None or result.latency_ratio > ratio):
        shown = _figure(result.latency_ratio)
        found.append(f"Refused: latency p99 is {shown} times the primary's, at most {ratio:g}.")
    return found


def _lines(report: Report) -> list[str]:
    result = report.result
    lines = [
        f"{result.num_agreeing:,} of {result.num_images:,} images got the same best class "
        f"({_figure(result.agreement)}), in {result.num_requests:,} requests",
        "probabilities differ by "
        + (", ".join(f"{k} {v:.4f}" for k, v in result.differences.items()) or "nothing known"),
    ]
    for side, figures in result.latency_ms.items():
        shown = ", ".join(f"{rank} {value:.1f} ms" for rank, value in figures.items())
        errors = ", ".join(f"{count} {code}" for code, count in result.errors[side].items())
        lines.append(f"{side}: latency {shown or 'not measured'}; errors: {errors or 'none'}")
    lines.append(
        f"not compared: {result.num_dropped:,} dropped, {result.num_skipped:,} skipped, "
        f"{result.num_damaged:,} damaged"
    )
    return [*lines, f"report: {Path(report.folder) / 'shadow.html'}"]


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
