"""The command line: verbs loaded when used, errors as two lines, exit codes by outcome."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import re
import signal
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import click

from slimworks import __version__
from slimworks.components.addresses import holds_account
from slimworks.components.errors import (
    EXIT_CRASH,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    ConfigError,
    Interrupted,
    SlimWorksError,
    nearest,
)
from slimworks.components.terminal_text import shown, shown_json

# verb -> (module below slimworks.pipeline.verbs, one line of help). Listing them here keeps
# `slimworks --help` from importing any of them.
VERBS: dict[str, tuple[str, str]] = {
    "init": ("start", "Write a commented pipeline.yaml for a folder of photos."),
    "run": ("start", "Run the whole pipeline: photos to a pushed model."),
    "ingest": ("steps", "Check photos and write split TFRecords."),
    "train": ("steps", "Train a network on ingested examples."),
    "evaluate": ("steps", "Evaluate a trained model on the test split."),
    "export": ("exports", "Write a SavedModel, TensorFlow Lite or ONNX model of a checkpoint."),
    "freeze": ("exports", "Write a checkpoint's frozen graph under TF-Slim's names."),
    "push": ("steps", "Publish a model as the next version of a serving folder."),
    "compile": ("start", "Write the pipeline as Kubeflow Pipelines YAML."),
    "submit": ("cluster", "Compile, upload and start the pipeline on Kubeflow."),
    "schedule": ("cluster", "Run the pipeline by the clock, on Kubeflow or by a CronJob."),
    "cancel": ("cluster", "End a run on Kubeflow."),
    "runs": ("runs", "List runs with verdict and accuracy."),
    "show": ("runs", "Show a run: steps, metrics, verdict, why each step ran."),
    "verify": ("verifying", "Train a run again and compare the weights."),
    "report": ("runs", "Print (or open) the HTML report of a run, or of all runs."),
    "apply-fixes": ("fixes", "Correct classes by the accepted rows of a label_errors.csv."),
    "card": ("cards", "Print the model card or data card of a pushed version."),
    "serve": ("asking", "Serve a model folder like TensorFlow Serving, by gRPC and REST."),
    "predict": ("predicting", "Classify images through a server, without TensorFlow."),
    "drift": ("drifting", "Compare logged requests with what the model was trained on."),
    "shadow": ("shadowing", "Compare a second version on logged or live requests."),
    "history": ("promotions", "List what was pushed and rolled back."),
    "promote": ("promotions", "Make the canary, or another version, stable."),
    "rollback": ("promotions", "Serve an earlier version again."),
    "why": ("promotions", "Say why a version is in production."),
    "nets": ("tools", "List networks, or one network's end points and variables."),
    "doctor": ("tools", "Check versions, disk, ports and permissions."),
    "completion": ("completing", "Print what completes verbs and options in a shell."),
}

_OPTION = re.compile(r"[\w.-]+")  # or a key; nothing that could be a part of an address
# Of a line that follows and is not set in already: no name may write a line "Error:" or "Fix:".
_LINE_START, _SET_IN = re.compile(r"\n(?=\S)"), "\n    "
_INSTALL = "pip install 'slimworks[pipeline]' (for predict alone: 'slimworks[client]')"

EXAMPLES = """\
Examples:
  slimworks run --data photos/                 folders of photos -> a pushed model
  slimworks run --data photos/ --set model.net=mobilenet_v1_025 \\
      --set train.checkpoint_path=mobilenet_v1_0.25_128.ckpt
  slimworks serve --model_base_path=slimworks-runs/photos/serving/photos
  slimworks predict cat.jpg --server 127.0.0.1:8500
  slimworks runs                               what happened, with verdicts
  slimworks rollback                           the version before, in one line
"""


class _VerbGroup(click.Group):
    """Loads a verb's module when the verb is used; suggests the nearest one when unknown."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = importlib.import_module(f"slimworks.pipeline.verbs.{VERBS[name][0]}")
        command: click.Command = getattr(module, f"{name.replace('-', '_')}_verb")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"Unknown verb {args[0]!r}.{nearest(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(EXAMPLES + "\n")
        formatter.write("Usage: slimworks VERB [OPTIONS]\n\nVerbs:\n")
        for name, (_, text) in VERBS.items():
            formatter.write(f"  {name:<12} {text}\n")
        formatter.write(
            "\nOptions:\n"
            "  --version  Print the version.\n"
            "  --help     This page; `slimworks VERB --help` for one verb.\n\n"
            "Every verb takes --json (one JSON object on stdout) and --debug (tracebacks).\n"
        )


@click.group(cls=_VerbGroup, invoke_without_command=True)
@click.version_option(__version__, prog_name="slimworks")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """SlimWorks."""
    if ctx.invoked_subcommand is None:
        click.echo(
            "SlimWorks retrains image classifiers and puts the good ones into production.\n\n"
            f"{EXAMPLES}\nAll verbs: slimworks --help"
        )


def verb(name: str, examples: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Makes a function a verb: examples first in its help, `--json` and `--debug` added."""

    class _Command(click.Command):
        def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
            formatter.write(f"Examples:\n{examples.rstrip()}\n\n")
            super().format_help(ctx, formatter)

    def decorate(function: Callable[..., Any]) -> click.Command:
        function = click.option("--debug", is_flag=True, help="Show tracebacks.")(function)
        function = click.option(
            "--json", "as_json", is_flag=True, help="Print one JSON object on stdout."
        )(function)
        return click.command(name=name, cls=_Command, short_help=VERBS[name][1])(function)

    return decorate


def emit(value: dict[str, Any], as_json: bool, text: str) -> None:
    """Prints a verb's result on stdout: one JSON object, or the text for people."""
    if as_json:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    click.echo(shown_json(text) if as_json else shown(text))


def say(line: str) -> None:
    """Prints a line for people on stderr."""
    click.echo(shown(line), err=True)


def _fail(
    cause: str,
    fix: str,
    exit_code: int,
    as_json: bool,
    details: str = "",
    facts: Mapping[str, Any] = types.MappingProxyType({}),
) -> NoReturn:
    if as_json:
        error: dict[str, Any] = {"cause": cause, "fix": fix, "exit_code": exit_code, **facts}
        if details:
            error["details"] = details.splitlines()
        click.echo(shown_json(json.dumps({"error": error}, ensure_ascii=False)))
    say(f"Error: {_LINE_START.sub(_SET_IN, cause)}")
    if details:
        say(details)
    say(f"Fix:   {_LINE_START.sub(_SET_IN, fix)}")
    _exit(exit_code)


def _exit(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    if "tensorflow" in sys.modules:
        os._exit(code)  # its thread pools need not be waited for
    sys.exit(code)


def _is_ours(error: ModuleNotFoundError) -> bool:
    return (error.name or "").partition(".")[0] == "slimworks"


def _refuse_accounts(arguments: Sequence[str]) -> None:
    """No verb takes a password: manifests, ledgers and logs keep addresses and command lines.

    Raises:
        ConfigError: Where the address stands, not what it is.
    """
    for previous, argument in itertools.pairwise(["", *arguments]):
        if not holds_account(argument):
            continue
        option, is_assigned, _ = argument.partition("=")
        named = [previous] if previous.startswith("-") else []
        if is_assigned and _OPTION.fullmatch(option):
            named.append(option)
        raise ConfigError(
            f"{' '.join(named) or 'An argument'} holds an account: there is a 'user:password@' in "
            "its address.",
            "Take it out, also of the shell's history. Credentials come from the environment or "
            "the machine's own: docs/storage.md.",
        )


def _terminate(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs the command line and ends the process with the documented exit code."""
    if os.getpid() == 1:  # in a container: the kernel keeps from it what it does not handle
        signal.signal(signal.SIGTERM, _terminate)
    arguments = sys.argv[1:] if arguments is None else arguments
    debug, as_json = "--debug" in arguments, "--json" in arguments
    try:
        _refuse_accounts(arguments)
        code = cli.main(arguments, prog_name="slimworks", standalone_mode=False)
        _exit(code if isinstance(code, int) else 0)
    except SlimWorksError as error:
        if debug:
            traceback.print_exc()
        _fail(error.cause, error.fix, error.exit_code, as_json, error.details)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "slimworks"
        _fail(error.format_message(), f"See {command} --help.", 2, as_json)
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        if isinstance(known := error.__cause__, Interrupted):  # click's Abort comes from it
            _fail(known.cause, known.fix, EXIT_INTERRUPTED, as_json, facts=known.facts)
        _fail("Interrupted.", "Run the same command again: it goes on.", EXIT_INTERRUPTED, as_json)
    except BrokenPipeError:
        os._exit(EXIT_CRASH)  # whoever read our output is gone: nothing to say, nobody to say it to
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, ModuleNotFoundError) and not _is_ours(error):
            cause = f"{error.name} is not installed: this verb needs more than is there."
            _fail(cause, _INSTALL, EXIT_USAGE, as_json)
        from slimworks.pipeline.launcher import describe_fault

        fault = describe_fault(error)
        _fail(fault["cause"], fault["fix"], fault["exit_code"], as_json, fault.get("details", ""))
