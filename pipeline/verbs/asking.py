"""The verb serve."""

from __future__ import annotations

import os
import sys
from importlib import metadata

import click

import slimworks
from slimworks.components.terminal_text import log_to
from slimworks.pipeline.cli import say


@click.command(
    name="serve",
    short_help="Serve a model folder like TensorFlow Serving, by gRPC and REST.",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def serve_verb(flags: tuple[str, ...]) -> int:
    """Serve a model folder; takes tensorflow_model_server's flags."""
    from slimworks.components.serving.flags import parse_flags, usage

    if "--help" in flags or "-h" in flags:
        click.echo(usage())
        return 0
    if "--version" in flags:
        click.echo(f"SlimWorks: {slimworks.__version__}")
        click.echo(f"TensorFlow Library: {metadata.version('tensorflow')}")
        return 0
    from slimworks.components.serving.server import Addresses, serve

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded
    log_to(sys.stderr, "%(asctime)s %(message)s")
    parsed = parse_flags([flag for flag in flags if flag not in ("--debug", "--json")])

    def announce(at: Addresses) -> None:
        name = parsed.model_config_file or parsed.model_name
        say(f"serving {name} at {at.grpc}" + (f", REST at {at.rest}" if at.rest else ""))
        if parsed.enable_try_page:
            say(f"try it in a browser: http://{at.rest}/")

    return serve(parsed, on_ready=announce)
