"""Images that a command line names: files, folders, patterns, addresses, stdin, lists of them.

What is named is checked first; what is in it is read when its turn comes, so that memory holds the
names of one folder at most.
"""

from __future__ import annotations

import dataclasses
import glob
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from slimworks.components.errors import ConfigError
from slimworks.components.examples.image_formats import READ_SUFFIXES
from slimworks.components.serving.image_sources import (
    ImageFile,
    ImageSource,
    bounded,
    is_url,
    source_of,
)
from slimworks.components.terminal_text import shown_line

STDIN = "-"


@dataclasses.dataclass(frozen=True)
class ImageOnStdin:
    """One image, piped in."""

    name: str = STDIN

    def read(self, max_bytes: int) -> bytes:
        """See `ImageSource.read`."""
        return bounded(sys.stdin.buffer, self.name, max_bytes)


def image_sources(arguments: Sequence[str], list_file: str | None) -> Iterator[ImageSource]:
    """The images of a command line, in its order, those of the list last.

    Args:
        arguments: Files, folders, patterns such as `photos/**/*.jpg`, addresses, or `-` for one
            image on stdin.
        list_file: A file that names a path or an address on each line; `-` is stdin.

    Raises:
        ConfigError: Nothing is named, or something is not there, or stdin is named twice.
    """
    if not arguments and list_file is None:
        raise ConfigError(
            "No image is given.",
            "Give files, folders, URLs, - for an image on stdin, or --from-file FILE.",
        )
    if [*arguments, list_file].count(STDIN) > 1:
        raise ConfigError("stdin is named twice.", "Give - once: as an image or to --from-file.")
    streams = [_named(argument) for argument in arguments]
    if list_file is not None:
        streams.append(_listed(list_file))
    return itertools.chain.from_iterable(streams)


def images_at(path: str) -> Iterator[ImageSource]:
    """A file, or the images below a folder by their suffix, in order of names.

    Hidden ones and links to folders stay out.

    Raises:
        ConfigError: The folder holds no image.
    """
    if os.path.isdir(path):
        return _not_empty(_in_folder(path), path, "Give files or another folder.")
    return iter([ImageFile(path, may_be_pipe=True)])


def _named(argument: str) -> Iterator[ImageSource]:
    if argument == STDIN:
        return iter([ImageOnStdin()])
    if is_url(argument):
        return iter([source_of(argument)])
    if os.path.exists(argument):
        return images_at(argument)
    if glob.has_magic(argument):
        return _not_empty(_matching(argument), argument, "Quote the pattern, and check it.")
    raise ConfigError(f"{shown_line(argument)} does not exist.", "Give files or folders of images.")


def _not_empty(images: Iterator[ImageSource], argument: str, fix: str) -> Iterator[ImageSource]:
    first = next(images, None)
    if first is None:
        raise ConfigError(f"{shown_line(argument)} holds no image.", fix)
    return itertools.chain([first], images)


def _in_folder(folder: str) -> Iterator[ImageSource]:
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in sorted(visible, key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _in_folder(entry.path)
        elif Path(entry.name).suffix.lower() in READ_SUFFIXES:
            yield ImageFile(entry.path)


def _matching(pattern: str) -> Iterator[ImageSource]:
    for path in sorted(glob.iglob(pattern, recursive=True)):
        if os.path.isfile(path) and Path(path).suffix.lower() in READ_SUFFIXES:
            yield ImageFile(path)


def _listed(list_file: str) -> Iterator[ImageSource]:
    try:
        # A path may hold bytes that are no UTF-8: they come back as they were.
        lines = open(  # noqa: SIM115 - closed by `_sources_of`
            sys.stdin.fileno() if list_file == STDIN else list_file,
            encoding="utf-8-sig",
            errors="surrogateescape",
            closefd=list_file != STDIN,
        )
    except OSError as error:
        raise ConfigError(
            f"{shown_line(list_file)} cannot be read: {error.strerror}.",
            "Give --from-file a text file with a path or URL on each line, or - for stdin.",
        ) from error
    return _sources_of(lines)


def _sources_of(lines: TextIO) -> Iterator[ImageSource]:
    with lines:
        for line in lines:
            if text := line.rstrip("\r\n"):
                yield source_of(text)
