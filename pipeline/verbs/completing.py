"""Shell completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from slimworks.pipeline.cli import cli, emit, verb

SHELLS = ("bash", "zsh", "fish")


@verb(
    "completion",
    "  slimworks completion bash >> ~/.bashrc\n"
    "  slimworks completion zsh >> ~/.zshrc\n"
    "  slimworks completion fish > ~/.config/fish/completions/slimworks.fish\n",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion_verb(shell: str, as_json: bool, debug: bool) -> int:
    """Print what makes TAB complete verbs and options in a shell."""
    made = get_completion_class(shell)
    assert made is not None
    script = made(cli, {}, "slimworks", "_SLIMWORKS_COMPLETE").source()
    emit({"shell": shell, "script": script}, as_json, script)
    return 0
