"""The verb that prints the cards of a version."""

from __future__ import annotations

import click

from slimworks.components import contracts
from slimworks.components.errors import ConfigError
from slimworks.pipeline.cli import emit, verb
from slimworks.pipeline.verbs.promotions import find_base_path, place_options


@verb("card", "  slimworks card 3                  the model card\n  slimworks card 3 --data\n")
@click.argument("version", type=int)
@place_options
@click.option("--data", "is_data", is_flag=True, help="The data card instead.")
def card_verb(
    version: int, base_path: str | None, root: str, is_data: bool, as_json: bool, debug: bool
) -> int:
    """Print what a version is, what it was made from and how well it does, in Markdown."""
    from slimworks.components.pusher.destination import open_destination
    from slimworks.components.pusher.ledger import reason_of
    from slimworks.components.report.cards import DATA_CARD, MODEL_CARD

    place = find_base_path(base_path, root)
    destination = open_destination(place)
    entry = reason_of(destination.history(), version, place)
    # A rollback publishes an earlier version again, under a number of its own.
    made = version if entry.to_version is None else entry.to_version
    name = f"{contracts.CARDS_FOLDER}/{made}/{DATA_CARD if is_data else MODEL_CARD}"
    path = f"{place.rstrip('/')}/{contracts.LEDGER_FOLDER}/{name}"
    content = destination.read_state(name)
    if content is None:
        raise ConfigError(
            f"Version {version} has no card: {path} does not exist.",
            "Cards are written by `slimworks run`; `slimworks why` says what else is known.",
        )
    text = content.decode()
    emit({"version": version, "card": path, "text": text}, as_json, text.rstrip())
    return 0
