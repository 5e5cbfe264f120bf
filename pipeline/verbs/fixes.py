"""The verb that turns accepted label errors into corrections."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from slimworks.components.errors import ConfigError
from slimworks.pipeline.cli import emit, say, verb

DEFAULT_FILE = "corrections.csv"


@verb(
    "apply-fixes",
    "  slimworks apply-fixes label_errors.csv                  into ./corrections.csv\n"
    "  slimworks apply-fixes label_errors.csv --config pipeline.yaml\n"
    "  slimworks run --data photos/ --set data.corrections=corrections.csv\n",
)
@click.argument("table", metavar="CSV", type=click.Path())
@click.option(
    "--output", metavar="PATH", help=f"Corrections file that grows; by default {DEFAULT_FILE}."
)
@click.option("--config", "config_path", metavar="FILE", help="Take its data.corrections instead.")
def apply_fixes_verb(
    table: str, output: str | None, config_path: str | None, as_json: bool, debug: bool
) -> int:
    """Add the accepted rows of a label_errors.csv to the corrections that ingest applies.

    Your own files stay as they are: images get their new class by their content.
    """
    from slimworks.components.labels import corrections

    target = _target(output, config_path)
    accepted = corrections.read_accepted(table)
    known = corrections.read_corrections(target) if target.exists() else {}
    changed = {one.image_id: one for one in accepted if known.get(one.image_id) != one}
    for image_id, one in changed.items():
        before = known.get(image_id)
        if before is not None and before.class_name != one.class_name:
            say(f"{one.filename}: {one.class_name} instead of {before.class_name}")
    if changed:
        corrections.write_corrections(target, {**known, **changed})
    value = {
        "corrections": str(target),
        "num_accepted": len(accepted),
        "num_added": len(changed),
        "num_corrections": len({**known, **changed}),
    }
    emit(value, as_json, _text(value, target, has_config=config_path is not None))
    return 0


def _target(output: str | None, config_path: str | None) -> Path:
    if output is not None or config_path is None:
        return Path(output or DEFAULT_FILE).resolve()
    from slimworks.pipeline.config import load_config

    corrections = load_config(config_path).data.corrections
    if corrections is None:
        raise ConfigError(
            f"{config_path} names no corrections file.",
            f"Write into its section data: `corrections: {DEFAULT_FILE}`, or give --output.",
        )
    return Path(corrections).resolve()


def _text(value: dict[str, object], target: Path, *, has_config: bool) -> str:
    if not value["num_accepted"]:
        return "Nothing was accepted: write x into the column accept of the rows that you agree to."
    lines = [f"{value['num_added']} of {value['num_accepted']} accepted rows are new in {target}"]
    if not has_config:
        lines.append(f"next: slimworks run ... --set data.corrections={shlex.quote(str(target))}")
    return "\n".join(lines)
