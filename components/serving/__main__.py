"""Runs the server alone: `python -m slimworks.components.serving --port=0 ...`.

Once it answers, one JSON line on stdout gives the addresses; everything else goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys

from slimworks.components.errors import SlimWorksError
from slimworks.components.serving.flags import parse_flags
from slimworks.components.serving.server import Addresses, serve
from slimworks.components.terminal_text import log_to, shown


def _announce(at: Addresses) -> None:
    line = {"event": "ready", "address": at.grpc, "rest_address": at.rest}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(argv: list[str]) -> int:
    """Returns the process's exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is loaded
    log_to(sys.stderr, "%(asctime)s %(levelname)s %(message)s")
    try:
        return serve(parse_flags(argv), on_ready=_announce)
    except SlimWorksError as error:
        sys.stderr.write(shown(f"error: {error.cause}\nfix: {error.fix}\n"))
        return error.exit_code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of gRPC and TensorFlow that wake up while the interpreter ends abort the process.
    os._exit(code)
