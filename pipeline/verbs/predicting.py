"""The verb predict."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from slimworks.components import files
from slimworks.components.errors import EXIT_DATA, ConfigError, SlimWorksError
from slimworks.components.serving.image_sources import MAX_IMAGE_BYTES
from slimworks.components.terminal_text import shown, shown_json
from slimworks.pipeline.cli import emit, say, verb
from slimworks.pipeline.prediction_formats import FORMATS, formatted, row_of
from slimworks.pipeline.verbs.connecting import connection_options

if TYPE_CHECKING:
    from slimworks.components.serving.answers import Answer
    from slimworks.components.serving.client import Client


@verb(
    "predict",
    "  slimworks predict cat.jpg dog.png\n"
    "  slimworks predict photos/ --server 127.0.0.1:8500 --model-name flowers --top-k 3\n"
    "  slimworks predict https://example.com/cat.jpg --label canary\n"
    "  slimworks predict - < cat.jpg\n"
    "  slimworks predict 'photos/**/*.jpg' --output answers.csv --concurrency 4\n"
    "  find photos -newer last -name '*.jpg' | slimworks predict --from-file - --format jsonl\n",
)
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option(
    "--from-file",
    "list_file",
    metavar="FILE",
    help="Also the images that FILE names, one path or URL a line; - is stdin.",
)
@connection_options
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Classes to print for each image; the model gives no more than it was exported with.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Images in a request.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Requests under way at once.",
)
@click.option(
    "--max-image-bytes",
    type=click.IntRange(min=1),
    default=MAX_IMAGE_BYTES,
    show_default=True,
    help="Larger images are not read.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    help="Default: by the suffix of --output, else a table.",
)
@click.option("--output", metavar="FILE", help="Write there, once all is answered.")  # fmt: skip
def predict_verb(
    images: tuple[str, ...],
    list_file: str | None,
    connect: Callable[[], Client],
    top_k: int,
    batch_size: int,
    concurrency: int,
    max_image_bytes: int,
    format_name: str | None,
    output: str | None,
    as_json: bool,
    debug: bool,
) -> int:
    """Classify images through any TensorFlow Serving-compatible server.

    IMAGE is a file, a folder, a quoted pattern, an http(s) address, or - for an image on stdin.
    Exit code 3: one of them could not be classified; the others were.
    """
    from slimworks.pipeline.image_arguments import image_sources

    chosen = _format(format_name, output, as_json)
    tally = _Tally()
    with connect() as client:
        answers = client.predict_each(
            image_sources(images, list_file),
            top_k=top_k,
            batch_size=batch_size,
            concurrency=concurrency,
            max_image_bytes=max_image_bytes,
        )
        width = _terminal_width() if output is None else None
        texts = formatted(chosen, tally.rows(answers), top_k, width)
        failed = _write(texts, chosen, output, as_json)
    if failed is not None:
        return failed
    return _conclude(tally, output, as_json)


class _Tally:
    """Counts rows on their way through."""

    def __init__(self) -> None:
        self.num_images = 0
        self.num_errors = 0

    def rows(self, answers: Iterable[Answer]) -> Iterator[dict[str, Any]]:
        for answer in answers:
            self.num_images += 1
            self.num_errors += answer.error is not None
            yield row_of(answer)


def _format(format_name: str | None, output: str | None, as_json: bool) -> str:
    if as_json and output is None:
        if format_name not in (None, "json"):
            raise ConfigError(
                f"--json and --format {format_name} exclude each other.",
                "Leave one of them out, or write the rows to a file with --output.",
            )
        return "json"
    suffix = Path(output).suffix[1:].lower() if output else ""
    return format_name or (suffix if suffix in FORMATS else "table")


def _write(texts: Iterator[str], format_name: str, output: str | None, as_json: bool) -> int | None:
    """Writes as it comes; the exit code of a failure that is told already, else None."""
    # What is no UTF-8 in a file's name: an escape in JSON, elsewhere the bytes that it was.
    errors = "backslashreplace" if format_name.startswith("json") else "surrogateescape"
    is_started = False
    try:
        with _opened(output) as stream:
            for text in texts:
                if output is None and sys.stdout.isatty():  # a name in it moves no cursor
                    text = shown_json(text) if format_name.startswith("json") else shown(text)
                stream.write(text.encode("utf-8", errors))
                stream.flush()
                is_started = True
    except SlimWorksError as error:
        if not (as_json and is_started and output is None):
            raise
        # The one object on stdout holds the error: a second one would spoil it.
        say(f"Error: {error.cause}")
        say(f"Fix:   {error.fix}")
        return error.exit_code
    return None


@contextlib.contextmanager
def _opened(output: str | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        return
    if os.path.exists(output) and not os.path.isfile(output):
        raise ConfigError(f"{output} is no regular file.", "Give --output another name.")
    try:
        with files.replaced(output) as stream:
            yield stream
    except OSError as error:
        raise ConfigError(
            f"{output} cannot be written: {error.strerror}.",
            "Give --output a file in a folder that you may write to.",
        ) from error


def _terminal_width() -> int | None:
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else None


def _conclude(tally: _Tally, output: str | None, as_json: bool) -> int:
    if output is not None:
        value = {
            "output": output, "num_images": tally.num_images, "num_errors": tally.num_errors,
        }  # fmt: skip
        emit(value, as_json, f"wrote {tally.num_images} rows to {output}")
    if tally.num_errors:
        say(f"{tally.num_errors} of {tally.num_images} images could not be classified.")
    return EXIT_DATA if tally.num_errors else 0
