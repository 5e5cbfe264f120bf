"""`make demo`: scikit-learn's digits as PNG files, through the whole pipeline, to gRPC answers."""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slimworks.components import contracts, files
from slimworks.components.errors import EXIT_INTERRUPTED, ConfigError, SlimWorksError
from slimworks.pipeline import next_steps
from slimworks.pipeline.cli import say
from slimworks.pipeline.config import load_config
from slimworks.pipeline.paths import PipelinePaths
from slimworks.pipeline.run import RunOptions, RunOutcome, run_pipeline
from slimworks.pipeline.verbs.start import outcome_lines, pushed_place

NUM_ASKED = 20

# Chosen for 1,250 tiny grey images: LeNet reaches its plateau before 20 epochs, in seconds.
CONFIG = """\
# The demo's pipeline: 8x8 scans of handwritten digits, LeNet from scratch.
name: digits
data:
  source: {source}
model:
  net: lenet
train:
  epochs: 20
  optimizer: adam
  learning_rate: 0.002
gate:
  min_accuracy: 0.93
"""


def write_digits(folder: Path) -> int:
    """Writes scikit-learn's 1,797 digits as PNGs in ten class folders; returns their number.

    The scans have 8 x 8 pixels with 17 grey levels (0 to 16), scaled to 0..255.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    with files.new_folder(folder) as temporary:
        for number, (pixels, class_index) in enumerate(
            zip(digits.images, digits.target, strict=True)
        ):
            class_folder = temporary / str(class_index)
            class_folder.mkdir(exist_ok=True)
            grey = (pixels * (255.0 / 16.0)).round().astype("uint8")
            Image.fromarray(grey).save(class_folder / f"{number:04d}.png")
    return len(digits.target)


def ask_server(outcome: RunOutcome, root: Path) -> tuple[int, int]:
    """Serves the pushed version and classifies held-out images over gRPC.

    Returns:
        (number right, number asked).
    """
    from slimworks.components.examples.reading import iterate_examples
    from slimworks.components.serving.client import Client
    from slimworks.components.serving.process import ServerProcess
    from slimworks.pipeline.facts import RunFacts

    facts = RunFacts.collect(PipelinePaths(root.resolve(), outcome.name), outcome.run_id)
    examples = iterate_examples(str(facts.folder("ingest", "examples")), "test")
    asked = list(itertools.islice(examples, NUM_ASKED))
    base_path = Path(str(outcome.pushed_to)).parent
    num_right = 0
    with (
        ServerProcess(str(base_path), base_path.name) as server,
        Client(server.address, base_path.name) as client,
    ):
        answers = client.predict_bytes([_bytes(e, contracts.IMAGE_ENCODED) for e in asked])
        for example, answer in zip(asked, answers, strict=True):
            name, truth = (
                _text(example, contracts.IMAGE_FILENAME),
                _text(example, contracts.CLASS_NAME),
            )
            num_right += answer.class_names[0] == truth
            say(f"  {name:<12} -> {answer.class_names[0]} ({answer.probabilities[0]:.3f})")
    return num_right, len(asked)


def _bytes(example: Mapping[str, Any], key: str) -> bytes:
    return bytes(example[key])


def _text(example: Mapping[str, Any], key: str) -> str:
    return _bytes(example, key).decode("utf-8")


def run_demo(root: Path) -> int:
    """Writes the digits, runs the pipeline, asks the server; returns the exit code."""
    data, config_path = root / "digits", root / "pipeline.yaml"
    try:
        if not data.exists():
            say(f"wrote {write_digits(data)} images of handwritten digits to {data}")
        if not config_path.exists():
            files.write_text(config_path, CONFIG.format(source=data.resolve()))
    except OSError as error:
        raise ConfigError(
            f"{root} cannot be written: {error.strerror}.", "Give another: make demo ROOT=DIR"
        ) from None
    runs = root / "runs"
    command = shlex.join(["slimworks", "run", "--config", str(config_path), "--root", str(runs)])
    say(f"$ {command}")
    outcome = run_pipeline(load_config(str(config_path)), RunOptions(root=runs, command=command))
    for line in outcome_lines(outcome):
        say(line)
    if outcome.pushed_to is None:
        return outcome.exit_code
    num_right, num_asked = ask_server(outcome, runs)
    say(f"{num_right} of {num_asked} held-out images right, answered over gRPC")
    place = pushed_place(outcome)
    assert place is not None
    say(next_steps.ask_text(*place))
    return outcome.exit_code


def main() -> None:
    """Runs the demo below --root and ends with the run's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="slimworks-demo", type=Path)
    try:
        code = run_demo(parser.parse_args().root)
    except SlimWorksError as error:
        say(f"Error: {error.cause}")
        say(f"Fix:   {error.fix}")
        code = error.exit_code
    except KeyboardInterrupt:
        say("Interrupted. Run `make demo` again: it goes on.")
        code = EXIT_INTERRUPTED
    sys.stderr.flush()
    os._exit(code)  # TensorFlow's threads need not be waited for


if __name__ == "__main__":
    main()
