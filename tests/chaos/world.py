"""One run root, one serving folder, one server that watches it, and photos that change."""

from __future__ import annotations

import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import interrupting
import psutil
from photo_samples import write_tiny_photos
from rounds import (
    ADD,
    AGAIN,
    BEFORE,
    FILL,
    INTERRUPT,
    KILL_GROUP,
    KILL_RUN,
    KILL_STEP,
    PROTECT,
    RATE,
    REMOVE,
    REPLACE,
    TERMINATE,
    Round,
)  # fmt: skip
from small_disk import SmallDisk

from slimworks.pipeline.paths import PipelinePaths

RUN_SECONDS = 600.0  # of a run, at most, on a machine that others use too
_END_SECONDS = 120.0  # for a run to end after a signal
_MOST_ROOM = 256 << 10  # left on a full disk: some files fit, a model does not
# Small, deterministic, and never refused for want of evidence: a dozen of test images prove little.
_SETTINGS = (
    "name=tiny", "model.net=lenet", "train.epochs=3", "train.optimizer=adam",
    "train.batch_size=16", "train.deterministic=true", "train.save_interval_secs=0",
    "gate.max_accuracy_drop=1.0", "gate.max_slice_drop=null", "gate.on_inconclusive=push",
    "push.keep_versions=100",
)  # fmt: skip
_FIRST_RATE = 0.002


class Clock:
    """The wall clock of the runs: `clock.cc`, preloaded."""

    def __init__(self, folder: Path) -> None:
        library, self._path = folder / "clock.so", folder / "clock"
        source = Path(__file__).with_name("clock.cc")
        compiler = os.environ.get("CXX", "c++")
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)]
        subprocess.run(command, check=True)
        self._path.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._path)}

    def set(self, seconds: int) -> None:
        """Shows so many seconds more than it is."""
        with open(self._path, "r+b") as stream, mmap.mmap(stream.fileno(), 8) as mapped:
            mapped[:] = seconds.to_bytes(8, "little", signed=True)


class World:
    """What the rounds happen to. `folder`: an empty one, of the machine's own disk."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.disk = SmallDisk(folder / "disk")
        self.clock = Clock(folder)
        self.photos = write_tiny_photos(folder / "photos", num_per_class=26, seed=0)
        self.paths = PipelinePaths(self.disk.folder / "runs", "tiny")
        self.base_path = self.disk.folder / "serving/tiny"
        self.learning_rate = _FIRST_RATE
        self.data_states: list[dict[str, bytes]] = []
        self._folder = folder
        self._generator = random.Random(seed)

    def settings(self) -> tuple[str, ...]:
        """What the runs of now get by --set."""
        chosen = (
            f"train.learning_rate={self.learning_rate}",
            f"push.base_path={self.base_path.parent}",
        )
        return (*_SETTINGS, *chosen)

    def change(self, round_: Round, number: int) -> tuple[str, ...]:
        """Does what is new in a round; returns options for the run that will be disturbed."""
        present = sorted(path for path in self.photos.rglob("*") if path.is_file())
        if round_.change == ADD:
            write_tiny_photos(self.photos, num_per_class=3, seed=number)
        elif round_.change == REMOVE:
            for path in self._generator.sample(present, 3):
                path.unlink()
        elif round_.change == REPLACE:
            one, other = self._generator.sample(present, 2)
            one.with_suffix(other.suffix).write_bytes(other.read_bytes())
        elif round_.change == RATE:
            self.learning_rate = _FIRST_RATE * (0.8 + 0.4 * round_.draw)
        state = self.contents()
        if not self.data_states or self.data_states[-1] != state:
            self.data_states.append(state)
        return ("--from", "trainer") if round_.change == AGAIN else ()

    def contents(self) -> dict[str, bytes]:
        """The user's files, by name."""
        return {
            str(path.relative_to(self.photos)): path.read_bytes()
            for path in sorted(self.photos.rglob("*"))
            if path.is_file()
        }

    def lay_out(self, contents: dict[str, bytes]) -> None:
        """Puts other files in the place of the user's."""
        shutil.rmtree(self.photos)
        for name, content in contents.items():
            (self.photos / name).parent.mkdir(parents=True, exist_ok=True)
            (self.photos / name).write_bytes(content)

    def run(self, name: str, root: Path | None = None) -> tuple[int, dict[str, Any], str]:
        """Runs the pipeline undisturbed; returns (exit code, outcome, stderr)."""
        running = self._start(name, (), root or self.paths.root)
        code = _wait(running, RUN_SECONDS)
        lines = self._output(name, "out").splitlines()
        assert len(lines) == 1, self._output(name, "err")
        return code, json.loads(lines[0]), self._output(name, "err")

    def run_disturbed(self, name: str, round_: Round, more: Sequence[str]) -> tuple[int, str, bool]:
        """Runs the pipeline into a fault; returns (exit code, stderr, whether it was met)."""
        earlier = set(self._runs())
        self.clock.set(round_.clock_seconds)
        if round_.step == BEFORE:
            self._spoil(round_)
        running = self._start(name, more, self.paths.root)
        is_met = round_.step == BEFORE
        if not is_met and self._wait_for(round_, running, earlier):
            is_met = running.poll() is None
            children = psutil.Process(running.pid).children(recursive=True) if is_met else []
            self.clock.set(round_.clock_seconds + round_.jump_seconds)
            self._strike(round_, running, children)
        code = _wait(running, RUN_SECONDS)
        self.clock.set(0)
        self.disk.mend()
        return code, self._output(name, "err"), is_met

    def _start(self, name: str, more: Sequence[str], root: Path) -> subprocess.Popen[Any]:
        command = [sys.executable, "-m", "slimworks", "run", "--json", "--data", str(self.photos)]
        command += ["--root", str(root), *more]
        for setting in self.settings():
            command += ["--set", setting]
        with (
            open(self._folder / f"{name}.out", "wb") as out,
            open(self._folder / f"{name}.err", "wb") as err,
        ):
            return interrupting.start(
                command, stdout=out, stderr=err, start_new_session=True,
                env={**os.environ, **self.clock.environment},
            )  # fmt: skip

    def _runs(self) -> list[str]:
        return os.listdir(self.paths.runs) if self.paths.runs.is_dir() else []

    def _wait_for(self, round_: Round, running: subprocess.Popen[Any], earlier: set[str]) -> bool:
        """Whether the run came to the moment of the fault."""
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline and running.poll() is None:
            new = set(self._runs()) - earlier
            if any((self.paths.run(run) / f"logs/{round_.step}.log").exists() for run in new):
                time.sleep(round_.delay_seconds)
                return True
            time.sleep(0.005)
        return False

    def _strike(
        self, round_: Round, running: subprocess.Popen[Any], children: list[psutil.Process]
    ) -> None:
        if running.poll() is not None:
            return
        if round_.fault == KILL_GROUP:
            os.killpg(running.pid, signal.SIGKILL)
        elif round_.fault == KILL_RUN:
            running.kill()
        elif round_.fault == KILL_STEP and children:
            children[int(round_.draw * len(children))].kill()
        elif round_.fault == TERMINATE:
            running.terminate()
        elif round_.fault == INTERRUPT:
            os.killpg(running.pid, signal.SIGINT)
        else:
            self._spoil(round_)
        if round_.fault in (KILL_GROUP, KILL_RUN, TERMINATE, INTERRUPT):
            _wait(running, _END_SECONDS)
            _, alive = psutil.wait_procs(children, timeout=_END_SECONDS)
            assert not alive, f"left running: {alive}"

    def _spoil(self, round_: Round) -> None:
        if round_.fault == FILL:
            self.disk.fill(int(round_.draw * _MOST_ROOM))
        elif round_.fault == PROTECT:
            folder = self.disk.folder / round_.folder
            self.disk.protect(folder if folder.is_dir() else self.disk.folder)

    def _output(self, name: str, suffix: str) -> str:
        return (self._folder / f"{name}.{suffix}").read_text(encoding="utf-8", errors="replace")


def _wait(running: subprocess.Popen[Any], seconds: float) -> int:
    try:
        return running.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGABRT)  # steps write where they are to their logs
        running.kill()
        raise AssertionError(f"the run did not end within {seconds:g} s") from None
