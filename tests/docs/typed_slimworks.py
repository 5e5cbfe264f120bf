"""`slimworks` as a person types it, on photos and trainings of test size.

Instead of a terminal of its own, a server gets the background: this returns when it is ready, and
writes its process id to SLIMWORKS_SERVERS; the one before it ends. Its gRPC port is the one that is
named, or a free one. A training gets few steps. Who names no server gets the
one on SLIMWORKS_DEFAULT_PORT. A refusal (exit code 10) of a run or of a comparison is an answer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

NET = "model.net="
LENET = (
    "model.net=lenet", "train.epochs=6", "train.optimizer=adam", "train.learning_rate=0.002",
    "train.batch_size=16",
)  # fmt: skip
FEW_STEPS = ("train.max_number_of_steps=2", "train.batch_size=8")
ANSWERS = {"run": (0, 10), "drift": (0, 10), "shadow": (0, 10)}
READY = ("serving ", "forwarding ")


def main(verb: str, *words: str) -> int:
    """Runs the verb; returns its exit code, 0 for a server that is ready."""
    program = [sys.executable, "-m", "slimworks", verb, *words]
    if verb == "serve" and not any(word.startswith("--port") for word in words):
        program.append("--port=0")
    if verb == "serve" or "--listen" in words:
        end_servers()
        return _to_background(program)
    if verb == "predict" and "--server" not in words:
        program.append(f"--server=127.0.0.1:{os.environ['SLIMWORKS_DEFAULT_PORT']}")
    if verb in ("run", "train"):
        program = [sys.executable, "-m", "slimworks", verb, *_small(words)]
    code = subprocess.run(program).returncode
    return 0 if code in ANSWERS.get(verb, (0,)) else code


def _small(words: tuple[str, ...]) -> list[str]:
    """The words with settings of test size; what the page says of other keys stays."""
    before: tuple[str, ...] = LENET
    after: tuple[str, ...] = ()
    if any(word.startswith(NET) for word in words):
        before, after = (), FEW_STEPS
    elif "train.distribution=" in " ".join(words):
        after = FEW_STEPS
    settings = [[f"--set={one}" for one in some] for some in (before, after)]
    return [*settings[0], *words, *settings[1]]


def end_servers() -> None:
    """Ends the servers that were started, and waits until they are gone."""
    pids = [int(pid) for pid in Path(os.environ["SLIMWORKS_SERVERS"]).read_text().split()]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGTERM)
    while any(_is_there(pid) for pid in pids):
        time.sleep(0.05)


def _is_there(pid: int) -> bool:
    """Whether the process runs; a dead one that nobody asked after does not."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def _to_background(program: list[str]) -> int:
    log = Path(f"server-{os.getpid()}.log")
    with log.open("w") as stream:
        process = subprocess.Popen(
            program, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    with open(os.environ["SLIMWORKS_SERVERS"], "a") as servers:
        print(process.pid, file=servers)
    while not any(line.startswith(READY) for line in log.read_text().splitlines()):
        if process.poll() is not None:
            print(log.read_text(), file=sys.stderr)
            return process.returncode or 1
        time.sleep(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
