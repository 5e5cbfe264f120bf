"""Runs the server alone: `python -m slimworks.components.serving --port=0 ...`.

Once it answers, one JSON line on stdout gives the address; everything else goes to stderr.
"""

from __future__ import annotations

import json
import logging
import os
import sys

from slimworks.components.errors import SlimWorksError
from slimworks.components.serving.flags import parse_flags
from slimworks.components.serving.server import serve


def _announce(address: str) -> None:
    sys.stdout.write(json.dumps({"event": "ready", "address": address}) + "\n")
    sys.stdout.flush()


def main(argv: list[str]) -> int:
    """Returns the process's exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        return serve(parse_flags(argv), on_ready=_announce)
    except SlimWorksError as error:
        sys.stderr.write(f"error: {error.cause}\nfix: {error.fix}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
