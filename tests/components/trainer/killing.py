"""Trains in processes that are killed at random moments, and begins again until one ends.

A program of its own, since it forks: `python killing.py JOB`, a JSON file with the settings,
folders, how often to kill and a seed. TensorFlow is imported once, and started in the forks only.
It prints {"kills": [{"how", "at", "step"}]}: where each attempt found its end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from slimworks.components.trainer.config import ExportConfig, ModelConfig, TrainConfig
from slimworks.components.trainer.train import TrainInputs, train

# Files of the work folder are opened, renamed, removed and cut in these: every point between two
# of them is one where a kill could leave something by half.
_FILE_EVENTS = ("open", "os.rename", "os.remove", "os.truncate")


def _train(job: dict[str, Any], name: str) -> None:
    tiny, folder = Path(job["tiny"]), Path(job["folder"])
    train(
        TrainInputs(*(str(tiny / part) for part in ("stored", "graph", "label_map"))),
        str(folder / name),
        str(folder / f"{name}.work"),
        ModelConfig(net="lenet"),
        TrainConfig.model_validate(job["settings"]),
        ExportConfig(),
    )


def _count_file_events(folder: Path, kill_at: int | None) -> list[int]:
    """Kills this process before the `kill_at`th event; returns the count so far, in a list."""
    count = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FILE_EVENTS and str(arguments[0]).startswith(str(folder)):
            count[0] += 1
            if count[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return count


def _later(seconds: float, number: int) -> None:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()


def _attempt(job: dict[str, Any], name: str, how: str = "", at: float = 0) -> tuple[int, int]:
    """Trains in a fork; returns its wait status and, where it ended, its number of file events."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        work = Path(job["folder"]) / f"{name}.work"
        count = _count_file_events(work, int(at) if how == "file" else None)
        if how in ("kill", "term"):
            _later(at, signal.SIGKILL if how == "kill" else signal.SIGTERM)
        code = 1
        try:
            _train(job, name)
            os.write(writer, str(count[0]).encode())
            code = 0
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read()
    return os.waitpid(child, 0)[1], int(text or 0)


def _step(job: dict[str, Any], name: str) -> int:
    """Step of the checkpoint that the next attempt starts from; -1 where there is none."""
    path = Path(job["folder"]) / f"{name}.work" / "state.json"
    return json.loads(path.read_text())["step"] if path.exists() else -1


def main(path: str) -> None:
    """Trains `whole` without a kill, then `killed` with as many as the job asks for."""
    job = json.loads(Path(path).read_text())
    started = time.monotonic()
    status, num_events = _attempt(job, "whole")
    seconds = time.monotonic() - started
    if status != 0:
        sys.exit(f"the uninterrupted training ended with status {status}")
    draw = random.Random(job["seed"])
    kills: list[dict[str, Any]] = []
    for number in range(job["num_kills"]):
        # File events first: they come in the same order however slow the machine is.
        how = "file" if number < job["num_kills"] / 2 else draw.choice(("kill", "term", "file"))
        at = draw.randint(1, num_events // 4) if how == "file" else draw.uniform(0, seconds)
        status, _ = _attempt(job, "killed", how, at)
        if status == 0:
            break
        if os.waitstatus_to_exitcode(status) not in (-signal.SIGKILL, -signal.SIGTERM, 130):
            sys.exit(f"the training ended with status {status} after {how} at {at}")
        kills.append({"how": how, "at": at, "step": _step(job, "killed")})
    else:
        status, _ = _attempt(job, "killed")
        if status != 0:
            sys.exit(f"the resumed training ended with status {status}")
    print(json.dumps({"kills": kills}))


if __name__ == "__main__":
    main(sys.argv[1])
